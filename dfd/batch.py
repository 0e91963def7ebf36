"""What travels through the house, and the words for it. No torch at import.

Shape letters: B images in a batch, N crops of one image, H and W pixels, F features, M rows of a verdict
table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

if TYPE_CHECKING:
    import torch

REAL, FAKE = 0, 1
LABELS = ("real", "fake")


class Sample(TypedDict, total=False):
    """One picture on its way through the stages, before collate."""

    image: np.ndarray  # (H, W, 3) uint8 RGB; (N, H, W, 3) once evaluation has cut its crops
    mask: (
        np.ndarray
    )  # (H, W) uint8, 255 where a stage forged something, cropped with the image; collate drops it
    label: int  # REAL or FAKE; a stage of training may turn a real picture into a fake
    row: int  # line of the table; everything else is looked up by it
    fault: str  # why there is no picture: then image is black, and collate leaves the sample out


class Batch(TypedDict):
    """What a task sees, on its device."""

    image: (
        torch.Tensor
    )  # (B, 3, H, W), or (B, N, 3, H, W) where several crops of one image are judged; float32 in [0, 1]
    label: torch.Tensor  # (B,) int64; float32 in [REAL, FAKE] where training mixes pictures
    row: torch.Tensor  # (B,) int64


@dataclass(frozen=True)
class Predictions:
    """The verdict table: one line an image. Metrics, calibration, predictions and intervals are functions of
    it.

    `logit` is raw (before temperature); a row with label -1 has no known truth. `group` is the family that
    keeps related images together (a video, a person); images without one are their own group.
    """

    row: np.ndarray  # (M,) int64
    logit: np.ndarray  # (M,) float64
    label: np.ndarray  # (M,) int64: REAL, FAKE, or -1 unknown
    source: np.ndarray  # (M,) str
    method: np.ndarray  # (M,) str, "" for real or unknown
    group: np.ndarray  # (M,) str

    def __len__(self) -> int:
        return len(self.row)

    def where(self, keep: np.ndarray) -> Predictions:
        """The lines that a boolean mask or an index array (M',) picks."""
        return Predictions(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))
