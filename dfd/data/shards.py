"""Shards on disk: plain WebDataset tars of original bytes, with a table of contents beside them.

ROOT/train-000000.tar   <key>.jpg (bytes as found), <key>.json, <key>.mask.png; one split a shard
ROOT/samples.parquet    one line a sample: SCHEMA
ROOT/index.json         shards with counts and sha256, totals, what made them; written last, so its presence means "whole"
ROOT/rejected.csv       path, reason
"""

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd import __version__
from dfd.batch import LABELS
from dfd.data.splits import SPLITS
from dfd.data.trust import check_index, check_lines, check_size, check_words
from dfd.durable import appearing, sync

INDEX, TABLE = "index.json", "samples.parquet"
EXTENSIONS = {
    "JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif",
    "GIF": "gif", "AVIF": "avif", "JPEG2000": "jp2", "PPM": "ppm",
}  # fmt: skip
SCHEMA = pa.schema(
    {
        "key": pa.string(),  # unique, without dots
        "path": pa.string(),  # as found, relative to the source
        "shard": pa.dictionary(pa.int32(), pa.string()),  # file name
        "offset": pa.int64(),  # of the picture's bytes in the tar
        "length": pa.int64(),
        "mask_offset": pa.int64(),  # -1 without a mask
        "mask_length": pa.int64(),
        "label": pa.int8(),
        "split": pa.dictionary(pa.int8(), pa.string()),
        "source": pa.dictionary(pa.int32(), pa.string()),
        "method": pa.dictionary(pa.int32(), pa.string()),  # "" for real or unknown
        "groups": pa.list_(pa.string()),
        "family": pa.string(),
        "width": pa.int32(),  # upright
        "height": pa.int32(),
        "format": pa.dictionary(pa.int8(), pa.string()),
        "sha256": pa.string(),  # hex
        "phash": pa.binary(),  # perceptual hash, 32 bytes: near duplicates
    }
)
SHARD_BYTES, SHARD_IMAGES = 64_000_000, 5000
WRITER = "dfd"  # the owner that a tar names: by it we know our own


@dataclass(frozen=True)
class Place:
    """Where a sample's members lie in their tar, in bytes."""

    offset: int
    length: int
    mask_offset: int = -1
    mask_length: int = 0


@dataclass(frozen=True)
class Shard:
    """What index.json says of one tar."""

    name: str
    split: str
    images: int
    bytes: int
    sha256: str


class ShardWriter:
    """Writes one tar, as webdataset's TarWriter would; the same samples give the same bytes on any machine at any time."""

    def __init__(self, path: Path, name: str):
        self.name, self.images, self._hash, self.size = name, 0, hashlib.sha256(), 0
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  closed by `close`

    def add(self, key: str, image: bytes, extension: str, facts: Mapping[str, Any], mask: bytes | None = None) -> Place:
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


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:06d}.tar"


def member_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample's json says, of a line of the table."""
    names = ("label", "source", "method", "groups", "width", "height", "format", "sha256", "path", "split")
    return {name: row[name] for name in names}


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
    with appearing(root / TABLE) as part:
        pq.write_table(table.cast(SCHEMA), part, compression="zstd")
    index = {
        "dfd": __version__,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_by": dict(made_by),
        "images": len(table),
        "rejected": rejected,
        "classes": count_classes(table),
        "splits": {split: count_classes(table.filter(pc.equal(table["split"], split))) for split in SPLITS},
        "families": len(pc.unique(table["family"])),
        "leaks": dict(leaks or {}),  # related pictures in different splits, kept with --allow-leaks
        "shards": [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.name)],
    }
    with appearing(root / INDEX) as part:
        part.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")
        sync(root)  # the names of shards and table are on the disk before the index's


def count_classes(table: pa.Table) -> dict[str, int]:
    return {name: pc.sum(pc.equal(table["label"], value)).as_py() or 0 for value, name in enumerate(LABELS)}


def read_index(root: Path) -> dict[str, Any]:
    """index.json of finished shards.

    Raises:
        ValueError: `root` is missing, unfinished, or no shards; says which command helps.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder. `dfd prepare SOURCE --out {root}` makes it.")
    try:
        index = json.loads((root / INDEX).read_text())
    except FileNotFoundError:
        pass
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{root / INDEX} is not JSON ({error}). Run `dfd index {root}`.") from error
    else:
        try:
            check_index(index)
        except ValueError as error:
            raise ValueError(f"{root / INDEX} is not as dfd writes it: {error}. Run `dfd index {root}`.") from error
        return index
    if (root / ".prepare").is_dir():
        raise ValueError(
            f"{root}: `dfd prepare` was stopped before the end. Run the same command again: it goes on from there."
        )
    if any(root.glob("*.tar")):
        raise ValueError(f"{root}: tars without {INDEX}. `dfd index {root}` makes their table.")
    raise ValueError(
        f"{root}: no shards here (no {INDEX}, no .tar). `dfd prepare {root} --out FOLDER` makes shards of pictures."
    )


def made_by(root: Path) -> dict[str, Any]:
    """What index.json says of who made the shards; nothing where there is none that can be read."""
    try:
        return json.loads((root / INDEX).read_text())["made_by"]
    except (OSError, ValueError, KeyError):
        return {}


def remake(root: Path) -> str:
    """The command that makes the table of `root` once more."""
    maker = made_by(root)
    if maker.get("command") == "prepare":
        return f"dfd prepare {maker['source']} --out {root} --overwrite"
    if maker.get("command") == "match":
        return f"dfd prepare {maker['source']} --out ANOTHER --match jpeg={maker['jpeg']},size={maker['size']}"
    if maker.get("command") == "generate":
        return f"dfd generate {maker['checkpoint']} --like {maker['like']} --seed {maker['seed']} --num NUM --out ANOTHER"
    return f"dfd index {root}"


def load_table(root: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """samples.parquet of finished shards, one line a sample, columns as in SCHEMA; all shards are there in their full size.

    Args:
        columns: the ones to read, shard, offset and length among them; None reads all.

    Raises:
        ValueError: what is wrong with `root`, and what to do.
    """
    root = Path(root)
    index = read_index(root)
    remedy = f"`{remake(root)}` makes it again."
    if not (root / TABLE).is_file():
        raise ValueError(f"{root}: {TABLE} is missing. {remedy}")
    try:
        check_size(root / TABLE, index)
        known = pq.read_schema(root / TABLE).names
        missing = [name for name in SCHEMA.names if name not in known]
        table = None if missing else pq.read_table(root / TABLE, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{root / TABLE} cannot be read ({error}). {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{root / TABLE} is not as dfd writes it: {error}. {remedy}") from error
    if missing:
        raise ValueError(f"{root / TABLE} lacks the columns {', '.join(missing)}. {remedy}")
    for shard in index["shards"]:
        path = root / shard["name"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ValueError(
                f"{path} {found}, {INDEX} says {shard['bytes']}. Copy the folder again or prepare it with --overwrite."
            )
    try:
        check_lines(table, index, SCHEMA)
    except ValueError as error:
        raise ValueError(f"{root / TABLE} is not as dfd writes it: {error}. {remedy}") from error
    return table
