"""Manifest (plan): the rows of a source as a table sorted by key, stored for a run that is interrupted."""

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd.batch import FAKE, REAL
from dfd.durable import atomic_write
from dfd.prepare.readers.listed_paths import NotInFolder, find_listed
from dfd.prepare.readers.row import Row, fault_of
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS

PLAN = pa.schema(
    {
        "key": pa.string(),
        "path": pa.string(),
        "label": pa.int8(),
        "groups": pa.list_(pa.string()),
        "split": pa.string(),  # null where the source does not say
        "source": pa.string(),
        "method": pa.string(),
        "mask": pa.string(),
        "face": pa.string(),  # JSON of what the reader says of a face in the picture; null for the whole
        "original": pa.string(),  # the video whose face boxes this one is cut by
    }
)
_BATCH = 65536  # rows as Python objects at a time


def key_of(path: str) -> str:
    """A name for a sample that sorts at random, so that each shard mixes classes and sources."""
    return hashlib.blake2b(path.encode(), digest_size=10).hexdigest()


def make_plan(
    rows: Iterable[Row | Reject], source_name: str, folder: str, start: str = ""
) -> tuple[pa.Table, list[Reject], int]:
    """One line a picture (PLAN), sorted by key; what cannot be used; and how many rows were copies of
    another, with the same path and the same facts: they are one row.

    Args:
        source_name: the source of rows that name none.
        folder: real path of the folder that the rows' paths start at, and lie in.
        start: folder of the list, where that is another.
    """
    rejects: list[Reject] = []
    table = pa.Table.from_batches(_batches(rows, source_name, (folder, start), rejects), PLAN).sort_by("key")
    keys = table["key"].to_numpy(zero_copy_only=False)
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if not len(same):
        return table, rejects, 0
    drop: list[int] = []
    copies = 0
    for key in np.unique(keys[same]):
        first, last = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
        lines = table.slice(first, last - first).to_pylist()
        if any(line != lines[0] for line in lines):
            rejects += [
                Reject(
                    lines[0]["path"],
                    f"listed {len(lines)} times, with facts that contradict each other: {_differing(lines)}",
                )
            ]
            drop += range(first, last)
        else:
            drop += range(first + 1, last)
            copies += last - first - 1
    return table.take(np.setdiff1d(np.arange(len(table)), drop)), rejects, int(copies)


def _batches(
    rows: Iterable[Row | Reject], source_name: str, folders: tuple[str, str], rejects: list[Reject]
) -> Iterator[pa.RecordBatch]:
    lines: list[dict] = []
    for row in rows:
        if isinstance(row, Reject):
            rejects.append(row)
            continue
        if row.label not in (REAL, FAKE) or row.split not in (None, *SPLITS):
            rejects.append(
                Reject(
                    row.path, f"label {row.label!r} and split {row.split!r} by the reader; labels are 0 and 1"
                )
            )
            continue
        if fault := fault_of(row):
            rejects.append(Reject(row.path if row.path.isprintable() else ascii(row.path), fault))
            continue
        try:
            path, mask, original = (
                text and find_listed(folders[0], text, folders[1])
                for text in (row.path, row.mask, row.original)
            )
        except NotInFolder as error:
            rejects.append(Reject(row.path, str(error)))
            continue
        path = path if ".." in path.split("/") else posixpath.normpath(path)
        lines.append(
            {
                "key": key_of(path if row.face is None else f"{path}/{row.face.number}"),
                "path": path,
                "label": row.label,
                "groups": list(row.groups),
                "split": row.split,
                "source": row.source or source_name,
                "method": row.method,
                "mask": mask,
                "face": None if row.face is None else json.dumps(asdict(row.face), separators=(",", ":")),
                "original": original,
            }
        )
        if len(lines) == _BATCH:
            yield pa.RecordBatch.from_pylist(lines, PLAN)
            lines = []
    yield pa.RecordBatch.from_pylist(lines, PLAN)


def _differing(lines: list[dict]) -> str:
    names = [name for name in PLAN.names if any(line[name] != lines[0][name] for line in lines)]
    return ", ".join(
        f"{name} {lines[0][name]!r} and {next(x[name] for x in lines if x[name] != lines[0][name])!r}"
        for name in names
    )


def keep_plan(plan: pa.Table, path: Path, settings: dict[str, str]) -> None:
    """Stores the plan once, with what else the shards depend on."""
    if not path.is_file():
        with atomic_write(path) as temporary:
            pq.write_table(plan.replace_schema_metadata(settings), temporary)
