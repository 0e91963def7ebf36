"""Tar scan: the samples of a WebDataset shard that was made elsewhere, read and checked.

A sample is a picture beside a `json` ({"label": 0, 1, "real" or "fake", and what else `dfd prepare` writes})
or a `cls` (one of the same four); 1 is fake. Nothing but these, "mask.png" and the picture is read: a pickle
in a tar runs whatever its author likes.
"""

import hashlib
import json
import math
import os
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dfd.batch import LABELS
from dfd.media.decode import Undecodable, image_info_and_luma
from dfd.media.files import IMAGE_SUFFIXES, MAX_BYTES, is_hidden, is_litter
from dfd.media.perceptual_hash import perceptual_hash
from dfd.prepare.readers.row import LABEL_WORDS, SPLIT_WORDS, meant, words
from dfd.shards.format import WRITER, Shard
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS
from dfd.shards.tar_reader import Member, key_and_extension, plain_members
from dfd.shards.validate import MAX_TEXT
from dfd.terminal import printable

_MAX_JSON, _MAX_CLS = 1 << 20, 16  # bytes
_MAX_KEYS = 100  # of a json that are looked at
_USED = ("label", "group", "groups", "split", "source", "method", "path")
_WRITTEN = ("sha256", "width", "height", "format")  # by dfd prepare; found again in the picture
_MAX_MEMBERS = 100  # of a sample


class ScannedShard(NamedTuple):
    """What one tar holds."""

    rows: list[dict[str, Any]]  # as SCHEMA; the split may be None, and there is no family yet
    rejects: list[Reject]
    not_tried: list[str]  # hidden pictures, and files without a suffix
    shard: Shard
    labels: Counter[str]  # "cls 1 as fake": how often
    unused: dict[str, None]  # keys of the json


class ScannedSample(NamedTuple):
    """What one sample holds."""

    row: dict[str, Any]
    label: str  # how it was read: "cls 1 as fake"
    unused: list[str]  # keys of the json


def scan_shard(path: Path) -> ScannedShard:
    """Runs in a worker: reads one tar to its end.

    Raises:
        ValueError: it is no whole tar, or one of dfd's own that is damaged.
    """
    rows, rejects, not_tried, labels, unused = [], [], [], Counter(), {}
    samples = _samples(path, rejects, not_tried)
    if not samples and not rejects and not not_tried:
        rejects.append(Reject(path.name, "a tar without a file in it"))
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        for key, members in samples.items():
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
    shard = Shard(path.name, "", len(rows), path.stat().st_size, digest.hexdigest())
    return ScannedShard(rows, rejects, not_tried, shard, labels, unused)


def _refuse_damage(path: Path, key: str, members: Sequence[Member], error: Undecodable) -> None:
    """Raises ValueError for a damaged sample of a shard that dfd wrote: every sample was good when it was
    written, so that others may be damaged too.
    """
    if any(member.owner == WRITER for member in members):
        raise ValueError(
            f"{path} is damaged at {key}: {error}. Copy it again, or make it again from its source."
        ) from error


def _samples(path: Path, rejects: list[Reject], not_tried: list[str]) -> dict[str, list[Member]]:
    """Members of each sample by its key: those whose names agree up to the first dot after the folders, as in
    WebDataset. They need not be neighbours, since pictures are read at their place.

    Tars that were joined may each count their samples from 0: a key that was there before an end mark is
    another sample behind it, and gets the number of its part.

    Links, devices and the like are listed as rejected and not followed. What systems leave behind is passed
    over, as in folders.
    """

    def refuse(name: str, reason: str) -> None:
        rejects.append(Reject(f"{path.name}:{name}", reason))

    found: dict[tuple[str, int], list[Member]] = {}
    try:
        for member in plain_members(path, refuse):
            name = member.name.replace("\\", "/")
            if is_litter(name):
                continue
            key, extension = key_and_extension(name)
            if is_hidden(name) or not extension:
                if not extension or _is_picture(extension):
                    not_tried.append(f"{path.name}:{member.name}")
                continue
            members = found.setdefault((key, member.part), [])
            if len(members) <= _MAX_MEMBERS:
                members.append(member)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} is no whole tar: {error}; before it: {len(found)} samples. Copy it again or remove it."
        ) from error
    samples: dict[str, list[Member]] = {}
    for (key, part), members in found.items():
        while key in samples:
            key = f"{key}+{part}"
        samples[key] = members
    return samples


def _is_picture(extension: str) -> bool:
    return f".{extension.rpartition('.')[2]}" in IMAGE_SUFFIXES


def _by_extension(members: Sequence[Member]) -> dict[str, Member]:
    """The members of a sample by what follows the first dot of their names, in lower case."""
    if len(members) > _MAX_MEMBERS:
        raise Undecodable(f"more than {_MAX_MEMBERS} files in one sample")
    found: dict[str, Member] = {}
    for member in members:
        extension = key_and_extension(member.name)[1]
        if extension in found:
            raise Undecodable(f"two files {member.name!r:.200} in one tar: which one is meant is not known")
        found[extension] = member
    return found


def _sample(path: Path, handle: int, key: str, of_sample: Sequence[Member]) -> ScannedSample:
    members = _by_extension(of_sample)
    images = [name for name in members if _is_picture(name) and not name.startswith("mask.")]
    if len(images) != 1:
        cause = (
            ". A key ends at the first dot of a name: pack files whose names have no other dot"
            if len(images) > 1 and any("." in name for name in images)
            else ""
        )
        raise Undecodable(f"{len(images)} pictures ({', '.join(members):.200}); a sample has one{cause}")
    member, mask = members[images[0]], members.get("mask.png")
    if mask and not 0 < mask.size <= MAX_BYTES:
        raise Undecodable(f"a mask of {mask.size} bytes")
    facts, label = _facts(handle, members)
    of_name = next((word for word in words(path.stem) if word in SPLIT_WORDS), "")
    split = _text(facts, "split").lower() or of_name
    if split and split not in SPLIT_WORDS:
        raise Undecodable(f"split {split!r:.100} is none of {', '.join(SPLITS)}")
    row = {
        "key": key,
        "path": _text(facts, "path") or member.name,
        "shard": path.name,
        "offset": member.offset,
        "length": member.size,
        "mask_offset": mask.offset if mask else -1,
        "mask_length": mask.size if mask else 0,
        "label": facts["label"],
        "split": SPLIT_WORDS.get(split),
        "source": _text(facts, "source") or printable(path.resolve().parent.name),
        "method": _text(facts, "method"),
        "groups": _groups(facts),
    }
    _check_texts(row)
    image = _read(handle, member, MAX_BYTES)
    digest = hashlib.sha256(image).hexdigest()
    # in shards of others, sha256 may be another file's
    if member.owner == WRITER and facts.get("sha256") != digest:
        raise Undecodable("its bytes are not those that dfd wrote")
    info, luma = image_info_and_luma(image)
    row |= {**info._asdict(), "sha256": digest, "phash": perceptual_hash(luma)}
    return ScannedSample(row, label, _unused(f"{path}: {key}", facts))


def _check_texts(row: Mapping[str, Any]) -> None:
    """Raises Undecodable for what a table cannot hold or a terminal would obey."""
    for name in ("source", "method"):
        if not row[name].isprintable():
            raise Undecodable(f"a {name} {row[name]!r:.100} with letters that cannot be printed")
    try:
        row["key"].encode()
    except UnicodeEncodeError as error:
        raise Undecodable(
            "a file name that is not UTF-8: rename the file (convmv does it) and pack the tar again"
        ) from error
    try:
        size = sum(len(row[name].encode()) for name in ("key", "path", "source", "method"))
        size += sum(len(group.encode()) for group in row["groups"])
    except UnicodeEncodeError as error:
        raise Undecodable("its json holds text that is no Unicode (half of a pair of surrogates)") from error
    if size > MAX_TEXT:
        raise Undecodable(f"names and groups of {size} bytes, more than the {MAX_TEXT} that are read")


def _text(facts: Mapping[str, Any], name: str) -> str:
    """What the json says of a fact, as text; "" where it says nothing."""
    said = facts.get(name)
    if isinstance(said, (list, dict)):
        raise Undecodable(f"its {name} is {type(said).__name__}, no text")
    return "" if _says_nothing(said) else str(said)


def _groups(facts: Mapping[str, Any]) -> list[str]:
    """The identities of a sample. An empty one is none: else all samples without one would be a family."""
    said = facts.get("groups") or facts.get("group")
    groups = said if isinstance(said, list) else [said]
    if any(isinstance(group, (list, dict)) for group in groups):
        raise Undecodable("its groups are no list of names")
    return [str(group) for group in groups if not _says_nothing(group)]


def _says_nothing(said: Any) -> bool:
    # pandas writes what is missing as NaN
    return said is None or said == "" or (isinstance(said, float) and math.isnan(said))


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


def _facts(handle: int, members: Mapping[str, Member]) -> tuple[dict[str, Any], str]:
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
        said, where = _decoded(_read(handle, members["cls"], _MAX_CLS)), "cls"
    if said is None and "label" not in facts:
        raise Undecodable(
            _no_label(facts) if "json" in members else "neither a json with the key label nor a cls beside it"
        )
    word = str(said).lower()
    if isinstance(said, (bool, float)) or word not in LABEL_WORDS:
        raise Undecodable(f"label {said!r:.100} is none of real, fake, 0 (real), 1 (fake)")
    return {**facts, "label": LABEL_WORDS[word]}, f"{where} {word} as {LABELS[LABEL_WORDS[word]]}"


def _no_label(facts: Mapping[str, Any]) -> str:
    near = next((name for name in islice(facts, _MAX_KEYS) if meant(name, ["label"])), "")
    return f"no key label; it has: {', '.join(facts) or 'nothing':.200}" + (
        f". Is {near} meant for label?" if near else ""
    )


def _decoded(data: bytes) -> str:
    """A word that an editor wrote, in whatever Unicode."""
    return data.decode(json.detect_encoding(data), "replace").strip()


def _read(handle: int, member: Member, limit: int) -> bytes:
    if member.size > limit:
        raise Undecodable(f"{member.name:.200} has {member.size} bytes, more than the {limit} that are read")
    data = os.pread(handle, member.size, member.offset)
    if len(data) != member.size:
        raise Undecodable(f"{member.name:.200} ends early")
    return data
