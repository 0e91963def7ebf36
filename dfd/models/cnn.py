"""SmallCNN: a small residual CNN whose first layers keep the full resolution."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dfd.models.net import Net


class SmallCNN(Net):
    """Residual CNN without a fixed input size. (B, in_channels, H, W) -> (B, 4 * width); H and W from 16 up.

    Traces of generation are a pixel or two wide, and early down-sampling loses them (Gragnaniello et al.,
    2104.02617). Images come in [0, 1]; spectra as `dfd.models.spectral` gives them.

    Args:
        width: even; each of the three stages doubles the channels, from half of it to four times it.
        in_channels: 3 of an image, or as many as a spectrum gives.

    Raises:
        ValueError: `width` is odd or below 2.
    """

    def __init__(self, width: int = 32, in_channels: int = 3):
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(
                f"width={width}: SmallCNN needs an even width of 2 or more, for instance "
                f"{max(2, width // 2 * 2)}."
            )
        self.in_channels = in_channels
        self.num_features = 4 * width
        # the mean of an image in [0, 1] is far from zero; a BatchNorm, not a constant, fits spectra as well
        self.standardize = nn.BatchNorm2d(in_channels, affine=False)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
        )
        widths = (width // 2, width, 2 * width, 4 * width)
        self.stages = nn.Sequential(*(_Stage(narrow, wide) for narrow, wide in pairwise(widths)))

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"features": self.stages[-1]}

    def depths(self) -> dict[str, int]:
        """The layer of each weight, 0 next to the image, by its name: the stem, then the stages."""
        names = [name for name, _ in self.named_parameters()]
        return {name: 0 if name.startswith("stem.") else 1 + int(name.split(".")[1]) for name in names}

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 4 * width, H / 8, W / 8): the features of each place."""
        return self.stages(self.stem(self.standardize(image)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps(image).mean(dim=(2, 3))  # (B, 4 * width)


class _Stage(nn.Module):
    """Half the resolution: (B, narrow, H, W) -> (B, wide, H / 2, W / 2)."""

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.skip = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(narrow, wide, 1, bias=False), nn.BatchNorm2d(wide)
        )
        self.relu = nn.ReLU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(maps) + self.skip(maps))
