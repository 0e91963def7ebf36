"""Features that tell one camera, codec or generator from another: early maps of a pretrained net, DCT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.batch import LUMA
from dfd.eval_mode import eval_mode
from dfd.models.dct import dct_basis
from dfd.models.spectral import LEVELS

if TYPE_CHECKING:
    from dfd.models import EarlyLayers

SIDE = 128  # pixels: of a larger picture the middle
BLOCK = 8
CPU_BATCH = 8  # pictures: of more, the first maps no longer fit into a core's cache


class Features:
    """What the gate measures in a picture, by name: (B, 3, H, W) in [0, 1] -> {name: (B, F) float32}.

    Args:
        early: of the pretrained net; None where there is none.
        own: a trained net, asked for its first `cam_layers` where there are no early layers; one that has
            none is not asked.
    """

    def __init__(self, early: EarlyLayers | None = None, own: nn.Module | None = None):
        asked = early is None and getattr(own, "cam_layers", None)
        self.early, self.own = early, own if asked else None

    @property
    def basis(self) -> str:
        """What is measured, in words."""
        if self.early is not None:
            return f"block DCT, and the first layers of {self.early.name} as they were before training"
        if self.own is not None:
            return "block DCT, and the net's own maps, since it has no pretrained backbone"
        return "block DCT alone"

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        if not len(image):
            return {}
        size = CPU_BATCH if image.device.type == "cpu" else len(image)
        # bfloat16's eight bits would be a world of their own
        with torch.autocast(image.device.type, enabled=False):
            parts = [self.measure(part) for part in image.split(size)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def measure(self, image: Tensor) -> dict[str, Tensor]:
        """The same, of one batch and with gradients where its nets have some."""
        image = middle(image).float()
        found = {"dct": block_dct(image)}
        if self.early is not None:
            found["early"] = self.early.to(image.device)(image)
        elif self.own is not None:
            found["own"] = own_maps(self.own, image)
        return found


def middle(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> at most SIDE pixels of either side, from the middle, from a whole block on."""
    top, left = ((max(0, side - SIDE) // 2) // BLOCK * BLOCK for side in image.shape[-2:])
    return image[..., top : top + SIDE, left : left + SIDE]


def block_dct(image: Tensor) -> Tensor:
    """Mean and deviation of log-amplitudes of an 8 x 8 DCT of the luma: (B, 3, H, W) -> (B, 128)."""
    luma = (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    coefficients = F.conv2d(luma, dct_basis(BLOCK).to(image), stride=BLOCK)
    amplitude = torch.log1p(LEVELS * coefficients.abs())  # (B, 64, h, w)
    return torch.cat([amplitude.mean((2, 3)), amplitude.std((2, 3), correction=0)], dim=1)


def own_maps(net: nn.Module, image: Tensor) -> Tensor:
    """Mean and deviation of the maps that a net's head reads: (B, 3, H, W) -> (B, 2 * channels)."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple, maps: Tensor) -> None:
        found.append(maps.detach())

    handle = next(iter(net.cam_layers.values())).register_forward_hook(keep)
    try:
        with eval_mode(net):
            net(image.to(next(net.parameters()).dtype))
    finally:
        handle.remove()
    maps = found[-1].float()
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], dim=1)
