"""Shortcut files of a grid: what file facts and colour alone say of each picture, asked once and kept.

OUT/shortcuts/ROOT/file_facts.parquet, and OUT/shortcuts/ROOT/color/CONDITION.parquet for each condition: row,
label, family and score of the pictures that were asked about; no line where nothing could be asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.batch import LoadedBatch, Predictions
from dfd.evaluate.shortcuts import (
    COLOR,
    FILE_FACTS,
    MOST,
    TREES,
    ShownColors,
    ask_color,
    ask_files,
    asked_rows,
)
from dfd.outputs import output_file

if TYPE_CHECKING:
    from dfd.evaluate.plan import Pass

SHORTCUTS = "shortcuts"
META = b"dfd"
SCHEMA = pa.schema(
    [("row", pa.int64()), ("label", pa.int8()), ("family", pa.string()), ("logit", pa.float64())]
)


class PassShortcuts:
    """The shortcuts of one pass of a grid: asks what is not there yet.

    Args:
        out: folder of the grid.
        limit: of pictures, as the cells record it.
    """

    def __init__(self, out: Path, each: Pass, limit: int | None):
        root = each.root
        self._data, self._rows = root.data, root.rows
        self._label = root.data.contents.label[root.rows].astype(np.int64)
        self._family = root.data.describe(root.rows)["family"]
        folder = out / SHORTCUTS / root.name
        of_root = {
            "root": root.digest, "split": root.split, "limit": limit, "most": MOST, "trees": TREES,
        }  # fmt: skip
        self._files = folder / f"{FILE_FACTS}.parquet", of_root
        self._color = (
            folder / COLOR / f"{each.condition.title}.parquet",
            {**of_root, "condition": each.condition.what},
        )
        self._shown: ShownColors | None = None
        if not _is_of(*self._color):
            self._shown = ShownColors(asked_rows(self._rows, self._label, self._family))

    def watched(self, loader: Any) -> Iterator[LoadedBatch]:
        """The batches of a loader, whose colours are noted on the way where they are wanted."""
        for batch in loader:
            if self._shown is not None and batch["valid"].any():
                row = batch["row"].numpy()
                if (wanted := self._shown.wants(row)).any():
                    self._shown.add(row[wanted], batch["image"].numpy()[wanted])
            yield batch

    def write(self) -> None:
        """Asks what the pass has shown, once it is over."""
        if not _is_of(*self._files):
            alone = ask_files(self._data.contents, self._rows, self._label, self._family)
            _write(*self._files, alone)
        if self._shown is not None:
            _write(*self._color, ask_color(self._shown.found, self._rows, self._label, self._family))


def read_shortcuts(folder: Path, root: str, title: str) -> dict[str, Predictions | None]:
    """What file facts and colour alone say of the pictures of a root under a condition; None where they were
    not asked.

    Args:
        folder: of the grid.
        title: the condition's, as cells are called.
    """
    place = folder / SHORTCUTS / root
    return {
        FILE_FACTS: _read(place / f"{FILE_FACTS}.parquet"),
        COLOR: _read(place / COLOR / f"{title}.parquet"),
    }


def _write(path: Path, identity: dict[str, Any], alone: Predictions | None) -> None:
    names = SCHEMA.names
    columns = {name: [] if alone is None else getattr(alone, name) for name in names}
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    table = pa.table(arrays, SCHEMA.with_metadata({META: json.dumps(identity).encode()}))
    with output_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _is_of(path: Path, identity: dict[str, Any]) -> bool:
    try:
        told = (pq.read_schema(path).metadata or {}).get(META, b"")
    except (OSError, pa.ArrowException):
        return False
    return told == json.dumps(identity).encode()


def _read(path: Path) -> Predictions | None:
    try:
        table = pq.read_table(path, schema=SCHEMA, partitioning=None)
    except (OSError, pa.ArrowException):
        return None
    if not len(table):
        return None
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    family = columns["family"].astype(str)
    return Predictions.of(
        columns["row"], columns["logit"], columns["label"].astype(np.int64), {"family": family}
    )
