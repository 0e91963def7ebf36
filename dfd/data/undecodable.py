"""Undecodable images of finished shards: counted, logged once, tolerated up to `max_undecodable`."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from dfd.distributed import gather_objects
from dfd.run_record import UNDECODABLE_FILE
from dfd.terminal import printable

_log = logging.getLogger(__name__)
SAID = 3  # lines on the screen, of one process; the table holds all


class UndecodableImages:
    """What one rank has met.

    Args:
        ceiling: share in [0, 1] of the training samples shown, of one epoch at least, that may be
            undecodable.
        describe: row -> what stands in the table of it: key, path, split.
    """

    def __init__(self, ceiling: float, describe: Callable[[int], tuple[str, str, str]]):
        if not 0 <= ceiling <= 1:
            raise ValueError(
                f"data.max_undecodable={ceiling} is a share of the pictures, in [0, 1]. Use .01, or 0 to "
                "bear none."
            )
        self.ceiling, self.describe = ceiling, describe
        self.shown = self.lost = 0  # training samples; one that comes again in another epoch counts again
        self.rows: set[int] = set()

    def note(self, faults: Sequence[tuple[int, str]], folder: Path) -> None:
        """Names those that are new: in undecodable.csv of `folder`, and the first few in the log."""
        for row, why in faults:
            if row in self.rows:
                continue
            self.rows.add(row)
            key, path, split = self.describe(row)
            _append(folder / UNDECODABLE_FILE, key, path, split, why)
            if len(self.rows) <= SAID:
                rest = " More of them are named there alone." if len(self.rows) == SAID else ""
                told = f"{key} ({path}) of the {split} split cannot be decoded and is left out: {why}."
                _log.warning(printable(f"{told} It is listed in {folder / UNDECODABLE_FILE}.{rest}"))

    def of_all_ranks(self) -> np.ndarray:
        """Rows that any rank could not decode, in order. Called on all ranks."""
        return np.array(sorted(set().union(*gather_objects(self.rows))), np.int64)

    def count(self, lost: int, epoch: int, folder: Path) -> None:
        """Counts what a training batch has lost, where this rank's epoch has `epoch` samples.

        Raises:
            ValueError: it is more than the ceiling allows.
        """
        self.lost += lost
        if self.lost > self.ceiling * max(self.shown, epoch):
            raise ValueError(
                f"{self.lost} of {self.shown} training samples cannot be decoded: more than "
                f"data.max_undecodable={self.ceiling} of {max(self.shown, epoch)}. "
                f"{folder / UNDECODABLE_FILE} names them. Prepare "
                "those shards again (dfd prepare SOURCE --out FOLDER --overwrite), or raise the ceiling."
            )


def _append(path: Path, *line: str) -> None:
    """Adds a line, unless the table has the key already: by another rank, or before a resume."""
    with suppress(FileExistsError), path.open("x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(["key", "path", "split", "reason"])
    with path.open("r+", newline="", encoding="utf-8") as file:
        if line[0] not in {row[0] for row in csv.reader(file) if row}:
            csv.writer(file).writerow(line)
