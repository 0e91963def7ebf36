"""Stamps: size, times and inode of each picture as it was before it was read. By them a later run finds the
files that may have changed, and reads only those again.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.durable import atomic_write
from dfd.media.decode import Undecodable
from dfd.media.files import read_inside
from dfd.progress import progress

STAMPS = ".stamps.parquet"  # in the state, and then beside the shards
_STAMP = pa.schema(
    {
        "path": pa.string(),
        "size": pa.int64(),
        # nanoseconds; the second also changes where a program sets the first
        "modified": pa.int64(),
        "status_changed": pa.int64(),
        "inode": pa.uint64(),
    }
)


def keep_stamps(root: str, plan: pa.Table, file: Path) -> None:
    """Stores the stamps of a plan's pictures, unless an interrupted run has."""
    if file.is_file():
        return
    with atomic_write(file) as temporary:
        pq.write_table(_stamps(root, plan["path"].to_pylist()), temporary, compression="zstd")


def changed_bytes(root: str, table: pa.Table, file: Path) -> list[str]:
    """Paths of the pictures whose bytes are no longer those that the table has the SHA-256 of.

    Only pictures whose stamp is another than in `file` are read, all of them where it is missing.

    Args:
        table: with `path`, `sha256` and `length`; those whose size is another now are not looked at.
    """
    now = _stamps(root, table["path"].to_pylist())
    if file.is_file():
        then = pq.read_table(file, schema=_STAMP)
        at = pc.index_in(now["path"], value_set=then["path"].combine_chunks())
        same = [pc.equal(now[name], then[name].take(at)) for name in _STAMP.names[1:]]
        kept = pc.fill_null(pc.and_(pc.and_(same[0], same[1]), pc.and_(same[2], same[3])), False)
        now = now.filter(pc.invert(kept))
    if not len(now):
        return []
    facts = dict(zip(table["path"].to_pylist(), zip(*_columns(table), strict=True), strict=True))
    suspects = [
        (path, facts[path][0])
        for path, size in zip(now["path"].to_pylist(), now["size"].to_pylist(), strict=True)
        if facts[path][1] == size
    ]
    changed = []
    with progress(len(suspects), "comparing") as advance:
        for path, sha256 in suspects:
            if _sha256(root, path) != sha256:
                changed.append(path)
            advance(1)
    return sorted(changed)


def _columns(table: pa.Table) -> tuple[list[str], list[int]]:
    return table["sha256"].to_pylist(), table["length"].to_pylist()


def _stamps(root: str, paths: Sequence[str]) -> pa.Table:
    """A line for each file that is there."""
    lines = []
    for path in paths:
        try:
            facts = os.stat(os.path.join(root, path))
        except OSError:
            continue
        lines.append((path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))
    columns = zip(*lines, strict=True) if lines else [[]] * len(_STAMP)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _STAMP, strict=True)], schema=_STAMP
    )


def _sha256(root: str, path: str) -> str:
    try:
        return hashlib.sha256(read_inside(root, path)).hexdigest()
    except Undecodable:
        return ""
