"""`dfd prepare`: a source of pictures becomes shards.

    finished? -> plan -> [cut faces] -> inspect (read, check, hash) -> assign families and splits -> write
    shards -> close (samples.parquet, index.json)

Cutting, inspecting and writing are passes over all cores. What is finished of each lies in OUT/.prepare,
written atomically, so a run that was killed goes on where it stopped. The table and index.json come last:
without them nothing trusts the folder. A lock keeps a second run out.
"""

import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dfd import __version__
from dfd.batch import LABELS
from dfd.durable import folder_if_used
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.assign import assign, without_contradictions
from dfd.prepare.changes import keep_sources
from dfd.prepare.checks import MAX_REJECTED, Rejected, check_leaks, check_max_rejected, check_usable
from dfd.prepare.cut import FACES, Cutting, cut_faces, cut_pass, cutting_of, num_pieces
from dfd.prepare.face_crops import sample_faces
from dfd.prepare.finished import report_finished
from dfd.prepare.job_array import ArrayTask, check_tasks, finish_task
from dfd.prepare.lock import exclusive
from dfd.prepare.masks import num_unmasked_fakes
from dfd.prepare.output import (
    check_folders,
    check_free,
    check_space,
    forgotten_if_refused,
    make_way,
    note_shards,
    store_plan,
)
from dfd.prepare.passes import STATE, inspect_pass, inspect_pieces, refused, with_shards, write_pass
from dfd.prepare.readers import recognise
from dfd.prepare.readers.class_names import NO_NAMES, ClassNames
from dfd.prepare.report import Report, num_misnamed
from dfd.prepare.source import Source
from dfd.prepare.stamps import STAMPS, keep_stamps
from dfd.shards.cue_table import CueNames
from dfd.shards.format import INDEX, SHARD_BYTES
from dfd.shards.rejects import Reject, write_rejects
from dfd.shards.table import read_index
from dfd.shards.writer import write_contents

_log = logging.getLogger(__name__)


class Pictures(NamedTuple):
    """What goes into the shards: the files of a source as they are, or faces that were cut out of them."""

    root: str  # folder that the plan's paths start at
    plan: pa.Table  # PLAN
    rejected: Rejected


def prepare(
    path: Path,
    out: Path,
    reader: str | None = None,
    *,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    allow_leaks: bool = False,
    frames: int | None = None,
    margin: float | None = None,
    faces: Path | None = None,
    array_task: ArrayTask | None = None,
    merge: bool = False,
    class_names: ClassNames = NO_NAMES,
    root: Path | None = None,
    max_rejected: float = MAX_REJECTED,
    cues: bool = False,
) -> Report | str:
    """Makes shards of a source; goes on where an interrupted run stopped; leaves finished shards of the same
    source alone.

    A large source is shared out over a job array: each task does a part of the slow work, which is to cut and
    to inspect, and `merge` then makes the shards. Tasks and merging are the same run, interrupted: whatever
    is done is not done again.

    Args:
        path: the source, a folder of pictures in a layout that a reader knows, or a CSV or JSON Lines file.
            It is only ever read.
        out: folder for the shards.
        reader: a built-in reader's name or "package.module:function"; None recognises the layout.
        workers: processes; None takes every core.
        shard_bytes: a shard's size, about.
        overwrite: replace the shards that `out` holds.
        allow_leaks: keep official splits even if families cross them.
        frames: of each video, spread evenly; needed where the source holds videos.
        margin: of faces that are cut out, as a multiple of the longer side of the face's box; None takes 1.3.
        faces: YuNet's .onnx file; None looks for it as `find_weights` does.
        array_task: do this task's part alone, make no shards, and return a sentence that says so.
        merge: refuse unless all tasks are finished.
        class_names: what the source calls its classes, besides real and fake.
        root: folder that the paths of a table start at, and lie in; None takes the table's own.
        max_rejected: the share of the source's files that may be rejected, from 0 to below 1.
        cues: measure the forensic cues of every picture, and store them in the table.

    Raises:
        ValueError: what is wrong with the source or the arguments; the source changed since the shards were
            finished; another process writes to `out`.
        OSError: unwritable folder or full disk, in words.
    """
    path, out, start = Path(path), Path(out), time.monotonic()
    names = _cue_names() if cues else None
    processes = num_processes(workers)
    check_max_rejected(max_rejected)
    check_folders(path, out, root)
    if (out / INDEX).is_file() and not overwrite:
        return report_finished(
            path,
            out,
            reader,
            frames=frames,
            margin=margin,
            class_names=class_names,
            root=root,
            cues=cues,
        )
    check_free(out)
    with folder_if_used(out), exclusive(out, shared=array_task is not None):
        source = Source(path, reader or recognise(path, class_names), class_names, root)
        how = "" if reader else ", recognised by its layout"
        _log.info("%s: read as %s%s", path, source.reader, how)
        plan, rejects = source.plan(videos=frames is not None)
        if not len(plan):
            raise ValueError(f"{path}: no picture found by the reader {source.reader}{_first(rejects)}.")
        cutting = cutting_of(plan, frames, margin, faces)
        if merge:
            check_tasks(out / STATE)
        make_way(out, overwrite, tidy=array_task is None)
        settings = {"dfd": __version__, "reader": source.reader, "shard_bytes": str(shard_bytes)}
        settings |= {name: json.dumps(value) for name, value in source.facts().items()}
        if names:
            settings["cues"] = f"version {names.version}"
        store_plan(plan, out, settings | (cutting.settings() if cutting else {}), overwrite)

        if not cutting:
            keep_stamps(source.root, plan, out / STATE / STAMPS)
        # a process takes as long to start as dozens of pictures
        processes = min(processes, num_pieces(plan) if cutting else -(-len(plan) // 64))
        slowest = "dfd.prepare.cut.cut_pass" if cutting else "dfd.prepare.passes"
        forgets = array_task is None and not cutting
        with forgotten_if_refused(out, forgets), ProcessPool(processes, slowest) as pool:
            if array_task is not None:
                return _run_task(source.root, out, plan, cutting, array_task=array_task, pool=pool, cues=cues)
            if cutting:
                pictures = _cut(source, out, plan, rejects, cutting=cutting, pool=pool)
            else:
                pictures = Pictures(source.root, plan, Rejected(rejects))
            inspected = inspect_pass(pictures.root, out, pictures.plan, pool, cues=cues)
            usable = inspected.filter(pc.equal(inspected["reason"], ""))
            table, contradictory = without_contradictions(usable)
            rejected = pictures.rejected.and_pictures([*refused(inspected), *contradictory])
            write_rejects(out, rejected.lines())
            check_usable(
                path,
                table,
                rejected,
                stated=[LABELS[label] for label in pc.unique(plan["label"]).to_pylist()],
                max_rejected=max_rejected,
                why=source.why_missing,
            )
            assigned = assign(table)
            check_leaks(path, assigned.leaks, allow_leaks)
            table = with_shards(assigned.table, shard_bytes)
            check_space(out, table)
            note_shards(out, pc.unique(table["shard"]).to_pylist())
            table, shards = write_pass(pictures.root, out, table, pool)
        face_sample = "" if cutting else str(sample_faces(source.root, table, faces))

        made_by = {
            "command": "prepare",
            "source": str(path.resolve()),
            "reader": source.reader,
            "shard_bytes": shard_bytes,
            "allow_leaks": allow_leaks,
            **source.facts(),
            **assigned.facts(),
        }
        if cutting:
            keep_sources(source.root, plan, out)
            made_by["cut"] = cutting.facts() | {"left_out": len(rejected.left_out)}
        else:
            os.replace(out / STATE / STAMPS, out / STAMPS)
        write_contents(out, table, shards, made_by, len(rejected), assigned.leaks.facts(), names)
        shutil.rmtree(out / STATE, ignore_errors=True)
    return Report.of(
        out,
        read_index(out),
        misnamed=num_misnamed(table),
        unmasked_fakes=num_unmasked_fakes(table),
        not_tried=source.not_tried(),
        face_sample=face_sample,
        seconds=time.monotonic() - start,
    )


def _cue_names() -> CueNames:
    from dfd.forensics.cues import CUES, CUES_VERSION  # SciPy, which nothing else here needs

    return CueNames(CUES_VERSION, CUES)


def _run_task(
    root: str,
    out: Path,
    plan: pa.Table,
    cutting: Cutting | None,
    *,
    array_task: ArrayTask,
    pool: ProcessPool,
    cues: bool,
) -> str:
    """A task of a job array: cuts or inspects its part."""
    if cutting:
        cut_pass(root, out / STATE, plan, cutting, pool=pool, array_task=array_task)
    else:
        inspect_pieces(root, out, plan, pool, array_task, cues=cues)
    finish_task(out / STATE, array_task)
    return (
        f"{out}: part {array_task} is finished. When all are: the same command with --merge in place of "
        f"--task {array_task}."
    )


def _cut(
    source: Source,
    out: Path,
    plan: pa.Table,
    rejects: list[Reject],
    *,
    cutting: Cutting,
    pool: ProcessPool,
) -> Pictures:
    """The faces of the files of a plan, cut out where they are not there yet."""
    cut_pass(source.root, out / STATE, plan, cutting, pool=pool)
    faces, faults, left_out = cut_faces(source.path, out / STATE, plan)
    num_files = len(rejects) + len(pc.unique(plan["path"]))
    rejected = Rejected([], files=rejects + faults, left_out=left_out, num_files=num_files)
    return Pictures(str((out / STATE / FACES).resolve()), faces, rejected)


def _first(rejects: list[Reject]) -> str:
    return f"; {len(rejects)} were rejected, first {rejects[0].path}: {rejects[0].reason}" if rejects else ""
