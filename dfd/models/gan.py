"""FastGAN: a generator and a discriminator for few and small images.

Liu et al., "Towards faster and stabilized GAN training for high-fidelity few-shot image synthesis", ICLR
2021, 2101.04775: gated linear units, skip-layer excitation, and a discriminator that also reconstructs the
real images from its own features, against memorising them. No noise is injected, so that an image is a
function of its latent alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.parametrizations import spectral_norm

from dfd.models.net import Net

SIZES = (64, 128)


class Generator(Net):
    """Latents (B, latent) from the standard normal -> pictures (B, 3, size, size) in [0, 1].

    Args:
        size: side of a picture in pixels, 64 or 128.
        width: channels at full size; each halving of the side doubles them, up to sixteenfold.
        latent: dimensions of the latent.
    """

    role = "generator"

    def __init__(self, size: int = 64, width: int = 16, latent: int = 128):
        super().__init__()
        _check(size, width)
        sides = _sides(4, size)
        widths = [width * min(16, size // side) for side in sides]
        self.size, self.latent = size, latent
        # (B, latent, 1, 1) -> (B, widths[0], 4, 4)
        self.start = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * widths[0], 4, bias=False), nn.BatchNorm2d(2 * widths[0]), _GLU()
        )
        self.blocks = nn.ModuleList(_up(narrow, wide) for narrow, wide in pairwise(widths))
        channels = dict(zip(sides, widths, strict=True))
        self.excitations = nn.ModuleDict(
            {str(side): _Excitation(channels[side // 16], channels[side]) for side in sides if side >= 64}
        )
        self.paint = nn.Conv2d(widths[-1], 3, 3, padding=1)
        self.apply(_init)

    def forward(self, latent: Tensor) -> Tensor:
        maps = {4: self.start(latent[:, :, None, None])}
        for block in self.blocks:
            side = 2 * max(maps)
            maps[side] = block(maps[side // 2])
            if str(side) in self.excitations:
                maps[side] = maps[side] * self.excitations[str(side)](maps[side // 16])
        return self.paint(maps[self.size]).float().tanh() / 2 + 0.5


class Judgement(NamedTuple):
    """Output of the discriminator for a batch."""

    logit: Tensor  # (B, 25): one for each of 5 x 5 overlapping windows; above zero means real
    whole: Tensor  # (B, C, 8, 8) features, and
    detail: Tensor  # (B, C', 16, 16) earlier ones, in which `reconstruction_loss` looks for the picture


class Discriminator(Net):
    """Pictures (B, 3, size, size) in [0, 1] -> a `Judgement`. Above zero means real here, as in the GAN
    literature.

    Args:
        size: side of a picture in pixels, 64 or 128.
        width: channels at half the side; each further halving doubles them, up to eightfold.
    """

    def __init__(self, size: int = 64, width: int = 32):
        super().__init__()
        _check(size, width)
        widths = [width * min(8, size // side // 2) for side in reversed(_sides(8, size // 2))]
        self.size = size
        self.stem = nn.Sequential(spectral_norm(nn.Conv2d(3, widths[0], 4, 2, 1)), nn.LeakyReLU(0.2))
        self.stages = nn.ModuleList(_Down(narrow, wide) for narrow, wide in pairwise(widths))
        wide = widths[-1]
        self.head = nn.Sequential(
            spectral_norm(nn.Conv2d(wide, wide, 1, bias=False)),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(wide, 1, 4, bias=False)),
        )
        self.decode_whole, self.decode_detail = _decoder(widths[-1], size), _decoder(widths[-2], size)

    def forward(self, image: Tensor) -> Judgement:
        maps = [self.stem(image * 2 - 1)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return Judgement(self.head(maps[-1]).flatten(1), maps[-1], maps[-2])

    def reconstruction_loss(self, seen: Judgement, image: Tensor) -> Tensor:
        """Mean absolute errors of a reconstruction: all of it at half size, a random quarter at full size."""
        half = self.size // 2
        top, left = torch.randint(0, 2, (2,)).tolist()
        quarter = image[:, :, top * half : (top + 1) * half, left * half : (left + 1) * half]
        detail = seen.detail[:, :, top * 8 : top * 8 + 8, left * 8 : left * 8 + 8]
        small = interpolate(image, (half, half), mode="area")
        errors = (
            self.decode_whole(seen.whole) - (small * 2 - 1),
            self.decode_detail(detail) - (quarter * 2 - 1),
        )
        return sum(error.abs().mean() for error in errors)


class _GLU(nn.Module):
    """Gated linear unit: half of the channels decide how much of the other half passes. (B, 2C, H, W) -> (B,
    C, H, W).

    On a CPU, torch's own turns channels-last maps into another layout, and a training step takes twice as
    long.
    """

    def forward(self, maps: Tensor) -> Tensor:
        value, gate = maps.chunk(2, dim=1)
        return value * gate.sigmoid()


class _Excitation(nn.Module):
    """Skip-layer excitation: small maps (B, narrow, h, w) -> weights (B, wide, 1, 1) in (0, 1) of large ones'
    channels.
    """

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(narrow, wide, 4),
            nn.LeakyReLU(0.1),
            nn.Conv2d(wide, wide, 1),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.body(maps)


class _Down(nn.Module):
    """Half the side, by convolutions and averages alike: (B, narrow, H, W) -> (B, wide, H / 2, W / 2)."""

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Conv2d(narrow, wide, 4, 2, 1, bias=False)),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(wide, wide, 3, padding=1, bias=False)),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
        )
        self.skip = nn.Sequential(
            nn.AvgPool2d(2),
            spectral_norm(nn.Conv2d(narrow, wide, 1, bias=False)),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return (self.body(maps) + self.skip(maps)) / 2


def _up(narrow: int, wide: int) -> nn.Sequential:
    """Twice the side: (B, narrow, H, W) -> (B, wide, 2H, 2W)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(narrow, 2 * wide, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * wide),
        _GLU(),
    )


def _decoder(wide: int, size: int) -> nn.Sequential:
    """Features (B, wide, 8, 8) -> a picture (B, 3, size / 2, size / 2) in [-1, 1]."""
    narrow = max(8, wide // 4)
    blocks = [_up(wide if side == 16 else narrow, narrow) for side in _sides(16, size // 2)]
    return nn.Sequential(*blocks, nn.Conv2d(narrow, 3, 3, padding=1), nn.Tanh())


def _check(size: int, width: int) -> None:
    if size not in SIZES:
        raise ValueError(f"size={size}: this GAN makes pictures of {' or '.join(map(str, SIZES))} pixels.")
    if width < 1:
        raise ValueError(f"width={width}: it takes at least one channel. Use 16 or more.")


def _sides(smallest: int, size: int) -> list[int]:
    """smallest, twice it, ..., size: powers of two."""
    return [1 << power for power in range(smallest.bit_length() - 1, size.bit_length())]


def _init(module: nn.Module) -> None:
    """DCGAN's (Radford et al., 1511.06434)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
