"""Cues in the table of shards: a column of vectors in samples.parquet, and their names in index.json.

Shards without them have neither, and who does not ask for them reads neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dfd.shards.table import load_table, read_index, told
from dfd.shards.validate import COLUMN

_READ = ("shard", "offset", "length", "label", "split")  # what a line is checked by


class CueNames(NamedTuple):
    """What the numbers of a vector are."""

    version: int  # of whoever measured them
    names: tuple[str, ...]

    @classmethod
    def of(cls, index: Mapping[str, Any]) -> CueNames | None:
        """Those of finished shards, by their index.json; None where they have no cues."""
        said = index.get(COLUMN)
        return cls(said["version"], tuple(said["names"])) if said else None

    def facts(self) -> dict[str, Any]:
        """What index.json says of them."""
        return {"version": self.version, "names": list(self.names)}

    def column(self, vectors: pa.ChunkedArray) -> pa.ChunkedArray:
        """The column of samples.parquet, of lists of numbers."""
        flat = vectors.combine_chunks().flatten().cast(pa.float32())
        kind = pa.list_(pa.float32(), len(self.names))
        return pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, type=kind)])


class Cues(NamedTuple):
    """The cues of finished shards."""

    names: tuple[str, ...]
    version: int
    values: np.ndarray  # (N, C) float32, finite, in the order of the table's lines


def read_cues(root: Path) -> Cues:
    """The cues of finished shards, a line a sample as in `load_table(root)`; of a pattern, those of its
    shards.

    Raises:
        ValueError: they have none, or not as dfd writes them; says what to do.
    """
    names = CueNames.of(read_index(root))
    if names is None:
        raise ValueError(f"{root} has no cues. `dfd cues {root}` adds them.")
    table = load_table(root, [*_READ, COLUMN])
    with told(root):
        return Cues(names.names, names.version, values_of(table[COLUMN]))


def values_of(column: pa.ChunkedArray) -> np.ndarray:
    """(N, C) float32 of the column.

    Raises:
        ValueError: a cell is empty, or a number is not finite.
    """
    parts = [chunk.flatten() for chunk in column.chunks]
    if column.null_count or any(part.null_count for part in parts):
        raise ValueError(f"the column {COLUMN} has empty cells")
    width = column.type.list_size
    values = [np.zeros((0, width), np.float32)]
    values += [np.asarray(part).reshape(-1, width) for part in parts]
    found = np.concatenate(values)
    if not np.isfinite(found).all():
        raise ValueError(f"the column {COLUMN} holds numbers that are not finite")
    return found


def pick(names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Places of some cues among those that shards have.

    Raises:
        ValueError: one of them is not there.
    """
    place = {name: at for at, name in enumerate(names)}
    if missing := [name for name in wanted if name not in place]:
        raise ValueError(
            f"no cue {missing[0]!r} in these shards: they have {len(names)}, such as {names[0]}."
        )
    return np.array([place[name] for name in wanted], np.int64)
