"""Shard writer: samples into WebDataset tars, with samples.parquet and index.json beside them."""

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd import __version__
from dfd.durable import atomic_write, sync
from dfd.shards.format import (
    INDEX,
    SAMPLES_FILE,
    SCHEMA,
    WRITER,
    Place,
    Shard,
    count_classes,
)
from dfd.shards.splits import SPLITS
from dfd.shards.validate import check_words


class ShardWriter:
    """Writes one tar, as webdataset's TarWriter would; the same samples give the same bytes on any machine at
    any time.
    """

    def __init__(self, path: Path, name: str):
        self.name, self.images, self._hash, self.size = name, 0, hashlib.sha256(), 0
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  closed by `close`

    def add(
        self, key: str, image: bytes, extension: str, facts: Mapping[str, Any], mask: bytes | None = None
    ) -> Place:
        members = {extension: image, "json": json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()}
        if mask is not None:
            members["mask.png"] = mask
        at, start, parts = self.size, {}, []
        for name, data in sorted(members.items()):
            header = _header(f"{key}.{name}", len(data))
            parts += [header, data, bytes(-len(data) % tarfile.BLOCKSIZE)]
            start[name] = at + len(header)
            at = start[name] + len(data) + len(parts[-1])
        self._write(b"".join(parts))
        self.images += 1
        if mask is None:
            return Place(start[extension], len(image))
        return Place(start[extension], len(image), start["mask.png"], len(mask))

    def close(self) -> Shard:
        end = self.size + 2 * tarfile.BLOCKSIZE  # two empty blocks, and more up to a whole record
        self._write(bytes(end + -end % tarfile.RECORDSIZE - self.size))
        self._file.close()
        return Shard(self.name, self.name.rsplit("-", 1)[0], self.images, self.size, self._hash.hexdigest())

    def abandon(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)


def _header(name: str, size: int) -> bytes:
    """What a tar says of a member before its bytes."""
    stored = name.encode()
    if len(stored) > tarfile.LENGTH_NAME or not name.isascii():  # takes further blocks
        return _member(name, size).tobuf()
    header = bytearray(_TEMPLATE)  # tarfile takes four times as long over each
    header[: len(stored)] = stored
    header[124:135] = b"%011o" % size
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname, member.gname = size, 0o444, WRITER, WRITER
    return member


_TEMPLATE = bytearray(_member("", 0).tobuf())
_TEMPLATE[148:156] = b" " * 8  # as which the checksum counts itself


def write_contents(
    root: Path,
    table: pa.Table,
    shards: Sequence[Shard],
    made_by: Mapping[str, Any],
    rejected: int = 0,
    leaks: Mapping[str, Any] | None = None,
) -> None:
    """Writes samples.parquet, then index.json: from here on the folder counts as whole."""
    check_words(table)
    for shard in shards:
        sync(root / shard.name)
    with atomic_write(root / SAMPLES_FILE) as temporary:
        pq.write_table(table.cast(SCHEMA), temporary, compression="zstd")
    index = {
        "dfd": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": dict(made_by),
        "images": len(table),
        "rejected": rejected,
        "classes": count_classes(table),
        "splits": {split: count_classes(table.filter(pc.equal(table["split"], split))) for split in SPLITS},
        "families": len(pc.unique(table["family"])),
        "leaks": dict(leaks or {}),  # related pictures in different splits, kept with --allow-leaks
        "shards": [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.name)],
    }
    with atomic_write(root / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")
        sync(root)  # the names of shards and table are on the disk before the index's
