"""What is measured of every picture of finished shards, in pieces that a killed run leaves to the next one.

Pieces lie in a folder beside the shards as they are done, written atomically, so that a run that was killed
goes on where it stopped. Whoever asked for them puts them into a file of the shards, and replaces index.json
last, which alone says that they are there: at any moment the folder holds whole shards.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dfd.durable import atomic_write, explain_os_error, meant_name
from dfd.media.formats import Undecodable
from dfd.parallel import ProcessPool
from dfd.prepare.lock import exclusive
from dfd.progress import progress
from dfd.shards.pattern import parse_root
from dfd.shards.table import read_index

_CHUNK = 256  # pictures between two savings
_COLUMN = "found"


class Measurement(NamedTuple):
    """What is measured."""

    state: str  # folder beside the shards, while they are measured
    title: str  # of the progress bar
    version: tuple[Any, ...]  # a piece of another one is out of date
    of: Callable[[bytes], Any]  # a file's bytes -> a value of `kind`; it travels to other processes
    kind: pa.DataType


class Chunk(NamedTuple):
    """A part of the work: pictures of one shard."""

    root: Path
    file: Path  # that takes what is found
    name: str  # of what is to be measured: a piece of another name is out of date
    what: Measurement
    shard: str
    keys: list[str]
    offsets: list[int]
    lengths: list[int]
    sha256: list[str]


def add_to_shards(root: Path, add: Callable[[Path], str]) -> str:
    """Runs what adds to finished shards, alone.

    Args:
        add: takes their folder, and returns a sentence.

    Raises:
        ValueError: no finished shards, or a part of them.
        OSError: unwritable folder or full disk, in words.
    """
    folder, part = parse_root(root)
    if part is not None:
        raise ValueError(
            f"{root} names some of the shards of {folder}, which have one table: name {folder} itself."
        )
    root = Path(folder)
    read_index(root)
    try:
        with exclusive(root):
            return add(root)
    except OSError as error:
        raise explain_os_error(error, root) from error


def measure(root: Path, table: pa.Table, what: Measurement, processes: int) -> pa.ChunkedArray:
    """What is found of each line of a table, of `what.kind`.

    Raises:
        ValueError: a file is not what the table says, or cannot be decoded.
    """
    found = chunks(root, table, what)
    if todo := [chunk for chunk in found if not is_done(chunk)]:
        with (
            ProcessPool(min(processes, len(todo)), what.of.__module__) as pool,
            progress(len(table), what.title) as advance,
        ):
            advance(len(table) - sum(len(chunk.keys) for chunk in todo))
            for count in pool.run(measure_chunk, todo):
                advance(count)
    schema = pa.schema({_COLUMN: what.kind})
    return pa.concat_tables([pq.read_table(chunk.file, schema=schema) for chunk in found])[_COLUMN]


def measure_chunk(chunk: Chunk) -> int:
    """Runs in a worker: measures some pictures, saves what is found, and returns how many they were."""
    found = []
    with open(chunk.root / chunk.shard, "rb") as file:
        for key, offset, length, digest in zip(
            chunk.keys, chunk.offsets, chunk.lengths, chunk.sha256, strict=True
        ):
            data = os.pread(file.fileno(), length, offset)
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError(
                    f"{chunk.root / chunk.shard}: {key} is not the picture whose SHA-256 is in the table. "
                    "Copy the shard again, or prepare it with --overwrite."
                )
            try:
                found.append(chunk.what.of(data))
            except Undecodable as error:
                raise ValueError(
                    f"{chunk.root / chunk.shard}: {key} cannot be decoded: {error}. Prepare the shards again "
                    "with --overwrite: it leaves out what cannot be."
                ) from error
    piece = pa.table({_COLUMN: pa.array(found, chunk.what.kind)})
    with atomic_write(chunk.file) as temporary:
        pq.write_table(piece.replace_schema_metadata({"of": chunk.name}), temporary, compression="zstd")
    return len(found)


def make_way(root: Path, state: str, is_own: Callable[[str], bool]) -> None:
    """The folder of the pieces, without temporary files of killed runs: of pieces, or of files that are its
    own by their names.
    """
    (root / state).mkdir(exist_ok=True)
    for temporary in [*root.iterdir(), *(root / state).iterdir()]:
        meant = meant_name(temporary.name)
        if temporary.is_file() and meant and (is_own(meant) or temporary.parent.name == state):
            temporary.unlink()


def chunks(root: Path, table: pa.Table, what: Measurement) -> list[Chunk]:
    """The lines of a table in their order, shard by shard where they lie so."""
    return [
        Chunk(root, root / what.state / f"{number:06d}.parquet", name, what, *columns)
        for number, (name, columns) in enumerate(_pieces(table, what.version))
    ]


def _pieces(table: pa.Table, version: tuple[Any, ...]) -> Iterator[tuple[str, tuple]]:
    shard, start = table["shard"].to_pylist(), 0
    for at in range(1, len(shard) + 1):
        if at < len(shard) and shard[at] == shard[start] and at - start < _CHUNK:
            continue
        lines = table.slice(start, at - start)
        columns = [lines[name].to_pylist() for name in ("key", "offset", "length", "sha256")]
        told = repr((*version, shard[start], columns[1:]))
        yield hashlib.sha256(told.encode()).hexdigest(), (shard[start], *columns)
        start = at


def is_done(chunk: Chunk) -> bool:
    try:
        facts = pq.read_metadata(chunk.file)
    except (OSError, pa.ArrowException):
        return False
    return facts.num_rows == len(chunk.keys) and (facts.metadata or {}).get(b"of") == chunk.name.encode()
