"""Standardization of spectra, frequency by frequency, by statistics of the training images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrequencyStatistics(nn.Module):
    """Standardizes maps (B, C, H, W) by running statistics on a grid (C, G, K), in training and in use alike.

    They are the same on all ranks of a distributed training.
    """

    def __init__(self, channels: int, rows: int, columns: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, rows, columns))
        self.register_buffer("square", torch.ones(channels, rows, columns))  # mean of squares
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # batches

    def forward(self, maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """
        Args:
            rows, columns: (H, G) and (W, K), the weights of each place of the grid in each place of the map.
        """
        if self.training:
            self._update(maps.detach(), rows, columns)
        rows, columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
        # (C, H, W); of one value where the grid is a point
        mean = rows @ self.mean.float() @ columns.T
        variance = rows @ (self.square - self.mean.square()).float() @ columns.T
        # deviations count as .1 at least: what hardly varied in training would be blown up elsewhere
        return (maps - mean) / variance.clamp_min(0.01).sqrt()

    @torch.no_grad()
    def _update(self, maps: Tensor, rows: Tensor, columns: Tensor) -> None:
        rows, columns = rows / rows.sum(0), columns / columns.sum(0)
        moments = torch.stack([maps.mean(0), maps.square().mean(0)])  # (2, C, H, W)
        moments = rows.T @ moments @ columns  # (2, C, G, K)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(moments)
            moments /= torch.distributed.get_world_size()
        self.seen += 1
        # a plain average of the first 100 batches, then a moving one
        weight = (1 / self.seen).clamp_min(0.01)
        self.mean.lerp_(moments[0].to(self.mean.dtype), weight)
        self.square.lerp_(moments[1].to(self.mean.dtype), weight)


def everywhere(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns for a grid of one point: one value for all places of maps (B, C, H, W)."""
    height, width = maps.shape[-2:]
    return maps.new_ones(height, 1), maps.new_ones(width, 1)


def hats(at: Tensor, grid: Tensor, spacing: float) -> Tensor:
    """Linear interpolation as a matrix (len(at), len(grid)), the identity where both are the same.

    Where `at` is the coarser of the two (`spacing` > 1, in steps of the grid) the hats widen to leave no gap
    on the grid.
    """
    return (1 - (at[:, None] - grid).abs() / max(1.0, spacing)).clamp_min(0)
