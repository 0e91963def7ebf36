"""Changes of a source since shards were made of it: files added, removed, changed, with an example each."""

import os
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.durable import atomic_write
from dfd.prepare.assign import without_contradictions
from dfd.prepare.inspect import inspect_file
from dfd.prepare.manifest import PLAN
from dfd.prepare.masks import without_black_masks
from dfd.prepare.stamps import STAMPS, changed_bytes
from dfd.shards.rejects import Reject, as_listed, read_rejects
from dfd.shards.table import load_table, read_index

SOURCES = "sources.parquet"  # beside shards of faces that were cut: what they were cut from
# of a plan and of a table alike
_FACTS = ["path", "label", "groups", "split", "source", "method", "length", "mask_length"]


def plan_changes(plan: pa.Table, path: Path, settings: Mapping[str, str]) -> str:
    """How a plan differs from the one that an interrupted run stored at `path`; "" where it does not, or none
    is stored.
    """
    if not path.is_file():
        return ""
    stored = pq.read_table(path)
    before = {name.decode(): value.decode() for name, value in (stored.schema.metadata or {}).items()}
    if changed := [
        f"{name} was {before.get(name)}, is {settings[name]}"
        for name in settings
        if before.get(name) != settings[name]
    ]:
        return "; ".join(changed)
    then, now = (set(table["path"].to_pylist()) for table in (stored, plan))
    return _counts(
        added=sorted(now - then), removed=sorted(then - now), changed=_changed(stored.cast(PLAN), plan)
    )


def source_changes(root: str, plan: pa.Table, rejects: Sequence[Reject], out: Path) -> str:
    """How a source differs from the finished shards in `out`; "" where it does not.

    A picture is taken as unchanged if its bytes and what its layout says of it are; its stamp says whether
    its bytes have to be read (`changed_bytes`). Of a video, and of a mask, the size is compared. Rejected
    files are inspected again.

    Args:
        root: real path of the folder that the plan's paths start at.
    """
    if (out / SOURCES).is_file():
        before, now = pq.read_table(out / SOURCES), _as_sources(root, plan)
        then, here = (set(lines["path"].to_pylist()) for lines in (before, now))
        strange = {as_listed(reject.path) for reject in rejects} - set(read_rejects(out))
        return _counts(
            added=sorted((here - then) | strange), removed=sorted(then - here), changed=_changed(before, now)
        )
    table, rejected = load_table(out), set(read_rejects(out))
    again = pc.is_in(plan["path"], value_set=pa.array(sorted(rejected), pa.string()))
    before = _as_stated(without_black_masks(table, plan), read_index(out)["made_by"])
    here = _with_sizes(root, plan.filter(pc.invert(again)), before)
    suspects = plan.filter(again)
    refused = {as_listed(reject.path) for reject in rejects}
    then, now = (set(lines["path"].to_pylist()) for lines in (table, here))
    return _counts(
        added=sorted((now | refused) - then - rejected),
        removed=sorted((then - now) | (rejected - refused - set(suspects["path"].to_pylist()))),
        changed=_changed(before, here)
        or [f"{path}: its bytes" for path in changed_bytes(root, table, out / STAMPS)],
        mended=_usable(root, suspects),
    )


def keep_sources(root: str, plan: pa.Table, out: Path) -> None:
    """Stores what faces were cut from, as it is now."""
    with atomic_write(out / SOURCES) as temporary:
        pq.write_table(_as_sources(root, plan), temporary, compression="zstd")


def _as_sources(root: str, plan: pa.Table) -> pa.Table:
    """A plan's lines with the sizes of their files, and with paths that name each face of a picture apart."""
    for name, of in (("length", "path"), ("mask_length", "mask")):
        plan = plan.append_column(
            name, pa.array([_size(root, path) for path in plan[of].to_pylist()], pa.int64())
        )
    plan = plan.filter(pc.is_valid(plan["length"]))
    path = pc.if_else(
        pc.is_valid(plan["face"]), pc.binary_join_element_wise(plan["path"], plan["key"], " "), plan["path"]
    )
    return plan.set_column(plan.column_names.index("path"), "path", path)


def _counts(added: list[str], removed: list[str], changed: list[str], mended: Sequence[str] = ()) -> str:
    kinds = {"added": added, "removed": removed, "changed": changed, "rejected then and usable now": mended}
    return ", ".join(f"{len(paths)} {kind} (first {paths[0]})" for kind, paths in kinds.items() if paths)


def _changed(before: pa.Table, after: pa.Table) -> list[str]:
    """Paths in both tables whose lines differ; the first with how."""
    at = pc.index_in(after["path"], value_set=before["path"].combine_chunks())
    now, then = after.filter(pc.is_valid(at)), before.take(at.drop_null())
    names = [name for name in after.column_names if name in before.column_names]
    differ = reduce(pc.or_, (pc.not_equal(_as_text(then[name]), _as_text(now[name])) for name in names))
    then, now = then.filter(differ).sort_by("path"), now.filter(differ).sort_by("path")
    paths = now["path"].to_pylist()
    if not paths:
        return []
    was, is_ = then.slice(0, 1).to_pylist()[0], now.slice(0, 1).to_pylist()[0]
    facts = ", ".join(
        f"{name} was {was[name]!r}, is {is_[name]!r}" for name in names if was[name] != is_[name]
    )
    return [f"{paths[0]}: {facts}", *paths[1:]]


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        return pc.binary_join(column, ";")
    return pc.fill_null(column.cast(pa.string()), "")


def _as_stated(table: pa.Table, made_by: Mapping[str, Any]) -> pa.Table:
    """The table as the source had it before a tenth of its training families became val."""
    split = table["split"].cast(pa.string())
    if made_by.get("splits_from", {}).get("val") == "train":
        split = pc.if_else(pc.equal(split, "val"), "train", split)
    return table.select(_FACTS).set_column(_FACTS.index("split"), "split", split)


def _with_sizes(root: str, plan: pa.Table, before: pa.Table) -> pa.Table:
    """The rows of a plan whose files are there, with their sizes, and where no split is stated with the one
    from before.
    """
    for name, of in (("length", "path"), ("mask_length", "mask")):
        plan = plan.append_column(
            name, pa.array([_size(root, path) for path in plan[of].to_pylist()], pa.int64())
        )
    plan = plan.filter(pc.is_valid(plan["length"])).select(_FACTS)
    at = pc.index_in(plan["path"], value_set=before["path"].combine_chunks())
    split = pc.coalesce(plan["split"], before["split"].take(at))
    return plan.set_column(_FACTS.index("split"), "split", split)


def _size(root: str, path: str | None) -> int | None:
    if path is None:
        return 0
    try:
        return os.stat(os.path.join(root, path)).st_size
    except OSError:
        return None


def _usable(root: str, suspects: pa.Table) -> list[str]:
    """Of files that were rejected, those that would not be today."""
    found = [inspect_file(root, row["path"], row["mask"]) for row in suspects.to_pylist()]
    table = suspects.append_column("sha256", pa.array([info.sha256 for info in found], pa.string()))
    table, _ = without_contradictions(table.filter(pa.array([not info.reason for info in found], pa.bool_())))
    return sorted(table["path"].to_pylist())
