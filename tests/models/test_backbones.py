import pytest
import torch

from dfd.models import SingleStream, TimmBackbone, backbones
from dfd.models.weights_file import cached_weights

LITE = "mobilenetv2_100"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilnetv2_100", "Did you mean mobilenetv2_100"),
        ("mobilenetv2_100.nonsense", "no weights 'nonsense' for mobilenetv2_100. It has: ra_in1k"),
        ("###", "has no model '###'. timm.list_models"),
    ],
)
def test_a_wrong_name_is_answered_with_near_ones(name, words):
    with pytest.raises(ValueError, match=words):
        TimmBackbone(name)


def test_pictures_of_other_channels_and_unknown_options_are_said():
    with pytest.raises(ValueError, match=r"a batch in red, green and blue, and this is \(2, 4, 64, 64\)"):
        TimmBackbone("test_resnet")(torch.rand(2, 4, 64, 64))
    with pytest.raises(
        ValueError, match=r"cannot make a test_resnet with the options drop_pathrate, .*unexpected"
    ):
        TimmBackbone("test_resnet", options={"drop_pathrate": 0.1})


def test_options_reach_timm():
    assert TimmBackbone("test_vit", options={"global_pool": "avg"}).model.global_pool == "avg"


def test_a_local_file_is_loaded(tmp_path):
    weights = TimmBackbone("test_resnet").model
    # without a classifier; timm's own files come with one
    torch.save(weights.state_dict(), tmp_path / "weights.pth")
    found = TimmBackbone("test_resnet", pretrained=str(tmp_path / "weights.pth"))
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, weights.state_dict()[name]), name


def test_a_file_that_does_not_fit_is_refused(tmp_path, caplog):
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match="there is no such file"):
        TimmBackbone("test_resnet", pretrained=str(path))
    path.write_text("not weights")
    with pytest.raises(
        ValueError, match=r"is no file of weights that can be read\. Give timm's file for test_resnet"
    ):
        TimmBackbone("test_resnet", pretrained=str(path))
    torch.save(TimmBackbone("test_vit").model.state_dict(), path)
    lacking = r"does not hold weights of test_resnet \(missing: conv1.0.weight, .* not asked for: cls_token"
    with pytest.raises(ValueError, match=lacking):
        TimmBackbone("test_resnet", pretrained=str(path))
    half = {
        name: value
        for name, value in TimmBackbone("test_resnet").model.state_dict().items()
        if "layer4" not in name
    }
    torch.save(half, path)
    with pytest.raises(ValueError, match=r"test_resnet \(missing: layer4\S+, layer4\S+ and \d+ more\)"):
        TimmBackbone("test_resnet", pretrained=str(path))

    assert not caplog.records, "timm would list all names of the file"


def test_without_a_network_the_local_file_is_named(monkeypatch):
    from huggingface_hub import constants, utils

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(
        backbones.timm, "create_model", lambda *_, **__: pytest.fail("timm would retry for a minute")
    )
    assert utils.get_session  # where the hub keeps its client
    with pytest.raises(
        ValueError,
        match=r"does not answer .*pretrained=PATH of a .safetensors or .pth; .*timm/mobilenetv2_100",
    ):
        TimmBackbone(LITE, pretrained=True)


def test_weights_that_are_nowhere_are_said_to_be(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="timm has no weights for vit_tiny_patch16_gap"):
        cached_weights("vit_tiny_patch16_gap", None, None)
    url = "http://127.0.0.1:9/xception-43020ad28.pth"
    with pytest.raises(ValueError, match=f"legacy_xception are not in the cache.*{url} has it"):
        cached_weights("legacy_xception", None, url)
    kept = tmp_path / "hub" / "checkpoints" / "xception-43020ad28.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert cached_weights("legacy_xception", None, url) == kept


@pytest.mark.parametrize(
    ("name", "options", "size", "said"),
    [
        ("test_vit", None, 100, r"100 x 100: use a multiple of 16, as --data\.view\.size=96 or 112\."),
        (
            "test_vit",
            {"dynamic_img_size": False},
            96,
            r"made for 160\. Use --data\.view\.size=160, or options=",
        ),
        ("levit_128s", None, 96, r"Use the size that it was made for, --data\.view\.size=224\."),
    ],
)
def test_a_size_that_a_net_cannot_take_is_answered_with_those_it_can(name, options, size, said):
    with pytest.raises(ValueError, match=said):
        TimmBackbone(name, options=options)(torch.rand(1, 3, size, size))


def test_the_hubs_cache_is_enough(monkeypatch, tmp_path):
    path = tmp_path / "model.pth"
    weights = TimmBackbone("test_resnet").model.state_dict()
    torch.save(weights, path)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: pytest.fail("asked the network"))
    found = TimmBackbone("test_resnet", pretrained=True).model
    assert torch.equal(found.conv1[0].weight, weights["conv1.0.weight"])


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [(LITE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ("tf_efficientnet_lite0", (0.5,) * 3, (0.5,) * 3)],
)
def test_pictures_are_normalized_as_the_weights_expect(name, mean, std):
    net = TimmBackbone(name).eval()
    seen = []
    net.model.conv_stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    pixel = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    net(pixel.expand(1, 3, 64, 64))
    expected = (pixel - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(seen[0][:, :, 30:31, 30:31], expected)
    assert {"mean", "std"} <= net.state_dict().keys()  # travel with the checkpoint


@pytest.mark.parametrize("name", [LITE, "tf_efficientnet_lite0"])
def test_real_weights_load_offline(name, real_weights, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = real_weights / f"{name}.fp16.safetensors"
    net = SingleStream(TimmBackbone(name, pretrained=str(path)))
    stored = safetensors.load_file(path)
    weights = net.backbone.model.state_dict()
    assert all(torch.equal(weights[key], stored[key].to(weights[key].dtype)) for key in weights)
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert net(torch.rand(2, 3, 64, 64)).shape == (2,)


@pytest.mark.parametrize(
    "options",
    [
        {"pretrained": True},
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained_cfg": {"hf_hub_id": "somebody/net"}},
        {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x.pth"}},
        {"cache_dir": "elsewhere"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_reach_for_no_other_file(options):
    with pytest.raises(ValueError, match="pretrained=PATH alone"):
        TimmBackbone("test_resnet", options=options)


def test_weights_that_git_lfs_did_not_fetch_are_said_to_be_a_pointer(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14\n")
    with pytest.raises(ValueError, match=r"Git LFS pointer.*git lfs pull"):
        TimmBackbone("test_resnet", pretrained=str(file))
