"""Protocols of what a detector is made of: backbone, spectrum and fusion. Each is also a `dfd.models.Net`.

Shape letters: F features of a stream, K of the frequency stream, D of both together, C forensic cues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Backbone(Protocol):
    """Images or maps (B, in_channels, H, W) -> features (B, num_features)."""

    in_channels: int
    num_features: int

    @property
    def cam_layers(self) -> Mapping[str, nn.Module]:
        """Under "features" the layer whose output is a map (B, C, h, w) for Grad-CAM."""

    def __call__(self, image: Tensor) -> Tensor: ...


@runtime_checkable
class MapBackbone(Protocol):
    """A `Backbone` that gives the features of each place as well."""

    def maps(self, image: Tensor) -> Tensor:
        """Images or maps (B, in_channels, H, W) -> (B, num_features, h, w)."""


@runtime_checkable
class Spectrum(Protocol):
    """Images (B, 3, H, W) in [0, 1] -> maps (B, out_channels, h, w)."""

    out_channels: int
    spatial: bool  # whether a place of the map is a place of the image, so that Grad-CAM can show it

    def __call__(self, image: Tensor) -> Tensor: ...


@runtime_checkable
class Fusion(Protocol):
    """Features (B, F) and (B, K), and where there are any the forensic cues (B, C) -> (B, D).

    One that says `needs_maps = True` is given the features of each place instead, (B, F, h, w) and
    (B, K, i, j).
    """

    def connect(self, num_rgb: int, num_fft: int) -> int:
        """Makes the layers for features of F and K values, and returns D. `DualStream` calls it once."""

    def __call__(self, rgb: Tensor, fft: Tensor, cues: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class Streams(Protocol):
    """A net whose features come in several streams, so that each one's part in the logit can be asked."""

    def streams(self, image: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) -> features (B, F) or (B, F, h, w) of each stream, by its name."""

    def judge(self, **streams: Tensor) -> Tensor:
        """The logits (B,) of such features."""
