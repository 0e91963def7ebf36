"""MLP: two layers on the channels alone, for spectra that are a list of numbers."""

from __future__ import annotations

import torch
from torch import nn

from dfd.models.net import Net


class MLP(Net):
    """Perceptron with two layers, at each place by itself: (B, in_channels, H, W) -> (B, width), the mean.

    For maps of one place, such as `AzimuthalSpectrum` gives. It normalizes nothing: such spectra come
    standardized.

    Args:
        width: of both layers.
        in_channels: as many as the spectrum gives.
    """

    def __init__(self, width: int = 64, in_channels: int = 3):
        super().__init__()
        self.in_channels, self.num_features = in_channels, width
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()
        )

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"features": self.layers}

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """(B, width, H, W): the features of each place."""
        return self.layers(image)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps(image).mean(dim=(2, 3))
