"""DiffAugment: differentiable random changes of real and generated images, for training a GAN.

Zhao et al., "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020, 2006.10738. A
discriminator that sees changed images alone cannot memorise the few real ones, and since the generated ones
are changed alike, the generator does not learn the changes. Images are (B, 3, H, W) in [0, 1]; what is moved
or cut out leaves mid-gray.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


class DiffAugment:
    """Random changes, drawn for each image of a batch.

    Args:
        kinds: in which order: color (brightness, saturation, contrast), translation (up to an eighth of the
            side), cutout (a square of half the side).
    """

    def __init__(self, kinds: Sequence[str] = ("color", "translation", "cutout")):
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"kinds={list(kinds)}: DiffAugment knows {', '.join(KINDS)}, not {unknown[0]}.")
        self.kinds = tuple(kinds)

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape, beyond [0, 1] where a colour was."""
        for kind in self.kinds:
            image = KINDS[kind](image)
        return image


def color(image: Tensor) -> Tensor:
    """Brightness by up to a quarter of the range, saturation from 0 to 2, contrast from .5 to 1.5."""
    brightness, saturation, contrast = torch.rand(
        3, len(image), 1, 1, 1, device=image.device, dtype=image.dtype
    )
    image = image + (brightness - 0.5) / 2
    gray = image.mean(dim=1, keepdim=True)
    image = gray + 2 * saturation * (image - gray)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (image - mean)


def translation(image: Tensor) -> Tensor:
    """By whole pixels, up to an eighth of the side in each direction."""
    height, width = image.shape[-2:]
    theta = torch.eye(2, 3, device=image.device, dtype=image.dtype).repeat(len(image), 1, 1)
    for axis, side in enumerate((width, height)):  # grid_sample counts x first, and a whole side as 2
        most = side // 8
        theta[:, axis, 2] = torch.randint(-most, most + 1, (len(image),), device=image.device) * (2 / side)
    grid = affine_grid(theta, list(image.shape), align_corners=False)
    return grid_sample(image - 0.5, grid, mode="nearest", align_corners=False) + 0.5  # it fills with zero


def cutout(image: Tensor) -> Tensor:
    """A square of half the side, its centre anywhere in the picture."""
    hidden = torch.ones((), dtype=torch.bool, device=image.device)
    for side, shape in zip(image.shape[-2:], ((1, 1, -1, 1), (1, 1, 1, -1)), strict=True):
        centre = torch.randint(0, side, (len(image), 1, 1, 1), device=image.device)
        place = torch.arange(side, device=image.device).view(shape)
        hidden = hidden & ((place - centre).abs() * 4 < side)
    return torch.where(hidden, 0.5, image)


KINDS = {"color": color, "translation": translation, "cutout": cutout}
