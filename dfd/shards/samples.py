"""Sample writer: samples made in memory (drawn or generated) as shards in the layout of `dfd prepare`."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.media.decode import image_info_and_luma
from dfd.media.perceptual_hash import perceptual_hash
from dfd.outputs import output_folder
from dfd.shards.format import (
    EXTENSIONS,
    INDEX,
    SCHEMA,
    SHARD_BYTES,
    SHARD_IMAGES,
    Shard,
    member_facts,
    shard_name,
)
from dfd.shards.splits import SPLITS, crossing_families, families
from dfd.shards.writer import ShardWriter, write_contents

# a longer member name takes more than one header block
_LEGAL_KEY = re.compile(r"(?=.{1,80}$)[\w-]+(/[\w-]+)*", re.ASCII)


@dataclass(frozen=True)
class NewSample:
    """A sample made in memory: drawn, or by a generator."""

    key: str  # unique; letters, digits, "_", "-", and "/" between parts
    image_bytes: bytes  # an encoded picture; its format is read from the bytes
    label: int  # REAL or FAKE
    split: str  # train, val or test
    source: str
    method: str = ""  # "" for real
    groups: tuple[str, ...] = ()
    mask_bytes: bytes | None = None  # PNG, 255 where forged
    # of a picture in other shards that it was made of; "" for what groups and bytes say
    family: str = ""


def write_samples(samples: Iterable[NewSample], out: Path, made_by: Mapping[str, Any]) -> None:
    """Writes samples as shards in the layout of `dfd prepare`, in the order in which they come.

    All is written into a folder beside `out`, which takes its name at the end: `out` is whole or not there.
    Where another process finished `out` meanwhile, its shards stay and these are dropped.

    Args:
        made_by: what index.json records: the command and its arguments, and a note for the reader.

    Raises:
        ValueError: `out` exists with something in it; a key is illegal or comes twice; a group crosses
            splits; no samples.
        Undecodable: a picture that `decode` would refuse.
        OSError: disk full or unwritable, in words.
    """
    with output_folder(Path(out), whole=INDEX) as temporary:
        rows, shards = _write_new(samples, temporary)
        write_contents(temporary, pa.Table.from_pylist(_with_families(rows), SCHEMA), shards, made_by)


def _write_new(samples: Iterable[NewSample], folder: Path) -> tuple[list[dict[str, Any]], list[Shard]]:
    rows: list[dict[str, Any]] = []
    shards: list[Shard] = []
    writers: dict[str, ShardWriter] = {}
    keys: set[str] = set()
    number = dict.fromkeys(SPLITS, 0)
    try:
        for made in samples:
            _check_new(made, keys)
            facts, luma = image_info_and_luma(made.image_bytes)
            if made.split not in writers:
                name = shard_name(made.split, number[made.split])
                writers[made.split] = ShardWriter(folder / name, name)
                number[made.split] += 1
            writer = writers[made.split]
            row = {
                "key": made.key,
                "path": made.key,
                "shard": writer.name,
                "label": int(made.label),
                "split": made.split,
                "source": made.source,
                "method": made.method,
                "groups": list(made.groups),
                "family": made.family,
                **facts._asdict(),
                "sha256": hashlib.sha256(made.image_bytes).hexdigest(),
                "phash": perceptual_hash(luma),
            }
            extension = EXTENSIONS[facts.format]
            place = writer.add(made.key, made.image_bytes, extension, member_facts(row), made.mask_bytes)
            rows.append({**row, **vars(place)})
            if writer.size >= SHARD_BYTES or writer.images >= SHARD_IMAGES:
                shards.append(writers.pop(made.split).close())
        shards += [writers.pop(split).close() for split in list(writers)]
    finally:
        for writer in writers.values():
            writer.abandon()
    if not rows:
        raise ValueError("there is no sample to write.")
    return rows, shards


def _check_new(made: NewSample, keys: set[str]) -> None:
    if not _LEGAL_KEY.fullmatch(made.key):
        raise ValueError(
            f"key {made.key!r}: a key has up to 80 letters, digits, '_', '-', and '/' between parts."
        )
    if made.key in keys:
        raise ValueError(f"key {made.key!r} comes twice; keys are unique.")
    if made.label not in (0, 1) or made.split not in SPLITS:
        raise ValueError(
            f"{made.key}: label {made.label!r}, split {made.split!r}; labels are 0 or 1, splits "
            f"{', '.join(SPLITS)}."
        )
    keys.add(made.key)


def _with_families(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = families([row["groups"] for row in rows], [row["sha256"] for row in rows])
    names = [row["family"] or name for row, name in zip(rows, found, strict=True)]
    if crossing := crossing_families(names, [row["split"] for row in rows]):
        name, splits = next(iter(crossing.items()))
        raise ValueError(
            f"{len(crossing)} families are in several splits, first {name!r} in {', '.join(sorted(splits))}."
        )
    return [{**row, "family": name} for row, name in zip(rows, names, strict=True)]
