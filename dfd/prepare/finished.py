"""Finished shards that `dfd prepare` meets in its output: unchanged since, or what changed in the source."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfd.prepare.changes import source_changes
from dfd.prepare.cut import MARGIN
from dfd.prepare.passes import STATE
from dfd.prepare.readers.class_names import ClassNames
from dfd.prepare.report import Report
from dfd.prepare.source import Source
from dfd.shards.table import read_index
from dfd.shards.validate import COLUMN


def report_finished(
    path: Path,
    out: Path,
    reader: str | None,
    *,
    frames: int | None,
    margin: float | None,
    class_names: ClassNames,
    root: Path | None,
    cues: bool = False,
) -> Report:
    """What the finished shards in `out` hold, where they are those of the source at `path` as it is now.

    Raises:
        ValueError: they are of another source or of other options, or the source changed.
    """
    index = read_index(out)
    made = index["made_by"]
    if made.get("command") != "prepare" or Path(made["source"]).name != path.resolve().name:
        maker = repr(Path(made["source"]).name) if "source" in made else f"`dfd {made.get('command')}`"
        raise ValueError(
            f"{out} holds finished shards of {maker}, not of {path.resolve().name!r}. Choose another --out."
        )
    class_names = class_names or _class_names(made)
    if root is None and isinstance(made.get("root"), str):
        root = Path(made["root"])
    source = Source(path, reader or made["reader"], class_names, root)
    cut = made.get("cut")
    plan, rejects = source.plan(videos=bool(cut) and cut["frames"] is not None)
    if cut and (frames, margin or MARGIN) != (cut["frames"], cut["margin"]):
        raise ValueError(
            f"{out} holds finished shards of {cut['frames'] or 'no'} frames a video at margin "
            f"{cut['margin']:g}. Choose another --out, or --overwrite."
        )
    if changes := source_changes(source.root, plan, rejects, out):
        raise ValueError(
            f"{out} holds finished shards, and since then {path} changed: {changes}. Nothing was done. "
            "--overwrite makes the shards again; another --out makes new ones beside them."
        )
    if cues and COLUMN not in index:
        raise ValueError(
            f"{out} holds finished shards of {path} without cues. `dfd cues {shlex.quote(str(out))}` adds "
            "them."
        )
    shutil.rmtree(out / STATE, ignore_errors=True)
    return Report.of(out, index, not_tried=source.not_tried(), already=True)


def _class_names(made: Mapping[str, Any]) -> ClassNames:
    """The names of the classes that the shards were made with."""
    told = made.get("class_names")
    names = [told.get(title, []) for title in ("real", "fake")] if isinstance(told, dict) else [[], []]
    return ClassNames(*(tuple(map(str, each)) if isinstance(each, list) else () for each in names))
