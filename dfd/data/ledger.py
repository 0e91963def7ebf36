"""Ledger of an evaluation: every image judged exactly once, or an error that names one."""

from collections.abc import Callable

import numpy as np

from dfd.run_record import UNDECODABLE_FILE


class Ledger:
    """
    Args:
        split: train, val or test.
        rows: (R,) of the split, each once.
        name_of: row -> what to call the sample in an error.
    """

    def __init__(self, split: str, rows: np.ndarray, name_of: Callable[[int], str]):
        self.split, self.rows, self.name_of = split, rows, name_of

    def check(
        self, judged: np.ndarray, undecodable: np.ndarray, ceiling: float, complete: bool
    ) -> np.ndarray:
        """The rows of the split (K,) that cannot be decoded: they count in the coverage.

        Args:
            judged: rows that have a verdict.
            undecodable: rows that cannot have one; those of other splits do not matter.
            ceiling: share of the split, in [0, 1], that may be undecodable.
            complete: whether the whole split was to be judged.

        Raises:
            RuntimeError: a row was judged twice, or, of a complete evaluation, not at all.
            ValueError: more is undecodable than the ceiling allows, or all that there is.
        """
        unique, count = np.unique(judged, return_counts=True)
        if (count > 1).any():
            raise RuntimeError(
                f"{(count > 1).sum()} images of the {self.split} split were judged twice, "
                f"first {self._first(unique[count > 1])}."
            )
        lost = np.intersect1d(self.rows, undecodable)
        share = len(lost) / max(1, len(self.rows))
        if share > ceiling or share == 1:
            raise ValueError(
                f"{len(lost)} of {len(self.rows)} images of the {self.split} split cannot be decoded and "
                f"have no verdict, first {self._first(lost)}; {UNDECODABLE_FILE} in the run folder names "
                "all. Prepare those shards again (dfd prepare SOURCE --out FOLDER --overwrite)."
            )
        missing = np.setdiff1d(np.setdiff1d(self.rows, unique), lost)
        if complete and len(missing):
            raise RuntimeError(
                f"{len(missing)} of {len(self.rows)} images of the {self.split} split were not judged, "
                f"first {self._first(missing)}."
            )
        return lost

    def _first(self, rows: np.ndarray) -> str:
        return self.name_of(int(rows[0]))
