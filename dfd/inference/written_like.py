"""Reals of finished shards whose files can be imitated, so that fakes are written as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.batch import REAL
from dfd.forensics.imitate import JpegStyle
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_bytes

FEWEST = 0.95  # of the reals must be JPEGs that can be imitated: the others' format would give the fakes away
ASKED = 400  # reals that are asked whether they can


class Reals:
    """The reals of some splits, in the order of the table.

    Args:
        like: shards.
        splits: of train, val and test.
        seed: of the choice of the reals that are asked.

    Raises:
        ValueError: `like` holds no shards, no reals in one of the splits, or too many reals that cannot be
            imitated.
    """

    def __init__(self, like: Path, splits: Sequence[str], seed: int = 0):
        table = load_table(like)
        reals = table.filter(
            pc.and_(pc.equal(table["label"], REAL), pc.is_in(table["split"], pa.array(splits)))
        )
        self.like, self.folder = like, Path(parse_root(like).folder)
        self.lines = reals.to_pylist()
        there = {line["split"] for line in self.lines}
        for split in splits:
            if split not in there:
                raise ValueError(
                    f"{like}: no real picture in the {split} split, so there is none to write the fakes like."
                )
        asked = np.random.default_rng((seed, 0, 1)).permutation(len(self.lines))[:ASKED]
        apt = sum(JpegStyle.of(self.read(at)) is not None for at in asked)
        if apt < FEWEST * len(asked):
            raise ValueError(
                f"{like}: {len(asked) - apt} of {len(asked)} reals are no JPEGs that can be imitated, so the "
                "files' format would tell the fakes. Make all alike first, "
                f"`dfd reencode {like} --out ALIKE --jpeg 90 --size 224`, and name ALIKE instead."
            )

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, at: int) -> bytes:
        """The file of one of them."""
        line: dict[str, Any] = self.lines[at]
        return read_bytes(self.folder, line)
