"""Shard writer: samples into WebDataset tars, with samples.parquet and index.json beside them."""

import hashlib
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfd import __version__
from dfd.durable import atomic_write, sync
from dfd.shards.cue_table import CueNames
from dfd.shards.format import (
    INDEX,
    SAMPLES_FILE,
    SCHEMA,
    WRITER,
    Place,
    Shard,
    totals,
)
from dfd.shards.validate import COLUMN, check_words

_GROUP = 1 << 17  # lines that are read together where some of a large table are looked up


class ShardWriter:
    """Writes one tar by webdataset's TarWriter, with the offsets of its members and the SHA-256 of the whole.

    The same samples give the same bytes on any machine at any time: no member has a time, all have one owner.
    """

    def __init__(self, path: Path, name: str):
        self.name, self.images = name, 0
        self._file = _HashedFile(path)
        self._tar = _webdataset_writer().TarWriter(
            self._file, user=WRITER, group=WRITER, mode=0o444, encoder=False, mtime=0
        )

    @property
    def size(self) -> int:
        """Bytes of the members so far."""
        return self._tar.tarstream.offset

    def add(
        self, key: str, image: bytes, extension: str, facts: Mapping[str, Any], mask: bytes | None = None
    ) -> Place:
        members = {extension: image, "json": json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()}
        if mask is not None:
            members["mask.png"] = mask
        # One by one, in the order in which TarWriter would write them together. It tells no offsets, but
        # behind a member it stands at the end of the member's last block.
        start = {}
        for name, data in sorted(members.items()):
            self._tar.write({"__key__": key, name: data})
            num_blocks = -(-len(data) // tarfile.BLOCKSIZE)
            start[name] = self.size - num_blocks * tarfile.BLOCKSIZE
        self.images += 1
        if mask is None:
            return Place(start[extension], len(image))
        return Place(start[extension], len(image), start["mask.png"], len(mask))

    def close(self) -> Shard:
        self._tar.close()
        self._file.close()
        split = self.name.rsplit("-", 1)[0]
        return Shard(self.name, split, self.images, self._file.size, self._file.digest.hexdigest())

    def abandon(self) -> None:
        self._file.close()


class _HashedFile:
    """A new file, and the size and SHA-256 of what was written into it."""

    def __init__(self, path: Path):
        self.size, self.digest = 0, hashlib.sha256()
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  closed by `close`

    def write(self, data: bytes) -> None:
        # of an abandoned shard, tarfile writes the last blocks when its memory is freed
        if self._file.closed:
            return
        self.digest.update(data)
        self.size += len(data)
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


@cache
def _webdataset_writer() -> ModuleType:
    """webdataset.writer without the package's __init__, which imports torch wherever it is installed.

    That would take 2 s and 200 MB of every process of `dfd prepare`; this takes 0.05 s. The modules have a
    name of their own, so that a program that imports webdataset gets the whole package.
    """
    package = ModuleType("_webdataset_without_torch")
    package.__path__ = list(find_spec("webdataset").submodule_search_locations)
    sys.modules[package.__name__] = package
    return import_module(f"{package.__name__}.writer")


def write_contents(
    root: Path,
    table: pa.Table,
    shards: Sequence[Shard],
    made_by: Mapping[str, Any],
    rejected: int = 0,
    leaks: Mapping[str, Any] | None = None,
    cues: CueNames | None = None,
) -> None:
    """Writes samples.parquet, then index.json: from here on the folder counts as whole.

    Args:
        cues: what the table's column of cues holds, where it has one.
    """
    check_words(table)
    for shard in shards:
        sync(root / shard.name)
    write_table(root, table, cues)
    counts = totals(table)
    index = {
        "dfd": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": dict(made_by),
        "images": counts["images"],
        "rejected": rejected,
        "classes": counts["classes"],
        "splits": counts["splits"],
        "families": counts["families"],
        "leaks": dict(leaks or {}),  # related pictures in different splits, kept with --allow-leaks
        **({COLUMN: cues.facts()} if cues else {}),
        "shards": [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.name)],
    }
    write_index(root, index)


def write_table(root: Path, table: pa.Table, cues: CueNames | None = None) -> None:
    """Writes samples.parquet, with a column of cues where they are named."""
    columns = table.select(SCHEMA.names).cast(SCHEMA)
    if cues is not None:
        columns = columns.append_column(COLUMN, cues.column(table[COLUMN]))
    with atomic_write(root / SAMPLES_FILE) as temporary:
        pq.write_table(columns, temporary, compression="zstd", row_group_size=_GROUP)


def write_index(root: Path, index: Mapping[str, Any]) -> None:
    with atomic_write(root / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        sync(root)  # the names of shards and table are on the disk before the index's
