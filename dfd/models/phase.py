"""What the phases of an image's frequencies show by themselves (SPSL, Liu et al., 2103.01856)."""

from __future__ import annotations

import torch
from torch import Tensor

from dfd.models.net import Net
from dfd.models.spectral import Color, color_planes, in_color

# of amplitudes for images in [0, 1], where rounding to 8 bits has 1e-3 and float32's own errors 1e-6: what is
# quieter has no phase
QUIET = 1e-4


class PhaseSpectrum(Net):
    """The image rebuilt from its phases alone: (B, 3, H, W) in [0, 1] -> (B, out_channels, H, W) float32.

    Every frequency gets the same amplitude, so edges and the periodic traces of up-sampling stay, and the
    colours and shadings that fill most of an image go. The mean square of the map is 1. SPSL gives it to a
    shallow net, since a deep one would look for content again; `SmallCNN` is one.

    Args:
        color: one reconstruction a colour channel, or one of the luma.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma".
    """

    spatial = True

    def __init__(self, color: Color = "luma"):
        super().__init__()
        self.color = color
        self.out_channels = color_planes("PhaseSpectrum", color)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # there is no FFT of bf16
            spectrum = torch.fft.rfft2(in_color(image, self.color), norm="ortho")
            phases = spectrum / spectrum.abs().clamp_min(QUIET)
            return torch.fft.irfft2(phases, s=image.shape[-2:], norm="ortho")
