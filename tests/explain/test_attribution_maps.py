"""Attribution maps: closed forms, a second implementation, and a net that stays as it was."""

import pytest
import torch
from small_nets import Corner, Linear, num_hooks
from torch import nn

from dfd.explain import METHODS, Decision, attribute, attribution
from dfd.explain.attribution import WINDOWS
from dfd.explain.unchanged import coarse
from dfd.models import DualStream, LocalSpectrum, MaskStream, SingleStream, SmallCNN, TimmBackbone

NETS = {
    "small_cnn": lambda: SingleStream(SmallCNN(8)),
    "mobilenet": lambda: SingleStream(TimmBackbone("mobilenetv2_100")),  # in-place ReLU6
    "resnet": lambda: SingleStream(TimmBackbone("test_resnet")),
    "efficientnet": lambda: SingleStream(TimmBackbone("test_efficientnet")),
    "convnext": lambda: SingleStream(TimmBackbone("test_convnext")),
    "vit": lambda: SingleStream(TimmBackbone("test_vit")),
    "dual": lambda: DualStream(SmallCNN(8), SmallCNN(8)),
}
WITHOUT_RELU = ("efficientnet", "convnext", "vit")


def test_a_mask_head_is_asked_for_its_own_map():
    torch.manual_seed(0)
    net, image = MaskStream(SmallCNN(8)).eval(), torch.rand(2, 3, 64, 48)
    found = attribute(net, image, "mask_head")
    assert (
        found.map.shape == (2, 64, 48) and torch.equal(found.map, net.localize(image)) and found.error is None
    )
    with pytest.raises(
        ValueError, match=r"a SingleStream has no mask head\. dfd\.models\.MaskStream has one"
    ):
        attribute(SingleStream(SmallCNN(8)), image, "mask_head")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "mask_head"])
@pytest.mark.parametrize("name", NETS)
def test_a_map_in_the_images_size_inside_validation(name, method, monkeypatch):
    monkeypatch.setattr(attribution, "WINDOWS", 2)  # few windows and copies: it is about what is left behind
    monkeypatch.setattr(attribution, "SAMPLES", 2)
    torch.manual_seed(0)
    net = NETS[name]()
    with torch.no_grad():
        net.head.weight.abs_()  # every feature speaks for fake, so Grad-CAM has something to show
    net(torch.rand(4, 3, 64, 64))
    net.train()
    net.requires_grad_(False)  # as an average of weights is
    net.head.weight.requires_grad_()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    if isinstance(net, SingleStream):
        net.backbone.eval()  # as a frozen backbone is
    before = state(net)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    # as Lightning validates in mixed precision
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        image = torch.rand(2, 3, 64, 64)
        untouched = image.clone()
        if method == "guided_gradcam" and name in WITHOUT_RELU:
            with pytest.raises(ValueError, match=r"has none\. Use 'gradcam', 'integrated_gradients'"):
                attribute(net, image, method)
        else:
            found = attribute(net, image, method, steps=4)
            assert found.map.shape == (2, 64, 64) and found.map.dtype == torch.float32
            assert not found.map.requires_grad and found.map.isfinite().all() and found.map.any()
            assert METHODS[method].signed or found.map.min() >= 0
            assert (found.error is not None) == (method == "integrated_gradients")
        assert torch.equal(image, untouched)
    assert state(net) == before and num_hooks(net) == 0
    assert (net.head.weight.grad == 1).all()
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def state(net):
    """Modes, in-place layers, what takes gradients, and whether there are any."""
    modules = [(module.training, getattr(module, "inplace", None)) for module in net.modules()]
    return modules, [(value.requires_grad, value.grad is None) for value in net.parameters()]


def test_maps_point_at_what_the_net_looks_at():
    image = torch.full((1, 3, 64, 64), 0.5)
    shares = attribute(Corner(), image, "integrated_gradients")
    expected = torch.zeros(64, 64)
    expected[32:, 32:] = 0.5 * 3 / 32**2  # the logit, 1.5, shared out evenly
    torch.testing.assert_close(shares.map[0], expected)
    assert shares.error < 1e-5
    image[:, 0, :32, :] = 0  # red below only; Grad-CAM weighs a channel as a whole and shows where it was on
    cam = attribute(Corner(), image, "gradcam").map[0]
    assert cam[40:].min() > 0 and cam[:24].abs().max() == 0


def test_shares_add_up_through_a_spectrum():
    """log(magnitude + 1e-8) misses more of the logit on the way from black: 6% here."""
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(2, 3, 4, 4), (32, 32), mode="bicubic").clamp(0, 1)
    image = (smooth + 0.01 * torch.randn(2, 3, 32, 32)).clamp(0, 1)
    for net in (
        DualStream(SmallCNN(8), SmallCNN(8)),
        DualStream(SmallCNN(8), SmallCNN(8, 64), LocalSpectrum()),
    ):
        with torch.no_grad():
            for _ in range(3):
                net(image)
            net.head.weight[:, :32] = 0  # the fft stream alone
            net.head.weight.mul_(100)
        found = attribute(net, image, "integrated_gradients")
        assert found.error.max() < 0.025
        net.eval()
        distance = net(image) - net(torch.zeros_like(image))
        torch.testing.assert_close(found.map.sum((1, 2)), distance.detach(), rtol=0.06, atol=0.02)


def test_the_fft_stream_has_a_map_where_it_keeps_places():
    net, image = DualStream(SmallCNN(8), SmallCNN(8, 64), LocalSpectrum()), torch.rand(1, 3, 64, 64)
    assert attribute(net, image, "gradcam", layer="fft").map.shape == (1, 64, 64)
    with pytest.raises(ValueError, match=r"layer 'fft' keeps no places of the picture.*has maps in rgb"):
        attribute(DualStream(SmallCNN(8), SmallCNN(8)), image, "gradcam", layer="fft")
    with pytest.raises(ValueError, match="need square pictures"):
        attribute(SingleStream(TimmBackbone("test_vit")), torch.rand(1, 3, 64, 96), "gradcam")
    with pytest.raises(ValueError, match="attribute knows"):
        attribute(net, image, "lime")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "mask_head"])
def test_nothing_is_left_behind_by_an_error(method, error):
    net = SingleStream(SmallCNN(8)).train()
    net.backbone.eval()
    before, calls = state(net), []

    def fails_in_the_middle(*_):
        calls.append(1)
        # the first forward is the question for gradients
        if len(calls) == 2:
            raise error("in the middle")

    handle = net.head.register_forward_hook(fails_in_the_middle)
    with pytest.raises(error, match="in the middle"):
        attribute(net, torch.rand(1, 3, 32, 32), method, batch_size=1)
    assert num_hooks(net) == 1 and handle.id in net.head._forward_hooks
    assert state(net) == before


def test_closed_forms_of_a_linear_net():
    torch.manual_seed(0)
    net, image = Linear(32), torch.rand(2, 3, 32, 32)
    shares = attribute(net, image, "integrated_gradients", steps=2)
    torch.testing.assert_close(shares.map, (net.weight * image).sum(1).detach())
    assert shares.error.max() < 1e-4
    smooth = attribute(net, image, "smoothgrad").map
    torch.testing.assert_close(smooth, net.weight.detach().abs().sum(0).expand(2, -1, -1))
    # occlusion: a pixel has the mean fall of the windows over it, and windows start every half of their width
    lost = (net.weight * (image - coarse(image))).sum(1).detach()
    window = 32 // WINDOWS
    falls = nn.functional.avg_pool2d(lost[:, None], window, window // 2)[:, 0] * window**2
    found = attribute(net, image, "occlusion").map
    torch.testing.assert_close(found[:, 0, 0], falls[:, 0, 0])
    torch.testing.assert_close(found[:, 2, 2], falls[:, :2, :2].mean((1, 2)))


@pytest.mark.parametrize("name", ["small_cnn", "dual"])
def test_guided_gradcam_is_captums_where_that_knows_the_layers(name):
    from captum.attr import GuidedGradCam

    torch.manual_seed(0)
    net = NETS[name]().eval()
    nn.init.uniform_(net.head.weight, 0, 0.1)
    image = torch.rand(2, 3, 32, 32)
    theirs = GuidedGradCam(net, next(iter(net.cam_layers.values())))
    expected = theirs.attribute(image.clone().requires_grad_(), interpolate_mode="bilinear")
    expected = expected.sum(1).clamp_min(0).detach()
    assert expected.any()
    torch.testing.assert_close(attribute(net, image, "guided_gradcam").map, expected)


def test_a_function_without_gradients_has_occlusion_and_a_clear_error_for_the_rest():
    net = Corner()

    def exported(image):  # as a runtime of another library answers
        return torch.from_numpy(net(torch.from_numpy(image.numpy())).detach().numpy())

    image = torch.rand(1, 3, 64, 64)
    found = attribute(exported, image, "occlusion").map
    torch.testing.assert_close(found, attribute(net, image, "occlusion").map)
    for method in METHODS:
        if method not in ("occlusion", "mask_head"):  # a mask head is a layer, which no function has
            with pytest.raises(ValueError, match=rf"{method} needs gradients.* Use 'occlusion'"):
                attribute(exported, image, method)


def test_what_is_no_detector_or_no_image_is_said():
    with pytest.raises(ValueError, match="a dict gives no logits"):
        attribute({}, torch.rand(1, 3, 8, 8), "occlusion")
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\).*give \(B, 3, H, W\)"):
        attribute(Corner(), torch.rand(3, 8, 8), "occlusion")
    with torch.inference_mode():
        net = Corner()
    with pytest.raises(ValueError, match=r"loaded inside torch\.inference_mode"):
        attribute(net, torch.rand(1, 3, 64, 64), "occlusion")


def test_a_layer_without_places_is_refused_with_a_method_that_works():
    vit, image = SingleStream(TimmBackbone("test_vit")), torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"keeps no places.*'integrated_gradients'"):
        attribute(vit, image, "gradcam", layer="backbone.model.blocks.0")
    with pytest.raises(ValueError, match=r"names no layer.*'integrated_gradients'"):
        attribute(Linear(64), image, "gradcam")
    with pytest.raises(ValueError, match=r"no module of that name. Near it: .*blocks.0"):
        attribute(vit, image, "gradcam", layer="backbone.model.block.0")
    named = attribute(SingleStream(SmallCNN(8)), image, "gradcam", layer="backbone.stages.1")
    assert named.map.shape == (1, 64, 64)


def test_maps_of_crops_add_up_to_the_decision():
    torch.manual_seed(0)
    net, corners = Linear(32), [(4, 2), (4, 10), (20, 6)]
    decision = Decision(net, corners, (32, 32), batch_size=2)
    assert decision.shape == (48, 40)
    whole = torch.rand(3, 48, 40)
    crops = torch.stack([whole[:, t - 4 : t + 28, left - 2 : left + 30] for t, left in corners])
    seen = decision.picture(crops)
    torch.testing.assert_close(seen[~seen.isnan()], whole[~seen.isnan()])
    assert seen.isnan().any(), "where no crop reaches there is nothing"
    logit = decision(seen.nan_to_num(0.5)[None])
    torch.testing.assert_close(logit, net(crops).mean()[None])
    shares = decision.place(attribute(net, crops, "integrated_gradients").map)
    torch.testing.assert_close(shares.sum(), logit.sum().detach())
    assert not shares[seen.isnan().any(0)].any()
