"""`dfd index`: the table of contents of WebDataset shards that were made elsewhere.

A sample is a picture beside a `json` ({"label": 0, 1, "real" or "fake", and what else `dfd prepare` writes})
or a `cls` (one of the same four); 1 is fake. Nothing but these, "mask.png" and the picture is read: a pickle
in a tar runs whatever its author likes.
"""

import hashlib
import json
import logging
import os
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dfd.batch import LABELS
from dfd.durable import make_folder
from dfd.media.decode import Undecodable, image_info_and_luma
from dfd.media.files import IMAGE_SUFFIXES, MAX_BYTES
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.assign import assign
from dfd.prepare.readers.row import LABEL_WORDS, SPLIT_WORDS, meant, words
from dfd.prepare.report import Report
from dfd.progress import progress
from dfd.shards.duplicates import perceptual_hash
from dfd.shards.format import SCHEMA, WRITER, Shard
from dfd.shards.pattern import parse_root
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS
from dfd.shards.table import made_by, read_index, remake
from dfd.shards.tar_reader import plain_members
from dfd.shards.writer import write_contents
from dfd.terminal import printable

_log = logging.getLogger(__name__)
_MAX_JSON, _MAX_CLS = 1 << 20, 16  # bytes
_MAX_KEYS = 100  # of a json that are looked at
_USED = ("label", "group", "groups", "split", "source", "method", "path")
_WRITTEN = ("sha256", "width", "height", "format")  # by dfd prepare, and found anew
_MAX_MEMBERS = 100  # of a sample
# as SCHEMA, but a split may be unknown still and the family always is
_PLAIN = {field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type for field in SCHEMA}
_FOUND = pa.schema([(name, kind) for name, kind in _PLAIN.items() if name != "family"])


_HINT = " Name in the key group what belongs together, such as a person or a video."


class Scan(NamedTuple):
    """What one tar holds."""

    rows: list[dict[str, Any]]
    rejects: list[Reject]
    shard: Shard
    labels: Counter[str]  # "cls 1 as fake": how often
    unused: dict[str, None]  # keys of the json


def index_root(root: Path, workers: int | None = None, allow_leaks: bool = False) -> Report:
    """Reads every shard of `root` once and writes samples.parquet, index.json and rejected.csv beside them.

    Of a pattern (FOLDER/train-{000000..000123}.tar) only its shards are read, and the folder's table is
    theirs alone.

    A split comes from the json, else from the shard's name ("val-0003.tar"), else from the family's hash.

    Raises:
        ValueError: an output of `dfd prepare`; no uncompressed tars; a truncated one, or one of dfd's own
            that is damaged; samples that `dfd prepare` would refuse as well.
        OSError: unwritable folder or full disk, in words.
    """
    start = time.monotonic()
    folder, names = parse_root(root)
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder. Name the folder that holds the .tar shards.")
    if (root / ".prepare").is_dir():
        raise ValueError(
            f"{root}: `dfd prepare` was stopped before the end. Run the same command again: it makes the "
            "table itself."
        )
    _refuse_prepared(root)
    paths = sorted(root.glob("*.tar")) if names is None else [root / name for name in names]
    if names and (missing := [path for path in paths if not path.is_file()]):
        raise ValueError(
            f"{missing[0]} is not there ({len(missing)} of {len(paths)} shards are missing). Correct the "
            "pattern."
        )
    if not paths:
        packed = next((path.name for path in root.glob("*.t*gz")), "")
        cure = (
            f"Unpack {packed} and its like with gunzip: compressed tars have no offsets."
            if packed
            else "Name their folder."
        )
        raise ValueError(f"{root}: no .tar shards. {cure}")
    make_folder(root)
    tables, rejects, shards, labels, unused = [], [], [], Counter(), {}
    count = min(num_processes(workers), len(paths))
    with ProcessPool(count, __name__) as pool, progress(len(paths), "indexing shards") as advance:
        for scan in pool.run(scan_shard, paths):
            tables.append(pa.Table.from_pylist(scan.rows, _FOUND))
            rejects += scan.rejects
            shards.append(scan.shard)
            labels += scan.labels
            unused |= scan.unused
            advance(1)
    if unused:
        hint = (
            ""
            if pc.any(pc.greater(pc.list_value_length(pa.concat_tables(tables)["groups"]), 0)).as_py()
            else _HINT
        )
        keys = printable(", ".join(unused))
        _log.info("%s: keys of the json that are not used: %.300s.%s", root, keys, hint)
    table = _with_unique_keys(pa.concat_tables(tables)).sort_by(
        [("shard", "ascending"), ("offset", "ascending")]
    )
    assigned = assign(root, root, table, rejects, allow_leaks)
    table = assigned.table.select(SCHEMA.names)
    facts = {
        "command": "index",
        "reader": "webdataset",
        "labels": dict(sorted(labels.items())),
        **assigned.facts(),
    }
    write_contents(root, table, _counted(shards, table), facts, assigned.num_rejected, assigned.leaks.facts())
    return Report.of(root, read_index(root), seconds=time.monotonic() - start)


def _refuse_prepared(root: Path) -> None:
    if made_by(root).get("command") in ("prepare", "match"):
        raise ValueError(
            f"{root} was made by `dfd prepare`, which wrote its table: use it as it is. If it is damaged, "
            "copy it again, or "
            f"`{remake(root)}` makes it again from the source."
        )


def scan_shard(path: Path) -> Scan:
    """Runs in a worker: reads one tar to its end."""
    rows, rejects, labels, unused = [], [], Counter(), {}
    with open(path, "rb") as file:
        try:
            for key, members in _samples(path, rejects):
                try:
                    row, label, others = _row(path, file.fileno(), key, members)
                except Undecodable as error:
                    _refuse_damage(path, key, members, error)
                    rejects.append(Reject(f"{path.name}:{key}", str(error)))
                else:
                    rows.append(row)
                    labels[label] += 1
                    if len(unused) < _MAX_KEYS:
                        unused |= dict.fromkeys(others)
        except tarfile.TarError as error:
            raise ValueError(
                f"{path} is no whole tar: {error}, after {len(rows)} samples. Copy it again or remove it."
            ) from error
        digest = hashlib.sha256()
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
    return Scan(
        rows,
        rejects,
        Shard(path.name, "", len(rows), path.stat().st_size, digest.hexdigest()),
        labels,
        unused,
    )


def _refuse_damage(path: Path, key: str, members: Mapping[str, tarfile.TarInfo], error: Undecodable) -> None:
    """Of shards that dfd itself wrote every sample was good once: one that is not says that others may be
    wrong as well.
    """
    if any(member.uname == WRITER for member in members.values()):
        raise ValueError(
            f"{path} is damaged at {key}: {error}. Copy it again, or make it again from its source."
        ) from error


def _samples(path: Path, rejects: list[Reject]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Neighbouring members with one key: the name up to the first dot after the folders, as WebDataset has
    it.

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


def _row(
    path: Path, handle: int, key: str, members: dict[str, tarfile.TarInfo]
) -> tuple[dict[str, Any], str, list[str]]:
    """A line of the table, how its label was read, and which keys of its json were not."""
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
    if (
        member.uname == WRITER and facts.get("sha256") != digest
    ):  # others may mean another file's by that name
        raise Undecodable("its bytes are not those that dfd wrote")
    seen, luma = image_info_and_luma(image)
    groups = facts.get("groups") or facts.get("group") or []
    split = str(facts.get("split") or "").lower() or next(
        (word for word in words(path.stem) if word in SPLIT_WORDS), ""
    )
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
        **seen._asdict(),
        "sha256": digest,
        "phash": perceptual_hash(luma),
    }
    return row, label, _unused(f"{path}: {key}", facts)


def _unused(sample: str, facts: Mapping[str, Any]) -> list[str]:
    """Keys that nothing is made of; ValueError for one that is a known one misspelt: passed over, it would
    tear families.
    """
    names = [name for name in islice(facts, _MAX_KEYS) if name not in (*_USED, *_WRITTEN)]
    lacking = [name for name in ("group", "split") if name not in facts and f"{name}s" not in facts]
    for name in names:
        if known := meant(name.lower(), lacking):
            raise ValueError(
                f"{sample}: its json has the key {name}: did you mean {known}? Write the shards with that "
                "key; if it is "
                f"something else, give it a name less like {known}."
            )
    return names


def _facts(handle: int, members: dict[str, tarfile.TarInfo]) -> tuple[dict[str, Any], str]:
    """What the json says, with the label as 0 or 1; and where that was found and how it was read."""
    facts: Any = {}
    if "json" in members:
        try:
            facts = json.loads(_read(handle, members["json"], _MAX_JSON))
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"its json cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise Undecodable("its json is no object")
    told, where = facts.get("label"), "json.label"
    if told is None and "cls" in members:
        told, where = _read(handle, members["cls"], _MAX_CLS).decode("ascii", "replace").strip(), "cls"
    if told is None and "label" not in facts:
        raise Undecodable(
            _no_label(facts) if "json" in members else "neither a json with the key label nor a cls beside it"
        )
    word = str(told).lower()
    if isinstance(told, (bool, float)) or word not in LABEL_WORDS:
        raise Undecodable(f"label {told!r} is none of real, fake, 0 (real), 1 (fake)")
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


def _with_unique_keys(table: pa.Table) -> pa.Table:
    """Shards often count their samples from 0 each: then the shard's name goes before the key."""
    if len(pc.unique(table["key"])) == len(table):
        return table
    stems = [Path(shard).stem.replace(".", "_") for shard in table["shard"].to_pylist()]
    keys = [f"{stem}/{key}" for stem, key in zip(stems, table["key"].to_pylist(), strict=True)]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} keys come twice in one shard, first {twice[0]}. A WebDataset key names one sample."
        )
    return table.set_column(0, "key", pa.array(keys))


def _counted(shards: list[Shard], table: pa.Table) -> list[Shard]:
    """The shards with the split that they hold ("mixed" where several) and the number of samples that stay."""
    held = (
        table.group_by("shard").aggregate([("split", "min"), ("split", "max"), ("key", "count")]).to_pylist()
    )
    by_name = {line["shard"]: line for line in held}
    counted = []
    for shard in shards:
        line = by_name.get(shard.name, {"split_min": "", "split_max": "", "key_count": 0})
        split = line["split_min"] if line["split_min"] == line["split_max"] else "mixed"
        counted.append(Shard(shard.name, split, line["key_count"], shard.bytes, shard.sha256))
    return counted
