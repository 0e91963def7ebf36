"""Shortcut files of a grid: what file facts and colour alone say of each picture, asked once and kept.

OUT/shortcuts/ROOT/file_facts.parquet, and OUT/shortcuts/ROOT/color/CONDITION.parquet for each condition: row,
label, family and source of the pictures that were asked about, their facts, and the score that other families
of the root give them, NaN where these are too few. Of several roots together the facts are asked anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.batch import LoadedBatch, Predictions
from dfd.evaluate.shortcuts import (
    COLOR,
    FACTS,
    FILE_FACTS,
    MOST,
    TREES,
    ShownColors,
    asked_rows,
    color_table,
    file_table,
    told_by,
)
from dfd.outputs import output_file

if TYPE_CHECKING:
    from dfd.evaluate.plan import Pass

SHORTCUTS = "shortcuts"
META = b"dfd"
SCORED = [pa.field("source", pa.string()), pa.field("logit", pa.float64())]  # columns after the facts


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
        described = root.data.describe(root.rows)
        self._family = described["family"]
        self._source = dict(zip(root.rows.tolist(), described["source"].tolist(), strict=True))
        folder = out / SHORTCUTS / root.name
        of_root = {
            "root": root.digest, "split": root.split, "limit": limit, "most": MOST, "trees": TREES,
            "facts": True,
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
        pictures = self._rows, self._label, self._family
        if not _is_of(*self._files):
            self._write(*self._files, file_table(self._data.contents, *pictures))
        # a model of the table's numbers alone is shown no pixels
        if self._shown is not None and self._shown.found:
            self._write(*self._color, color_table(self._shown.found, *pictures))

    def _write(self, path: Path, identity: dict[str, Any], table: pa.Table | None) -> None:
        """Writes the facts with their score; no line where there are none."""
        if table is None:
            table = FACTS[FILE_FACTS].empty_table()
        alone = told_by(table)
        source = [self._source[row] for row in table["row"].to_pylist()]
        logit = np.full(len(table), np.nan) if alone is None else alone.logit
        for field, values in zip(SCORED, (source, logit), strict=True):
            table = table.append_column(field, pa.array(values, field.type))
        table = table.replace_schema_metadata({META: json.dumps(identity).encode()})
        with output_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def read_shortcuts(folder: Path, root: str, title: str) -> dict[str, Predictions | None]:
    """What file facts and colour alone say of the pictures of a root under a condition; None where they were
    not asked.

    Args:
        folder: of the grid.
        title: the condition's, as cells are called.
    """
    return {name: _score(_read(folder, root, name, title)) for name in FACTS}


def ask_together(folder: Path, roots: Sequence[str], name: str, title: str) -> Predictions | None:
    """What one kind of fact alone says of the pictures of several roots, `source` being the root of each,
    having learnt from other families of all of them; None where it was not asked in one of them.

    Each class of each source weighs the same, see `told_by`.
    """
    tables, home = [], []
    for root in roots:
        table = _read(folder, root, name, title)
        if table is None:
            return None
        for column in ("family", "source"):  # those of two roots are not the same, whatever they are called
            names = pa.array([f"{root}/{each}" for each in table[column].to_pylist()], pa.string())
            table = table.set_column(table.schema.get_field_index(column), column, names)
        tables.append(table)
        home += [root] * len(table)
    alone = told_by(pa.concat_tables(tables))
    return alone and replace(alone, source=np.array(home))


def _is_of(path: Path, identity: dict[str, Any]) -> bool:
    try:
        told = (pq.read_schema(path).metadata or {}).get(META, b"")
    except (OSError, pa.ArrowException):
        return False
    return told == json.dumps(identity).encode()


def _read(folder: Path, root: str, name: str, title: str) -> pa.Table | None:
    """The facts of a root's pictures; None where there are none."""
    place = folder / SHORTCUTS / root
    path = place / f"{FILE_FACTS}.parquet" if name == FILE_FACTS else place / name / f"{title}.parquet"
    try:
        table = pq.read_table(path, partitioning=None).replace_schema_metadata()
    except (OSError, pa.ArrowException):
        return None
    return table if len(table) and table.schema.equals(pa.schema([*FACTS[name], *SCORED])) else None


def _score(table: pa.Table | None) -> Predictions | None:
    if table is None or np.isnan(table["logit"].to_numpy()).any():
        return None
    row, logit, label, family = (table[name].to_numpy() for name in ("row", "logit", "label", "family"))
    return Predictions.of(row, logit, label.astype(np.int64), {"family": family.astype(str)})
