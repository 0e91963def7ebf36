"""The logit that a decision rests on, as a function of one picture: the mean over its crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Decision(nn.Module):
    """The mean logit of the crops of a picture: (B, 3, H, W) in [0, 1] -> (B,).

    A picture here holds what the crops show, each in its place, and nothing else: where no crop reaches, the
    detector has not looked.

    Args:
        net: crops (N, 3, h, w) -> logits (N,).
        corners: top and left of each crop in some larger picture, as `View.eval_places` gives them.
        size: (h, w).
        batch_size: crops that go through the net at once.
    """

    def __init__(
        self, net: nn.Module, corners: Sequence[tuple[int, int]], size: tuple[int, int], batch_size: int = 32
    ):
        super().__init__()
        first = np.min(corners, axis=0)
        # from the first row and column that any crop shows
        self.corners = [(int(top - first[0]), int(left - first[1])) for top, left in corners]
        self.net, self.size, self.batch_size = net, size, batch_size

    @property
    def shape(self) -> tuple[int, int]:
        """H, W of its pictures."""
        last = np.max(self.corners, axis=0)
        return int(last[0]) + self.size[0], int(last[1]) + self.size[1]

    def _of(self, top: int, left: int) -> tuple[slice, slice]:
        """Rows and columns of a crop."""
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def picture(self, crops: Tensor) -> Tensor:
        """The crops (N, C, h, w), each in its place: (C, H, W), NaN where there is none."""
        canvas = crops.new_full((crops.shape[1], *self.shape), float("nan"))
        for crop, (top, left) in zip(crops, self.corners, strict=True):
            canvas[:, *self._of(top, left)] = crop
        return canvas

    def place(self, maps: Tensor) -> Tensor:
        """Maps of the crops (N, h, w) as the map (H, W) of the mean logit; what adds up still adds up."""
        canvas = maps.new_zeros(self.shape)
        for each, (top, left) in zip(maps, self.corners, strict=True):
            canvas[self._of(top, left)] += each / len(self.corners)
        return canvas

    def crops(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, C, h, w)"""
        cut = [image[..., *self._of(top, left)] for top, left in self.corners]
        return torch.stack(cut, dim=1)

    def forward(self, image: Tensor) -> Tensor:
        crops = self.crops(image)
        logit = torch.cat([self.net(part) for part in crops.flatten(0, 1).split(self.batch_size)])
        return logit.unflatten(0, crops.shape[:2]).mean(1)
