"""Tar scan: the samples of a WebDataset shard that was made elsewhere, read and checked.

A sample is a picture beside a `json` ({"label": 0, 1, "real" or "fake", and what else `dfd prepare` writes})
or a `cls` (one of the same four); 1 is fake. Nothing but these, "mask.png" and the picture is read: a pickle
in a tar runs whatever its author likes.
"""

import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dfd.batch import LABELS
from dfd.media.decode import Undecodable, image_info_and_luma
from dfd.media.files import IMAGE_SUFFIXES, MAX_BYTES
from dfd.prepare.readers.row import LABEL_WORDS, SPLIT_WORDS, meant, words
from dfd.shards.duplicates import perceptual_hash
from dfd.shards.format import WRITER, Shard
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS
from dfd.shards.tar_reader import plain_members

_MAX_JSON, _MAX_CLS = 1 << 20, 16  # bytes
_MAX_KEYS = 100  # of a json that are looked at
_USED = ("label", "group", "groups", "split", "source", "method", "path")
_WRITTEN = ("sha256", "width", "height", "format")  # by dfd prepare; found again in the picture
_MAX_MEMBERS = 100  # of a sample


class ScannedShard(NamedTuple):
    """What one tar holds."""

    rows: list[dict[str, Any]]  # as SCHEMA; the split may be None, and there is no family yet
    rejects: list[Reject]
    shard: Shard
    labels: Counter[str]  # "cls 1 as fake": how often
    unused: dict[str, None]  # keys of the json


class ScannedSample(NamedTuple):
    """What one sample holds."""

    row: dict[str, Any]
    label: str  # how it was read: "cls 1 as fake"
    unused: list[str]  # keys of the json


def scan_shard(path: Path) -> ScannedShard:
    """Runs in a worker: reads one tar to its end."""
    rows, rejects, labels, unused = [], [], Counter(), {}
    with open(path, "rb") as file:
        try:
            for key, members in _samples(path, rejects):
                try:
                    sample = _sample(path, file.fileno(), key, members)
                except Undecodable as error:
                    _refuse_damage(path, key, members, error)
                    rejects.append(Reject(f"{path.name}:{key}", str(error)))
                else:
                    rows.append(sample.row)
                    labels[sample.label] += 1
                    if len(unused) < _MAX_KEYS:
                        unused |= dict.fromkeys(sample.unused)
        except tarfile.TarError as error:
            raise ValueError(
                f"{path} is no whole tar: {error}, after {len(rows)} samples. Copy it again or remove it."
            ) from error
        digest = hashlib.sha256()
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
    shard = Shard(path.name, "", len(rows), path.stat().st_size, digest.hexdigest())
    return ScannedShard(rows, rejects, shard, labels, unused)


def _refuse_damage(path: Path, key: str, members: Mapping[str, tarfile.TarInfo], error: Undecodable) -> None:
    """Raises ValueError for a damaged sample of a shard that dfd wrote: every sample was good when it was
    written, so that others may be damaged too.
    """
    if any(member.uname == WRITER for member in members.values()):
        raise ValueError(
            f"{path} is damaged at {key}: {error}. Copy it again, or make it again from its source."
        ) from error


def _samples(path: Path, rejects: list[Reject]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Key and members of each sample: neighbours whose names agree up to the first dot after the folders, as
    in WebDataset.

    Links, devices and the like are listed as rejected and not followed.
    """

    def refuse(member: tarfile.TarInfo) -> None:
        reason = "a link, a device or a sparse file: such are not read"
        rejects.append(Reject(f"{path.name}:{member.name}", reason))

    current, members = "", {}
    for member in plain_members(path, refuse):
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if key != current and members:
            yield current, members
            members = {}
        current = key
        if len(members) <= _MAX_MEMBERS:
            members[extension.lower()] = member
    if members:
        yield current, members


def _sample(path: Path, handle: int, key: str, members: dict[str, tarfile.TarInfo]) -> ScannedSample:
    if len(members) > _MAX_MEMBERS:
        raise Undecodable(f"more than {_MAX_MEMBERS} files in one sample")
    images = [
        name
        for name in members
        if f".{name.rpartition('.')[2]}" in IMAGE_SUFFIXES and not name.startswith("mask.")
    ]
    if len(images) != 1:
        raise Undecodable(f"{len(images)} pictures ({', '.join(members)}); a sample has one")
    member, mask = members[images[0]], members.get("mask.png")
    facts, label = _facts(handle, members)
    image = _read(handle, member, MAX_BYTES)
    digest = hashlib.sha256(image).hexdigest()
    # in shards of others, sha256 may be another file's
    if member.uname == WRITER and facts.get("sha256") != digest:
        raise Undecodable("its bytes are not those that dfd wrote")
    info, luma = image_info_and_luma(image)
    groups = facts.get("groups") or facts.get("group") or []
    of_name = next((word for word in words(path.stem) if word in SPLIT_WORDS), "")
    split = str(facts.get("split") or "").lower() or of_name
    if split and split not in SPLIT_WORDS:
        raise Undecodable(f"split {split!r} is none of {', '.join(SPLITS)}")
    row = {
        "key": key,
        "path": str(facts.get("path") or member.name),
        "shard": path.name,
        "offset": member.offset_data,
        "length": member.size,
        "mask_offset": mask.offset_data if mask else -1,
        "mask_length": mask.size if mask else 0,
        "label": facts["label"],
        "split": SPLIT_WORDS.get(split),
        "source": str(facts.get("source") or path.resolve().parent.name),
        "method": str(facts.get("method") or ""),
        "groups": [str(group) for group in groups] if isinstance(groups, list) else [str(groups)],
        **info._asdict(),
        "sha256": digest,
        "phash": perceptual_hash(luma),
    }
    return ScannedSample(row, label, _unused(f"{path}: {key}", facts))


def _unused(sample: str, facts: Mapping[str, Any]) -> list[str]:
    """Keys that are not used; ValueError for a known key misspelt: without its groups, families would be
    divided.
    """
    names = [name for name in islice(facts, _MAX_KEYS) if name not in (*_USED, *_WRITTEN)]
    lacking = [name for name in ("group", "split") if name not in facts and f"{name}s" not in facts]
    for name in names:
        if known := meant(name.lower(), lacking):
            raise ValueError(
                f"{sample}: its json has the key {name}: did you mean {known}? Write the shards with that "
                f"key; if it is something else, give it a name less like {known}."
            )
    return names


def _facts(handle: int, members: dict[str, tarfile.TarInfo]) -> tuple[dict[str, Any], str]:
    """What the json says, with the label as 0 or 1; and where the label was found and how it was read."""
    facts: Any = {}
    if "json" in members:
        try:
            facts = json.loads(_read(handle, members["json"], _MAX_JSON))
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"its json cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise Undecodable("its json is no object")
    said, where = facts.get("label"), "json.label"
    if said is None and "cls" in members:
        said, where = _read(handle, members["cls"], _MAX_CLS).decode("ascii", "replace").strip(), "cls"
    if said is None and "label" not in facts:
        raise Undecodable(
            _no_label(facts) if "json" in members else "neither a json with the key label nor a cls beside it"
        )
    word = str(said).lower()
    if isinstance(said, (bool, float)) or word not in LABEL_WORDS:
        raise Undecodable(f"label {said!r} is none of real, fake, 0 (real), 1 (fake)")
    return {**facts, "label": LABEL_WORDS[word]}, f"{where} {word} as {LABELS[LABEL_WORDS[word]]}"


def _no_label(facts: Mapping[str, Any]) -> str:
    near = next((name for name in islice(facts, _MAX_KEYS) if meant(name, ["label"])), "")
    return f"no key label; it has: {', '.join(facts) or 'nothing':.200}" + (
        f". Is {near} meant for label?" if near else ""
    )


def _read(handle: int, member: tarfile.TarInfo, limit: int) -> bytes:
    if member.size > limit:
        raise Undecodable(f"{member.name} has {member.size} bytes, more than the {limit} that are read")
    data = os.pread(handle, member.size, member.offset_data)
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} ends early")
    return data
