"""`dfd cues`: the forensic cues of every picture of finished shards, added to their table.

Pieces lie in ROOT/.cues as they are done, written atomically, so that a run that was killed goes on where it
stopped. Then samples.parquet is replaced, and then index.json, which alone says that the cues are there: at
any moment the folder holds whole shards, with cues or without.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dfd.durable import atomic_write, explain_os_error, meant_name
from dfd.forensics.cues import CUES, CUES_VERSION, describe
from dfd.media.formats import Undecodable
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.lock import exclusive
from dfd.progress import progress
from dfd.shards.cue_table import CueNames
from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_index
from dfd.shards.validate import COLUMN
from dfd.shards.writer import write_index, write_table

STATE = ".cues"  # folder beside the shards, while they are measured
_CHUNK = 256  # pictures between two savings
_PIECE = pa.schema({COLUMN: pa.list_(pa.float32())})


class Chunk(NamedTuple):
    """A part of the work: pictures of one shard."""

    root: Path
    file: Path  # that takes their cues
    name: str  # of what is to be measured: a piece of another name is out of date
    shard: str
    keys: list[str]
    offsets: list[int]
    lengths: list[int]
    sha256: list[str]


def add_cues(root: Path, workers: int | None = None) -> str:
    """Measures the cues of all pictures of finished shards and adds them to samples.parquet and index.json;
    returns a sentence. Shards that have those of this version are left alone.

    Raises:
        ValueError: no finished shards, a part of them, or a file that is not what the table says.
        OSError: unwritable folder or full disk, in words.
    """
    processes, names = num_processes(workers), CueNames(CUES_VERSION, CUES)
    folder, part = parse_root(root)
    if part is not None:
        raise ValueError(
            f"{root} names some of the shards of {folder}, which have one table: name {folder} itself."
        )
    root = Path(folder)
    read_index(root)
    try:
        with exclusive(root):
            return _add(root, names, processes)
    except OSError as error:
        raise explain_os_error(error, root) from error


def _add(root: Path, names: CueNames, processes: int) -> str:
    index, table = read_index(root), load_table(root)
    if CueNames.of(index) == names:
        shutil.rmtree(root / STATE, ignore_errors=True)
        return f"{root}: its {len(table)} pictures have their {len(names.names)} cues already."
    _make_way(root)
    chunks = _chunks(root, table)
    if todo := [chunk for chunk in chunks if not _is_done(chunk)]:
        with (
            ProcessPool(min(processes, len(todo)), __name__) as pool,
            progress(len(table), "measuring cues") as advance,
        ):
            advance(len(table) - sum(len(chunk.keys) for chunk in todo))
            for count in pool.run(measure_chunk, todo):
                advance(count)
    vectors = pa.concat_tables(pq.read_table(chunk.file, schema=_PIECE) for chunk in chunks)[COLUMN]
    write_table(root, table.append_column(COLUMN, vectors), names)
    # the cues before the list of shards, as `dfd prepare` has them
    facts = {name: value for name, value in index.items() if name not in (COLUMN, "shards")}
    write_index(root, {**facts, COLUMN: names.facts(), "shards": index["shards"]})
    shutil.rmtree(root / STATE, ignore_errors=True)
    return f"{root}: {len(names.names)} cues of each of {len(table)} pictures are in {SAMPLES_FILE}."


def measure_chunk(chunk: Chunk) -> int:
    """Runs in a worker: measures some pictures, saves their cues, and returns how many they were."""
    vectors = []
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
                vectors.append(describe(data))
            except Undecodable as error:
                raise ValueError(
                    f"{chunk.root / chunk.shard}: {key} cannot be decoded: {error}. Prepare the shards again "
                    "with --overwrite: it leaves out what cannot be."
                ) from error
    piece = pa.table({COLUMN: pa.array(vectors, _PIECE.field(COLUMN).type)}, _PIECE)
    with atomic_write(chunk.file) as temporary:
        pq.write_table(piece.replace_schema_metadata({"of": chunk.name}), temporary, compression="zstd")
    return len(vectors)


def _make_way(root: Path) -> None:
    """The folder of the pieces, and none of the temporary files of killed runs."""
    (root / STATE).mkdir(exist_ok=True)
    for temporary in [*root.iterdir(), *(root / STATE).iterdir()]:
        meant = meant_name(temporary.name)
        if (
            temporary.is_file()
            and meant
            and (meant in (SAMPLES_FILE, INDEX) or temporary.parent.name == STATE)
        ):
            temporary.unlink()


def _chunks(root: Path, table: pa.Table) -> list[Chunk]:
    """The lines of a table in their order, shard by shard where they lie so."""
    return [
        Chunk(root, root / STATE / f"{number:06d}.parquet", name, *columns)
        for number, (name, columns) in enumerate(_pieces(table))
    ]


def _pieces(table: pa.Table) -> Iterator[tuple[str, tuple]]:
    shard, start = table["shard"].to_pylist(), 0
    for at in range(1, len(shard) + 1):
        if at < len(shard) and shard[at] == shard[start] and at - start < _CHUNK:
            continue
        lines = table.slice(start, at - start)
        columns = [lines[name].to_pylist() for name in ("key", "offset", "length", "sha256")]
        told = repr((CUES_VERSION, CUES, shard[start], columns[1:]))
        yield hashlib.sha256(told.encode()).hexdigest(), (shard[start], *columns)
        start = at


def _is_done(chunk: Chunk) -> bool:
    try:
        facts = pq.read_metadata(chunk.file)
    except (OSError, pa.ArrowException):
        return False
    return facts.num_rows == len(chunk.keys) and (facts.metadata or {}).get(b"of") == chunk.name.encode()
