"""An ensemble's logit is that of its members, whatever the view of each, and wherever it runs."""

import numpy as np
import pytest
import torch
from small_nets import Bright

from dfd.media.crops import View
from dfd.models import CueFusion, Ensemble, MaskStream, SingleStream, SmallCNN, Streams, build, recipe


def members() -> dict[str, SingleStream]:
    torch.manual_seed(0)
    nets = {name: SingleStream(SmallCNN(8)).eval() for name in ("whole", "traces", "more")}
    for net in nets.values():
        torch.nn.init.normal_(net.head.weight, std=20.0)  # a fresh head says the same of everything
    return nets


WHOLE, TRACES = View(size=32, resize=True), View(size=24, crops=5)
SHEET = View(size=32, resize=True, beside=[dict(vars(TRACES))])


def tensor(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops).movedim(-1, -3).float().div(255)


@pytest.mark.parametrize("how", ["stacked", "max"])
def test_members_of_two_views_judge_one_sheet_as_each_judges_its_own_crops(how):
    picture = np.random.default_rng(0).integers(0, 256, (50, 44, 3), dtype=np.uint8)
    nets, slopes, offsets = members(), [0.5, 2.0, 1.0], [0.1, -0.2, 0.0]
    net = Ensemble(nets, how, slopes, offsets, sheet=[[1, 32], [5, 24]], looks=[0, 1, 1]).eval()
    sheet = SHEET.eval_crops(picture)
    assert sheet.shape == (*SHEET.shape, 3) == (1, 32, 32 + 5 * 24, 3)
    views = (WHOLE, TRACES, TRACES)
    with torch.no_grad():
        alone = [
            each(tensor(view.eval_crops(picture))).mean()
            for each, view in zip(nets.values(), views, strict=True)
        ]
        parts = torch.stack(alone) * torch.tensor(slopes) + torch.tensor(offsets)
        wanted = parts.max() if how == "max" else parts.sum()
        torch.testing.assert_close(net(tensor(sheet)), wanted[None], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            net.member_logits(tensor(sheet))[0], torch.stack(alone), rtol=1e-4, atol=1e-4
        )


def test_the_middle_of_a_sheet_is_the_central_crop_in_native_resolution():
    picture = np.random.default_rng(0).integers(0, 256, (50, 44, 3), dtype=np.uint8)
    central = TRACES.eval_crops(picture)[-1]
    assert np.array_equal(SHEET.eval_crops(picture)[-1][SHEET.middle], central)
    alone = View(size=24, crops=5, beside=[])
    assert np.array_equal(alone.eval_crops(picture)[-1][alone.middle], central)
    assert np.array_equal(TRACES.eval_crops(picture)[-1][TRACES.middle], central)
    # what lies between crops is as good as opaque
    assert (SHEET.eval_crops(np.full((50, 44), 255, np.uint8)) == 255).all()


def test_a_sheet_trains_nothing_and_holds_views():
    with pytest.raises(ValueError, match=r"view\.beside .* trains nothing"):
        SHEET.train(np.zeros((50, 44, 3), np.uint8), np.random.default_rng())
    with pytest.raises(ValueError, match="these are no views"):
        View(beside=[{"side": 3}])
    with pytest.raises(ValueError, match="Name the members one by one"):
        View(beside=[dict(vars(SHEET))])


def test_an_ensemble_is_rebuilt_with_its_numbers():
    net = Ensemble(members(), "weighted", [0.25, 0.5, 0.25], [0.0, 0.1, 0.0]).eval()
    again = build(recipe(net))
    again.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(image), net(image))
    assert not any("slope" in name for name in net.state_dict())


def test_members_are_streams_whose_part_can_be_asked():
    net = Ensemble(members(), "mean", [1 / 3] * 3, [0.0] * 3).eval()
    image = torch.rand(2, 3, 32, 32)
    assert isinstance(net, Streams) and list(net.cam_layers) == net.names
    features = net.streams(image)
    torch.testing.assert_close(net.judge(**features), net(image))
    assert features["whole"].shape == (2, 1)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("two members or more", {"members": {"a": Bright()}}),
        ("how='median'", {"how": "median"}),
        ("a finite number for each of 2", {"slopes": [1.0]}),
        ("a finite number", {"offsets": [0.0, float("nan")]}),
        ("which of the views it reads", {"sheet": [[1, 16]], "looks": [0, 1]}),
        (
            "no detector",
            {"members": {"a": Bright(), "b": SmallCNN(8).requires_grad_(False), "c": torch.nn.ReLU()}},
        ),
    ],
)
def test_an_ensemble_says_what_it_lacks(words, given):
    two = {"a": Bright(), "b": Bright(1)}
    with pytest.raises(ValueError, match=words):
        Ensemble(**({"members": two, "how": "mean", "slopes": [1.0, 1.0], "offsets": [0.0, 0.0]} | given))


def test_members_with_a_mask_head_say_where_on_their_part_of_the_sheet():
    torch.manual_seed(0)
    masked, plain = MaskStream(SmallCNN(8)).eval(), SingleStream(SmallCNN(8)).eval()
    picture = np.random.default_rng(0).integers(0, 256, (50, 44, 3), dtype=np.uint8)
    sheet = tensor(SHEET.eval_crops(picture))
    net = Ensemble({"a": plain, "b": masked}, "max", [1.0] * 2, [0.0] * 2, [[1, 32], [5, 24]], [0, 1]).eval()
    with torch.no_grad():
        where, alone = net.localize(sheet), masked.localize(tensor(TRACES.eval_crops(picture)))
    assert where.shape == (1, *sheet.shape[-2:]) and not where[0, :, :32].any() and not where[0, 24:].any()
    torch.testing.assert_close(where[0, :24, 32:], torch.cat(list(alone), dim=1))
    same = Ensemble({"a": plain, "b": masked}, "mean", [1.0] * 2, [0.0] * 2).eval()
    torch.testing.assert_close(same.localize(sheet), masked.localize(sheet))
    with pytest.raises(ValueError, match="no member of this ensemble has a mask head"):
        Ensemble({"a": plain, "b": plain}, "mean", [1.0] * 2, [0.0] * 2).localize(sheet)


def test_cues_reach_the_members_that_read_them():
    torch.manual_seed(0)
    names = ["file.exif", "file.xmp"]
    reader = CueFusion(SmallCNN(8), names).eval()
    torch.nn.init.normal_(reader.cue_head.weight)
    net = Ensemble(
        {"a": Bright(), "b": reader}, "mean", [0.5] * 2, [0.0] * 2, [[1, 32], [5, 24]], [0, 1]
    ).eval()
    assert net.cue_names == tuple(names) and net.cue_version == reader.cue_version
    image, cues = torch.rand(2, 3, 32, 152), torch.rand(2, 2)
    without, read = net.member_logits(image), net.member_logits(image, cues)
    assert torch.equal(without[:, 0], read[:, 0]) and not torch.allclose(without[:, 1], read[:, 1])
    crops = image[:, :, :24, 32:56]
    one = Ensemble({"a": Bright(), "b": reader}, "mean", [0.5] * 2, [0.0] * 2).eval()
    torch.testing.assert_close(one.member_logits(crops, cues)[:, 1], reader(crops, cues))
    with pytest.raises(ValueError, match="the members a and b read different forensic cues"):
        Ensemble({"a": CueFusion(SmallCNN(8), names[:1]), "b": reader}, "mean", [0.5] * 2, [0.0] * 2)


def test_a_sheet_of_another_view_is_refused():
    net = Ensemble({"a": Bright(), "b": Bright(1)}, "mean", [1.0] * 2, [0.0] * 2, [[1, 32], [5, 24]], [0, 1])
    with pytest.raises(ValueError, match="64 x 32 px, where this ensemble reads sheets of 152 x 32"):
        net(torch.rand(1, 3, 32, 64))


@pytest.mark.slow
def test_onnx_reads_the_same_sheet(tmp_path):
    import onnxruntime

    net = Ensemble(
        members(), "experts", [0.5, 2.0, 1.0], [0.1, -0.2, 0.0], [[1, 32], [5, 24]], [0, 1, 1]
    ).eval()
    sheet = torch.rand(2, 3, 32, 152)
    torch.onnx.export(net, (sheet,), tmp_path / "net.onnx", dynamo=True, input_names=["image"])
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (logit,) = session.run(None, {"image": sheet.numpy()})
    torch.testing.assert_close(torch.from_numpy(logit), net(sheet).detach(), rtol=1e-4, atol=1e-4)
