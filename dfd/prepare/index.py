"""`dfd index`: table of contents of WebDataset shards that were made elsewhere.

scan (every tar once) -> report unused keys -> assign families and splits -> write samples.parquet, index.json
"""

import logging
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dfd.durable import check_folder, make_folder
from dfd.media.files import is_hidden
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.assign import assign, without_contradictions
from dfd.prepare.checks import MAX_REJECTED, Rejected, check_leaks, check_max_rejected, check_usable
from dfd.prepare.readers.walk import not_tried
from dfd.prepare.report import Report
from dfd.prepare.scan import scan_shard
from dfd.progress import progress
from dfd.shards.format import SCHEMA, Shard
from dfd.shards.pattern import parse_root
from dfd.shards.rejects import Reject, write_rejects
from dfd.shards.table import made_by, read_index, refuse_somebodys_file, remake
from dfd.shards.validate import is_shard_name
from dfd.shards.writer import write_contents
from dfd.terminal import printable

_log = logging.getLogger(__name__)
_COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4?|z)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
# as SCHEMA, but the split may be unknown still, and the family always is
_PLAIN = {field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type for field in SCHEMA}
_FOUND = pa.schema([(name, kind) for name, kind in _PLAIN.items() if name != "family"])


class Scanned(NamedTuple):
    """What all tars of a folder hold."""

    table: pa.Table  # _FOUND, in the order of the shards
    rejects: list[Reject]
    not_tried: list[str]  # hidden pictures, and files without a suffix
    shards: list[Shard]
    labels: Counter[str]  # "cls 1 as fake": how often
    unused: dict[str, None]  # keys of the json


def index_root(
    root: Path, workers: int | None = None, allow_leaks: bool = False, max_rejected: float = MAX_REJECTED
) -> Report:
    """Reads every shard of `root` once and writes samples.parquet, index.json and rejected.csv beside them.

    Of a pattern (FOLDER/train-{000000..000123}.tar) only its shards are read, and the folder's table is
    theirs alone.

    A split comes from the json, else from the shard's name ("val-0003.tar"), else from the family's hash.

    Args:
        max_rejected: the share of the samples that may be rejected, from 0 to below 1.

    Raises:
        ValueError: an output of `dfd prepare`; somebody's file of a name that is written; no uncompressed
            tars; a truncated one, or one of dfd's own that is damaged; samples that `dfd prepare` would
            refuse as well.
        OSError: unwritable folder or full disk, in words.
    """
    start = time.monotonic()
    check_max_rejected(max_rejected)
    folder, names = parse_root(root)
    root = Path(folder)
    check_root(root)
    paths = find_tars(root, names)
    make_folder(root)
    scanned = scan(paths, num_processes(workers))
    report_unused(root, scanned)
    table, contradictory = without_contradictions(with_unique_keys(scanned.table))
    rejected = Rejected([*scanned.rejects, *contradictory])
    write_rejects(root, rejected.lines())
    check_usable(root, table, rejected, max_rejected=max_rejected)
    assigned = assign(table)
    check_leaks(root, assigned.leaks, allow_leaks)
    table = assigned.table.select(SCHEMA.names)
    facts = {
        "command": "index",
        "reader": "webdataset",
        "labels": dict(sorted(scanned.labels.items())),
        **assigned.facts(),
    }
    shards = as_kept(scanned.shards, table)
    write_contents(root, table, shards, facts, len(rejected), assigned.leaks.facts())
    return Report.of(
        root,
        read_index(root),
        not_tried=not_tried([*scanned.not_tried, *(compressed(root) if names is None else [])]),
        seconds=time.monotonic() - start,
    )


def check_root(root: Path) -> None:
    """Raises ValueError where the folder is missing, its table is made by another command, or the table would
    replace somebody's file.
    """
    needed = "Name the folder that holds the .tar shards."
    check_folder(root, missing=needed, needed=needed)
    if (root / ".prepare").is_dir():
        raise ValueError(
            f"{root}: `dfd prepare` was stopped before the end. Run the same command again: it makes the "
            "table itself."
        )
    if made_by(root).get("command") in ("prepare", "match"):
        raise ValueError(
            f"{root} was made by `dfd prepare`, which wrote its table: use it as it is. If it is damaged, "
            f"copy it again, or `{remake(root)}` makes it again from the source."
        )
    refuse_somebodys_file(root)


def find_tars(root: Path, names: Sequence[str] | None) -> list[Path]:
    """The shards of these names, or all of them by name.

    Raises:
        ValueError: one of them is missing, is no file, or has a name that no table may hold; or there
            are none.
    """
    if names is None:
        # also those of Windows, whose suffix may be in capitals; macOS's "._train.tar" is none
        paths = sorted(path for path in root.iterdir() if path.suffix.lower() == ".tar")
        paths = [path for path in paths if not is_hidden(path.name)]
    else:
        paths = [root / name for name in names]
    if names and (missing := [path for path in paths if not os.path.lexists(path)]):
        raise ValueError(
            f"{missing[0]} is not there ({len(missing)} of {len(paths)} shards are missing). Correct the "
            "pattern."
        )
    for path in paths:
        # asked before the work, not by whoever reads the table that comes of it
        if not is_shard_name(path.name):
            raise ValueError(f"{path}: no name for a shard. Rename it: {_rename(path)}")
        if not path.is_file():
            raise ValueError(
                f"{path} is no file (a folder, a pipe, or a link that leads nowhere). Move it away."
            )
    if paths:
        return paths
    packed = next(iter(compressed(root)), "")
    cure = f"Unpack {packed} and its like (gunzip, unxz, unzstd): compressed tars have no offsets."
    raise ValueError(f"{root}: no .tar shards. {cure if packed else 'Name their folder.'}")


def compressed(root: Path) -> list[str]:
    """Names of the compressed tars of a folder, which are not read."""
    return sorted(path.name for path in root.iterdir() if _COMPRESSED.search(path.name))


def _rename(path: Path) -> str:
    """The command that gives a shard a name that a table may hold."""
    stem = re.sub(r"[^\w.+@=-]+", "-", path.stem).strip("-.")[:200] or "shard"
    quoted = shlex.quote(path.name)
    if not path.name.isprintable():
        # $'...' of bash takes bytes by their numbers
        quoted = f"$'{''.join(f'{chr(92)}x{byte:02x}' for byte in os.fsencode(path.name))}'"
    return f"(cd {shlex.quote(str(path.parent))} && mv -- {quoted} {shlex.quote(stem + '.tar')})"


def scan(paths: Sequence[Path], processes: int) -> Scanned:
    """Reads every tar once."""
    tables, rejects, not_tried, shards, labels, unused = [], [], [], [], Counter(), {}
    with (
        ProcessPool(min(processes, len(paths)), "dfd.prepare.scan") as pool,
        progress(len(paths), "indexing shards") as advance,
    ):
        for one in pool.run(scan_shard, paths):
            tables.append(pa.Table.from_pylist(one.rows, _FOUND))
            rejects += one.rejects
            not_tried += one.not_tried
            shards.append(one.shard)
            labels += one.labels
            unused |= one.unused
            advance(1)
    table = pa.concat_tables(tables).sort_by([("shard", "ascending"), ("offset", "ascending")])
    return Scanned(table, rejects, not_tried, shards, labels, unused)


def report_unused(root: Path, scanned: Scanned) -> None:
    """Names the keys of the json that are not used, and the key `group` where no sample has any."""
    if not scanned.unused:
        return
    grouped = pc.any(pc.greater(pc.list_value_length(scanned.table["groups"]), 0)).as_py()
    hint = "" if grouped else " Name in the key group what belongs together, such as a person or a video."
    names = printable(", ".join(scanned.unused))
    _log.info("%s: keys of the json that are not used: %.300s.%s", root, names, hint)


def with_unique_keys(table: pa.Table) -> pa.Table:
    """The table with the shard's name before each key, where shards count their samples from 0 each.

    Raises:
        ValueError: two shards have names that are one in a key.
    """
    if len(pc.unique(table["key"])) == len(table):
        return table
    stems = [Path(shard).stem.replace(".", "_") for shard in table["shard"].to_pylist()]
    keys = [f"{stem}/{key}" for stem, key in zip(stems, table["key"].to_pylist(), strict=True)]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} keys come twice, first {twice[0]}: the names of two shards differ in a dot only. "
            "Rename one of them."
        )
    return table.set_column(0, "key", pa.array(keys))


def as_kept(shards: Sequence[Shard], table: pa.Table) -> list[Shard]:
    """The shards with their split, "mixed" where they hold several, and the number of samples that stay."""
    found = table.group_by("shard").aggregate([("split", "min"), ("split", "max"), ("key", "count")])
    by_name = {line["shard"]: line for line in found.to_pylist()}
    kept = []
    for shard in shards:
        line = by_name.get(shard.name, {"split_min": "", "split_max": "", "key_count": 0})
        split = line["split_min"] if line["split_min"] == line["split_max"] else "mixed"
        kept.append(replace(shard, split=split, images=line["key_count"]))
    return kept
