"""Gate: how a picture's distance compares with those of a detector's own pictures. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ROUNDING = np.float32(1e-4)  # of a distance, between torch and what runs an export


class Gate:
    """Ranks of distances among home's.

    Args:
        home: (M,) float32 distances of the validation pictures, as they were and delivered.
        world: (M,) int, which of them are one folder, see `dfd.familiarity.alarm.worlds`.
        facts: what was measured, in how many pictures.
    """

    def __init__(self, home: np.ndarray, world: np.ndarray, facts: Mapping[str, Any]):
        self.home, self.world, self.facts = home, world, facts
        self._sorted = np.sort(home)

    def rank(self, distance: np.ndarray) -> np.ndarray:
        """(B,) in [0, 1]: share of home that is at least as strange. NaN stays NaN."""
        # a picture of home's own is as strange as itself, whatever program measured it
        nearest = np.asarray(distance, np.float32) - ROUNDING
        place = np.searchsorted(self._sorted, nearest, side="left")
        return np.where(np.isnan(distance), np.nan, 1 - place / len(self._sorted))

    def distance_at(self, rank: np.ndarray) -> np.ndarray:
        """(B,) distances of ranks: the inverse of `rank`, which ends at home's strangest picture."""
        place = np.rint((1 - rank) * len(self._sorted)).astype(int)
        return self._sorted[np.minimum(place, len(self._sorted) - 1)]

    def reason(self, rank: float) -> str:
        """Why a picture of this rank is not judged, in plain words."""
        share = "none" if rank == 0 else f"{rank:.1%}"
        return f"unlike what this detector was calibrated on: {share} of its own pictures are as strange"
