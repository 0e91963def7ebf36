import pytest
import torch
from torch import nn

from dfd.explain.attribution import attribute
from dfd.models import DualStream, LocalSpectrum, Net, SingleStream, SmallCNN, TimmBackbone

NETS = {
    "small_cnn": lambda: SingleStream(SmallCNN(8)),
    "mobilenet": lambda: SingleStream(TimmBackbone("mobilenetv2_100")),  # in-place ReLU6
    "resnet": lambda: SingleStream(TimmBackbone("test_resnet")),
    "efficientnet": lambda: SingleStream(TimmBackbone("test_efficientnet")),
    "convnext": lambda: SingleStream(TimmBackbone("test_convnext")),
    "vit": lambda: SingleStream(TimmBackbone("test_vit")),
    "dual": lambda: DualStream(SmallCNN(8), SmallCNN(8)),
}


class Corner(Net):
    """Says FAKE by how red the lower right quarter is."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 0] = 1 / 64

    @property
    def cam_layers(self):
        return {"look": self.look}

    def forward(self, image):
        return self.look(image)[:, 0, 4:, 4:].mean((1, 2)) * 3


def num_hooks(net):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in net.modules() for kind in kinds)


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
def test_a_map_in_the_images_size_inside_validation(make, method):
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        net.head.weight.abs_()  # every feature speaks for fake, so Grad-CAM has something to show
    net(torch.rand(4, 3, 64, 64))
    net.train()
    net.requires_grad_(False)  # as an average of weights is
    if isinstance(net, SingleStream):
        net.backbone.eval()  # as a frozen backbone is
    training = [module.training for module in net.modules()]
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    # as Lightning validates in mixed precision
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        image = torch.rand(2, 3, 64, 64)
        before = image.clone()
        found = attribute(net, image, method, steps=4)
        assert torch.equal(image, before)
    assert found.map.shape == (2, 64, 64) and found.map.dtype == torch.float32 and not found.map.requires_grad
    assert found.map.isfinite().all() and found.map.any()
    assert (found.error is None) == (method == "gradcam")
    assert [module.training for module in net.modules()] == training and num_hooks(net) == 0
    assert not any(value.requires_grad or value.grad is not None for value in net.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


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
    with pytest.raises(ValueError, match=r"layer='fft'.* has maps of the picture in rgb"):
        attribute(DualStream(SmallCNN(8), SmallCNN(8)), image, "gradcam", layer="fft")
    with pytest.raises(ValueError, match="need square pictures"):
        attribute(SingleStream(TimmBackbone("test_vit")), torch.rand(1, 3, 64, 96), "gradcam")
    with pytest.raises(ValueError, match="attribute knows"):
        attribute(net, image, "lime")


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_nothing_is_left_behind_by_an_error(method):
    net = SingleStream(SmallCNN(8)).train()
    net.head.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        attribute(net, torch.rand(1, 3, 32, 32), method)
    assert num_hooks(net) == 1 and all(module.training for module in net.modules())
