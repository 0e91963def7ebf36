"""Parallel passes of `dfd prepare`: inspecting the files, and writing the shards.

Each pass saves its pieces in the state folder as they are done, and does only those that are not there.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.durable import atomic_write
from dfd.media.decode import Undecodable
from dfd.media.files import read_inside
from dfd.parallel import ProcessPool
from dfd.prepare.inspect import inspect_file
from dfd.prepare.job_array import ArrayTask
from dfd.prepare.masks import black_mask, mark_black_masks
from dfd.progress import progress
from dfd.shards.format import EXTENSIONS, SCHEMA, SHARD_IMAGES, Shard, member_facts, shard_name
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS
from dfd.shards.validate import COLUMN
from dfd.shards.writer import ShardWriter

STATE = ".prepare"  # folder inside the output
_FILE_INFO = pa.schema(
    {
        "reason": pa.string(),
        "sha256": pa.string(),
        "length": pa.int64(),
        "format": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "mask_length": pa.int64(),
        "phash": pa.binary(),
    }
)


_CUES = pa.field(COLUMN, pa.list_(pa.float32()))


class SourceChanged(ValueError):
    """A file is not the one that was inspected a moment ago."""


def inspect_pass(root: str, out: Path, plan: pa.Table, pool: ProcessPool, *, cues: bool = False) -> pa.Table:
    """The plan with what inspection found of each file (_FILE_INFO) beside it, and its cues where asked
    for.
    """
    pieces = inspect_pieces(root, out, plan, pool, cues=cues)
    schema = _FILE_INFO.append(_CUES) if cues else _FILE_INFO
    found = pa.concat_tables(pq.read_table(piece, schema=schema) for piece in pieces)
    return pa.Table.from_arrays(
        [*plan.columns, *found.columns], names=[*plan.column_names, *found.column_names]
    )


def refused(inspected: pa.Table) -> list[Reject]:
    """The files that inspection refused, with its reasons."""
    lines = inspected.filter(pc.not_equal(inspected["reason"], "")).select(["path", "reason"])
    return [Reject(**line) for line in lines.to_pylist()]


def inspect_pieces(
    root: str,
    out: Path,
    plan: pa.Table,
    pool: ProcessPool,
    array_task: ArrayTask | None = None,
    *,
    cues: bool = False,
) -> list[Path]:
    """The files that hold what inspection found, in the order of the plan; those of an array task, or all,
    are made where they are not there.
    """
    # between two savings: a second's work or so, and enough chunks to share out
    chunk = min(max(len(plan) // 64, 256), 4096)
    files = [out / STATE / f"look-{start // chunk:06d}.parquet" for start in range(0, len(plan), chunk)]
    mine = [number for number in range(len(files)) if array_task is None or array_task.has(number)]

    def tasks() -> Iterator[tuple]:
        for number in mine:
            if not files[number].is_file():
                lines = plan.slice(number * chunk, chunk)
                yield root, files[number], lines["path"].to_pylist(), lines["mask"].to_pylist(), cues

    sizes = {number: min(chunk, len(plan) - number * chunk) for number in mine}
    with progress(sum(sizes.values()), "inspecting") as advance:
        advance(sum(size for number, size in sizes.items() if files[number].is_file()))
        for count in pool.run(inspect_chunk, tasks()):
            advance(count)
    return files


def inspect_chunk(task: tuple[str, Path, list[str], list[str | None], bool]) -> int:
    """Runs in a worker: inspects some files, saves what it found, and returns how many they were."""
    root, file, paths, masks, cues = task
    found = [inspect_file(root, path, mask, cues) for path, mask in zip(paths, masks, strict=True)]
    schema = _FILE_INFO.append(_CUES) if cues else _FILE_INFO
    with atomic_write(file) as temporary:
        pq.write_table(pa.Table.from_pylist([info._asdict() for info in found], schema), temporary)
    return len(found)


def with_shards(table: pa.Table, shard_bytes: int) -> pa.Table:
    """Names the shard of each row: a split's rows in the order of their keys, in shards of even size."""
    name = np.empty(len(table), object)
    length = table["length"].to_numpy() + table["mask_length"].to_numpy() + 2048  # headers, padding, json
    weight = np.maximum(length / shard_bytes, 1 / SHARD_IMAGES)
    splits = table["split"].to_numpy(zero_copy_only=False)
    for split in SPLITS:
        rows = np.flatnonzero(splits == split)
        if len(rows):
            before = np.cumsum(weight[rows]) - weight[rows]
            total = weight[rows].sum()
            number = (before / total * np.ceil(total)).astype(int)
            name[rows] = [shard_name(split, index) for index in number]
    table = table.append_column("shard", pa.array(name, pa.string()))
    return table.sort_by([("shard", "ascending"), ("key", "ascending")])


def write_pass(root: str, out: Path, table: pa.Table, pool: ProcessPool) -> tuple[pa.Table, list[Shard]]:
    """Writes the shards that are not there yet; the table with the place of each row, and the shards."""
    cues = table[COLUMN] if COLUMN in table.column_names else None
    table = mark_black_masks(table.drop_columns(COLUMN) if cues is not None else table)
    counts = pc.value_counts(table["shard"].combine_chunks()).to_pylist()
    names = sorted(count["values"] for count in counts)
    done = [name for name in names if _is_done(out, name)]

    def tasks() -> Iterator[tuple]:
        for name in names:
            if name not in done:
                yield root, out, name, table.filter(pc.equal(table["shard"], name)).to_pylist()

    with progress(len(table), "writing") as advance:
        advance(sum(count["counts"] for count in counts if count["values"] in done))
        for count in pool.run(write_shard, tasks()):
            advance(count)
    places = [pq.read_table(_note(out, name)) for name in names]
    shards = [Shard(**json.loads(place.schema.metadata[b"shard"])) for place in places]
    columns = pa.concat_tables(place.replace_schema_metadata(None) for place in places)
    for column in columns.column_names:
        table = table.drop_columns(column) if column in table.column_names else table
        table = table.append_column(column, columns[column])
    table = table.select(SCHEMA.names)
    return table if cues is None else table.append_column(COLUMN, cues), shards


def write_shard(task: tuple[str, Path, str, list[dict[str, Any]]]) -> int:
    """Runs in a worker: one tar from the files, then a note of what it holds; returns how many samples."""
    root, out, name, rows = task
    places = []
    with atomic_write(out / name) as temporary:
        writer = ShardWriter(temporary, name)
        try:
            for row in rows:
                image = _same_bytes(root, row)
                extension = EXTENSIONS[row["format"]]
                places.append(writer.add(row["key"], image, extension, member_facts(row), _mask(root, row)))
            shard = writer.close()
        finally:
            writer.abandon()
    note = pa.Table.from_pylist([asdict(place) for place in places])
    with atomic_write(_note(out, name)) as temporary:
        pq.write_table(note.replace_schema_metadata({"shard": json.dumps(asdict(shard))}), temporary)
    return len(rows)


def _same_bytes(root: str, row: dict[str, Any]) -> bytes:
    try:
        image = read_inside(root, row["path"])
    except Undecodable as error:
        raise SourceChanged(
            f"{row['path']} could be read a moment ago and now: {error}. Run the command again."
        ) from error
    if hashlib.sha256(image).hexdigest() != row["sha256"]:
        raise SourceChanged(
            f"{row['path']} changed while it was prepared. Run the command again when nothing writes there."
        )
    return image


def _mask(root: str, row: dict[str, Any]) -> bytes | None:
    if row["black_mask"]:
        return black_mask(row["width"], row["height"])
    return read_inside(root, row["mask"]) if row["mask"] else None


def _note(out: Path, name: str) -> Path:
    return out / STATE / f"{name}.parquet"


def _is_done(out: Path, name: str) -> bool:
    """A shard counts once its note is there, which is written after it; its size is checked against
    accidents.
    """
    if not _note(out, name).is_file() or not (out / name).is_file():
        return False
    return (out / name).stat().st_size == json.loads(pq.read_schema(_note(out, name)).metadata[b"shard"])[
        "bytes"
    ]
