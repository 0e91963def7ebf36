"""Frequencies that move a logit: a planted band is found, and shares are exact where the net is linear."""

import math

import pytest
import torch
from small_nets import Linear, num_hooks
from torch import nn

from dfd.explain import band_edges, band_occlusion, frequency_attribution
from dfd.models import Net, SingleStream, SmallCNN


class Listens(Net):
    """The logit is how strong one frequency is, in cycles a pixel down and across."""

    def __init__(self, down: float, across: float, size: int = 64):
        super().__init__()
        at = torch.arange(size)
        phase = 2 * math.pi * (down * at[:, None] + across * at)
        self.register_buffer("waves", torch.stack([phase.cos(), phase.sin()]) / size**2)

    def forward(self, image):
        return 1000 * torch.einsum("bchw,khw->bk", image, self.waves).square().sum(1)


@pytest.mark.parametrize(("down", "across"), [(8 / 64, 0), (0, 20 / 64), (12 / 64, 16 / 64), (0.5, 0.5)])
def test_a_planted_band_is_found(down, across):
    torch.manual_seed(0)
    net = Listens(down, across)
    image = 0.5 + 0.1 * torch.rand(2, 3, 64, 64)
    image += 5 * torch.stack([net.waves[0] * 64 for _ in range(3)])
    with torch.inference_mode():
        falls = band_occlusion(net, image)
        found = frequency_attribution(net, image, steps=8)
    edges = band_edges()
    band = min(int((edges < math.hypot(down, across)).sum()) - 1, 15)
    for bands in (falls, found.bands):
        assert bands.shape == (2, 16) and (bands.argmax(1) == band).all()
        others = bands[:, [other for other in range(16) if other != band]]
        assert others.abs().max() < 1e-3 * bands[:, band].min()
    # its place in the spectrum, and the mirrored one, which of a real picture says the same
    strongest = found.spectrum[0].flatten().topk(2).indices
    places = {(int(each) // 64, int(each) % 64) for each in strongest}
    expected = {((32 + s * round(down * 64)) % 64, (32 + s * round(across * 64)) % 64) for s in (1, -1)}
    assert expected <= places
    torch.testing.assert_close(falls, found.bands, rtol=0.02, atol=0.02)  # all of the logit is in one band


def test_shares_of_a_linear_net_are_exact_and_add_up():
    torch.manual_seed(0)
    net, image = Linear(32), torch.rand(2, 3, 32, 32)
    found = frequency_attribution(net, image, num_bands=4, steps=2)
    distance = net(image) - net(image.mean((2, 3), keepdim=True).expand_as(image))
    torch.testing.assert_close(found.spectrum.sum((1, 2)), distance.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.bands.sum(1), distance.detach(), rtol=1e-4, atol=1e-4)
    assert found.error.max() < 1e-3
    # by Parseval: weights and image, frequency by frequency
    spectra = (torch.fft.fft2(each) for each in (net.weight, image))
    weight, picture = spectra
    product = (weight.conj() * picture).real.sum(1) / 32**2
    product[:, 0, 0] = 0
    torch.testing.assert_close(found.spectrum, torch.fft.fftshift(product, dim=(1, 2)).detach())
    # and taking a band out of a linear net costs its share
    torch.testing.assert_close(band_occlusion(net, image, num_bands=4), found.bands, rtol=1e-3, atol=1e-4)


def test_a_net_without_gradients_has_the_bands_alone():
    net, image = Listens(0, 0.25), torch.rand(1, 3, 64, 64)

    def exported(image):
        return torch.from_numpy(net(torch.from_numpy(image.numpy())).numpy())

    torch.testing.assert_close(band_occlusion(exported, image), band_occlusion(net, image))
    with pytest.raises(ValueError, match="frequency_attribution needs gradients"):
        frequency_attribution(exported, image)
    with pytest.raises(ValueError, match="num_bands=1"):
        band_occlusion(net, image, num_bands=1)


@pytest.mark.parametrize("explain", [frequency_attribution, band_occlusion])
def test_the_net_stays_as_it_was_after_an_interrupt(explain):
    net = SingleStream(SmallCNN(4)).train()
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    nn.Module.register_forward_hook(net.head, interrupt)
    with pytest.raises(KeyboardInterrupt):
        explain(net, torch.rand(1, 3, 32, 32))
    assert num_hooks(net) == 1 and all(module.training for module in net.modules())
