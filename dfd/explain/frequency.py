"""Frequencies that move a detector's logit: shares by integrated gradients, and what each band's loss costs.

Frequencies are in cycles a pixel: 0 is the mean colour, 1/2 changes from each pixel to the next. Traces of
generators and of JPEG lie high (Durall et al., 2003.01826; Frank et al., 2003.08685); what a person sees of a
face lies low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dfd.explain.unchanged import check_gradients, ready, unchanged

NUM_BANDS = 16


@dataclass(frozen=True)
class FrequencyShares:
    """Shares of the logit's distance from that of a picture of one colour.

    Args:
        spectrum: (B, H, W) float32, the share of each frequency, positive towards FAKE; frequency 0 at
            [H // 2, W // 2], rows and columns from -1/2 to 1/2 cycles a pixel.
        bands: (B, K) float32, the shares of rings, see `band_edges`.
        distance: (B,) what they should add up to.
    """

    spectrum: Tensor
    bands: Tensor
    distance: Tensor

    @property
    def error(self) -> Tensor:
        """(B,) the part of the distance that the shares leave out."""
        return (self.spectrum.sum((-2, -1)) - self.distance).abs() / self.distance.abs().clamp_min(0.01)


def band_edges(num_bands: int = NUM_BANDS) -> Tensor:
    """(K + 1,) cycles a pixel: rings around frequency 0, which is in none. The last takes the corners beyond
    1/2 too.
    """
    return torch.linspace(0, 0.5, num_bands + 1)


def frequency_attribution(
    detector: Any, image: Tensor, num_bands: int = NUM_BANDS, steps: int = 50, batch_size: int = 32
) -> FrequencyShares:
    """Integrated gradients through the inverse Fourier transform: the path leads from a picture of one
    colour, the image's mean, to the image, and each frequency gets its share.

    Args:
        detector, batch_size: as of `dfd.explain.attribute`.
        image: (B, 3, H, W) in [0, 1].
        num_bands: rings of equal width.
        steps: points on the way.

    Raises:
        ValueError: the net has no gradients: `band_occlusion` needs none.
    """
    from captum.attr import IntegratedGradients

    _check_bands(num_bands)
    with unchanged(detector) as net:
        ours = ready(image, net)
        check_gradients(net, ours, "frequency_attribution")

        def logit(parts: Tensor) -> Tensor:
            return net(torch.fft.ifft2(torch.view_as_complex(parts.contiguous())).real)

        parts = torch.view_as_real(torch.fft.fft2(ours))  # (B, 3, H, W, 2)
        plain = torch.zeros_like(parts)
        plain[..., 0, 0, :] = parts[..., 0, 0, :]
        gradients = IntegratedGradients(logit)
        shares = gradients.attribute(parts, plain, n_steps=steps, internal_batch_size=batch_size)
        shares = shares.detach().sum((1, 4))  # (B, H, W)
        with torch.no_grad():
            distance = logit(parts) - logit(plain)
    ring = _rings(*image.shape[-2:], num_bands).to(shares.device)
    bands = torch.stack([(shares * (ring == band)).sum((1, 2)) for band in range(num_bands)], dim=1)
    spectrum = torch.fft.fftshift(shares, dim=(1, 2))
    return FrequencyShares(*(each.to(image.device) for each in (spectrum, bands, distance)))


def band_occlusion(detector: Any, image: Tensor, num_bands: int = NUM_BANDS, batch_size: int = 32) -> Tensor:
    """How far the logit falls when a ring of frequencies is taken out: (B, K) float32.

    Needs no gradients. Values of the picture may leave [0, 1] by what is taken out; they are not clipped,
    since clipping makes new frequencies.

    Args:
        detector, image, batch_size: as of `dfd.explain.attribute`.
        num_bands: rings of equal width.
    """
    _check_bands(num_bands)
    with unchanged(detector) as net, torch.no_grad():
        ours = ready(image, net)
        spectrum = torch.fft.fft2(ours)
        ring = _rings(*ours.shape[-2:], num_bands).to(ours.device)
        whole = _logits(net, ours, batch_size)
        falls = [
            whole - _logits(net, torch.fft.ifft2(spectrum * (ring != band)).real, batch_size)
            for band in range(num_bands)
        ]
    return torch.stack(falls, dim=1).float().to(image.device)


def _logits(net: torch.nn.Module, image: Tensor, batch_size: int) -> Tensor:
    return torch.cat([net(part) for part in image.split(batch_size)])


def _rings(height: int, width: int, num_bands: int) -> Tensor:
    """(H, W) int64: the ring of each frequency, as `torch.fft.fft2` lays them out; -1 for frequency 0."""
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)
    radius = (down.square() + across.square()).sqrt()
    ring = (radius / 0.5 * num_bands).ceil().long() - 1
    return ring.clamp_max(num_bands - 1)


def _check_bands(num_bands: int) -> None:
    if num_bands < 2:
        raise ValueError(f"num_bands={num_bands}: to compare bands it takes 2 or more. Use {NUM_BANDS}.")
