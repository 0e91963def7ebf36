"""`dfd prepare`: a source of pictures becomes shards.

    rows -> plan [-> faces cut of videos and larger pictures] -> look (read, check, hash; parallel) ->
    families, splits -> shards (parallel) -> table, index

What is finished of each step lies in OUT/.prepare, written atomically, so a run that was killed goes on where
it stopped. The table and index.json come last: without them nothing trusts the folder. A lock keeps a second
run out.
"""

import errno
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dfd import __version__
from dfd.durable import TEMPORARY, explain_os_error, folder_if_used
from dfd.parallel import ProcessPool, num_processes
from dfd.prepare.assign import Assigned, assign
from dfd.prepare.changes import SOURCES, keep_sources, plan_changes, source_changes
from dfd.prepare.cut import FACES, Cutting, cut_faces, cut_pass, cutting_of, num_pieces
from dfd.prepare.job_array import ArrayTask, check_tasks, finish_task
from dfd.prepare.lock import LOCK, exclusive
from dfd.prepare.manifest import keep_plan, make_plan
from dfd.prepare.masks import num_unmasked_fakes
from dfd.prepare.passes import STATE, inspect_pass, inspect_pieces, with_shards, write_pass
from dfd.prepare.readers import BUILT_IN, Reject, find_reader, recognise
from dfd.prepare.readers.walk import not_tried, passed_over
from dfd.prepare.report import SUFFIXES, Report
from dfd.shards.format import INDEX, SAMPLES_FILE, SHARD_BYTES, Shard
from dfd.shards.rejects import REJECTED
from dfd.shards.splits import SPLITS
from dfd.shards.table import made_by, read_index
from dfd.shards.writer import write_contents

_log = logging.getLogger(__name__)


def prepare(
    source: Path,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    allow_leaks: bool = False,
    frames: int | None = None,
    margin: float | None = None,
    faces: Path | None = None,
    part: ArrayTask | None = None,
    merge: bool = False,
) -> Report | str:
    """Makes shards of a source; goes on where an interrupted run stopped; leaves finished shards of the same
    source alone.

    A large source is shared out over a job array: each task does a `part` of the slow work, which is to cut
    and to look, and `merge` then makes the shards. Parts and merging are the same run, interrupted: whatever
    is done is not done again.

    Args:
        source: a folder of pictures in a layout that a reader knows, or a CSV or JSON Lines file. It is only
            ever read.
        out: folder for the shards.
        reader: a built-in reader's name or "package.module:function"; None recognises the layout.
        workers: processes; None takes every core.
        shard_bytes: a shard's size, about.
        overwrite: replace the shards that `out` holds.
        allow_leaks: keep official splits even if families cross them.
        frames: of each video, spread evenly; needed where the source holds videos.
        margin: of faces that are cut out, as a multiple of the longer side of the face's box; None takes 1.3.
        faces: YuNet's .onnx file; None looks for it as `find_weights` does.
        part: do this part alone, make no shards, and return a word on it.
        merge: refuse unless all parts are finished.

    Raises:
        ValueError: what is wrong with the source or the arguments; the source changed since the shards were
            finished; another process writes to `out`.
        OSError: unwritable folder or full disk, in words.
    """
    source, out, start = Path(source), Path(out), time.monotonic()
    processes = num_processes(workers)
    _check_folders(source, out)
    if (out / INDEX).is_file() and not overwrite:
        return _finished(source, out, reader, frames, margin)
    _check_free(out)
    with folder_if_used(out), exclusive(out, shared=part is not None):
        name = reader or recognise(source)
        _log.info("%s: read as %s%s", source, name, "" if reader else ", recognised by its layout")
        plan, rejects = _read(source, name, frames)
        if not len(plan):
            raise ValueError(f"{source}: no picture found by the reader {name}{_first(rejects)}.")
        cutting = cutting_of(plan, frames, margin, faces)
        if merge:
            check_tasks(out / STATE)
        _make_way(out, overwrite, tidy=part is None)
        settings = {"dfd": __version__, "reader": name, "shard_bytes": str(shard_bytes)}
        _keep(plan, out, settings | (cutting.settings() if cutting else {}), overwrite)
        # a process takes as long to start as dozens of pictures
        processes = min(processes, num_pieces(plan) if cutting else -(-len(plan) // 64))
        try:
            with ProcessPool(
                processes, "dfd.prepare.cut.cut_pass" if cutting else "dfd.prepare.passes"
            ) as pool:
                if part is not None:
                    return _run_task(source, out, plan, cutting, part, pool)
                assigned, table, shards = _make(
                    source, out, plan, rejects, cutting, shard_bytes, allow_leaks, pool
                )
        except ValueError:
            if (
                not cutting and part is None
            ):  # the answer is to mend the source, and then what was seen of it is stale
                _clear(out)
                shutil.rmtree(out / STATE)
            raise
        facts = {
            "command": "prepare",
            "source": str(source.resolve()),
            "reader": name,
            "shard_bytes": shard_bytes,
            "allow_leaks": allow_leaks,
            **assigned.facts(),
        }
        if cutting:
            keep_sources(_root(source), plan, out)
            facts["cut"] = {
                "frames": cutting.frames,
                "margin": cutting.margin,
                "left_out": assigned.num_left_out,
            }
        write_contents(out, table, shards, facts, assigned.num_rejected, assigned.leaks.facts())
        shutil.rmtree(out / STATE, ignore_errors=True)
    seconds = time.monotonic() - start
    return Report.of(
        out,
        read_index(out),
        misnamed=_misnamed(table),
        unmasked_fakes=num_unmasked_fakes(table),
        not_tried=_not_tried(source, name),
        seconds=seconds,
    )


def _run_task(
    source: Path, out: Path, plan: pa.Table, cutting: Cutting | None, part: ArrayTask, pool: ProcessPool
) -> str:
    if cutting:
        cut_pass(_root(source), out / STATE, plan, cutting, pool, part)
    else:
        inspect_pieces(_root(source), out, plan, pool, part)
    finish_task(out / STATE, part)
    return f"{out}: part {part} is finished. When all are: the same command with --merge in place of --shard {part}."


def _check_folders(source: Path, out: Path) -> None:
    if not source.exists():
        raise ValueError(
            f"{source}: no such folder. Name the folder that holds the pictures, or a CSV or JSON Lines file "
            "that lists them."
        )
    if source.is_dir() and not any(source.iterdir()):
        raise ValueError(f"{source} is empty. Name the folder that holds the pictures.")
    if made_by(source) and (source / SAMPLES_FILE).is_file():
        raise ValueError(
            f"{source} holds finished shards already: dfd fit takes them as they are (--data.roots). Did you "
            "mean --match? "
            "For a second set of them, all cut and encoded alike, add --match jpeg=90,size=224."
        )
    inner, outer = out.resolve(), (source if source.is_dir() else source.parent).resolve()
    if inner == outer or (source.is_dir() and outer in inner.parents) or inner in outer.parents:
        raise ValueError(
            f"{out} and {source} lie inside one another. Choose an --out beside the source: sources are "
            "never touched."
        )


def _finished(
    source: Path, out: Path, reader: str | None, frames: int | None, margin: float | None
) -> Report:
    index = read_index(out)
    made = index["made_by"]
    if made.get("command") != "prepare" or Path(made["source"]).name != source.resolve().name:
        told = repr(Path(made["source"]).name) if "source" in made else f"`dfd {made.get('command')}`"
        raise ValueError(
            f"{out} holds finished shards of {told}, not of {source.resolve().name!r}. Choose another --out."
        )
    cut = made.get("cut")
    plan, rejects = _read(source, reader or made["reader"], cut and cut["frames"])
    if cut and (frames, margin or 1.3) != (cut["frames"], cut["margin"]):
        raise ValueError(
            f"{out} holds finished shards of {cut['frames'] or 'no'} frames a video at margin "
            f"{cut['margin']:g}. Choose "
            "another --out, or --overwrite."
        )
    if changes := source_changes(_root(source), plan, rejects, out):
        raise ValueError(
            f"{out} holds finished shards, and since then {source} changed: {changes}. Nothing was done. "
            "--overwrite makes the shards again; another --out makes new ones beside them."
        )
    shutil.rmtree(out / STATE, ignore_errors=True)
    return Report.of(out, index, not_tried=_not_tried(source, reader or made["reader"]), already=True)


def _read(source: Path, reader: str, frames: int | None) -> tuple[pa.Table, list[Reject]]:
    name = source.resolve().stem if source.is_file() else source.resolve().name
    return make_plan(find_reader(reader, videos=frames is not None)(source), source_name=name)


def _not_tried(source: Path, reader: str) -> str:
    """Where a reader walks through folders, what it passed over; a table, or a reader of one's own, names
    what is wanted.
    """
    walks = reader in BUILT_IN and reader != "table"
    return not_tried(list(passed_over(source))) if walks else ""


def _root(source: Path) -> str:
    return str(source.resolve().parent if source.is_file() else source.resolve())


def _check_free(out: Path) -> None:
    """Raises ValueError where the folder holds what `prepare` did not write."""
    if not out.is_dir() or (out / STATE).is_dir() or made_by(out).get("command") == "prepare":
        return
    strange = sorted(path.name for path in out.iterdir() if path.name not in (REJECTED, LOCK))
    if strange:
        raise ValueError(
            f"{out} is not empty and holds no shards of `dfd prepare` ({strange[0]} and so on). Choose "
            "another --out."
        )


def _make_way(out: Path, overwrite: bool, tidy: bool) -> None:
    """Makes `out` ready to be written: without finished shards, where they are to go, and if `tidy` without
    old leavings.
    """
    finished = (out / INDEX).is_file()
    if finished and not overwrite:
        raise ValueError(
            f"another dfd prepare has just finished {out}. Run the same command again: it checks what is "
            "there."
        )
    (out / STATE).mkdir(
        exist_ok=True
    )  # before anything goes: it marks the folder as ours, should we be killed here
    if finished:
        _clear(out)
    for leaving in [] if not tidy else [*out.glob(f"*{TEMPORARY}*"), *(out / STATE).glob(f"*{TEMPORARY}*")]:
        leaving.unlink()


def _keep(plan: pa.Table, out: Path, settings: dict[str, str], overwrite: bool) -> None:
    """Stores the plan, or goes on with the same one that an interrupted run has stored."""
    path = out / STATE / "plan.parquet"
    if changes := plan_changes(plan, path, settings):
        if not overwrite:
            raise ValueError(
                f"{out} holds an interrupted `dfd prepare`, and since then the source or the options "
                f"changed: {changes}. "
                "Start again with --overwrite, or choose another --out."
            )
        _clear(out)
    keep_plan(plan, path, settings)


def _make(
    source: Path,
    out: Path,
    plan: pa.Table,
    rejects: list[Reject],
    cutting: Cutting | None,
    shard_bytes: int,
    allow_leaks: bool,
    pool: ProcessPool,
) -> tuple[Assigned, pa.Table, list[Shard]]:
    """From the plan to the shards and their table."""
    root, about_files = _root(source), {}
    if cutting:
        cut_pass(root, out / STATE, plan, cutting, pool)
        num_files = len(rejects) + len(pc.unique(plan["path"]))
        plan, faults, left_out = cut_faces(source, out / STATE, plan)
        about_files = {"left_out": left_out, "lost": rejects + faults, "num_files": num_files}
        root, rejects = str((out / STATE / FACES).resolve()), []
    table = inspect_pass(root, out, plan, pool)
    unread = table.filter(pc.not_equal(table["reason"], "")).select(["path", "reason"]).to_pylist()
    rejects = rejects + [Reject(**line) for line in unread]
    assigned = assign(
        source, out, table.filter(pc.equal(table["reason"], "")), rejects, allow_leaks, **about_files
    )
    table = with_shards(assigned.table, shard_bytes)
    _check_space(out, table)
    return assigned, *write_pass(root, out, table, pool)


def _clear(out: Path) -> None:
    """Removes what runs of `prepare` wrote, index.json first: from then on nothing trusts the rest."""
    shards = [path for split in SPLITS for path in out.glob(f"{split}-*.tar")]
    shutil.rmtree(out / STATE / FACES, ignore_errors=True)
    for path in [out / INDEX, out / SAMPLES_FILE, out / SOURCES, *(out / STATE).iterdir(), *shards]:
        path.unlink(missing_ok=True)


def _first(rejects: Sequence[Reject]) -> str:
    return f"; {len(rejects)} were rejected, first {rejects[0].path}: {rejects[0].reason}" if rejects else ""


def _check_space(out: Path, table: pa.Table) -> None:
    needed = pc.sum(table["length"]).as_py() + pc.sum(table["mask_length"]).as_py() + 2048 * len(table)
    present = sum(path.stat().st_size for split in SPLITS for path in out.glob(f"{split}-*.tar"))
    if needed - present > (free := shutil.disk_usage(out).free):
        error = OSError(errno.ENOSPC, "")
        error.strerror = f"{(needed - present) / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise explain_os_error(error, out)


def _misnamed(table: pa.Table) -> int:
    """Files whose name claims another format than their bytes have."""
    pairs = Counter(
        zip(
            (Path(path).suffix.lower() for path in table["path"].to_pylist()),
            table["format"].to_pylist(),
            strict=True,
        )
    )
    return sum(count for (suffix, name), count in pairs.items() if suffix and suffix not in SUFFIXES[name])
