"""`dfd prepare`: a source of pictures becomes shards.

    rows -> plan -> look (read, check, hash; parallel) -> families, splits -> shards (parallel) -> table, index

What is finished of each step lies in OUT/.prepare, written atomically, so a run that was killed goes on where it stopped. The
table and index.json come last: without them nothing trusts the folder. A lock keeps a second run out.
"""

import errno
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dfd import __version__
from dfd.data.changes import plan_changes, source_changes
from dfd.data.lock import LOCK, alone
from dfd.data.plan import keep_plan, make_plan
from dfd.data.readers import Reject, find_reader, recognise
from dfd.data.report import REJECTED, SUFFIXES, Report
from dfd.data.rounds import STATE, look_round, with_shards, write_round
from dfd.data.settle import Settled, settle
from dfd.data.shards import INDEX, SHARD_BYTES, TABLE, Shard, made_by, read_index, write_contents
from dfd.data.splits import SPLITS
from dfd.data.workers import Workers, num_processes
from dfd.durable import PART, in_words, make_folder


def prepare(
    source: Path,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    allow_leaks: bool = False,
) -> Report:
    """Makes shards of a source; goes on where an interrupted run stopped; leaves finished shards of the same source alone.

    Args:
        source: a folder of pictures in a layout that a reader knows, or a CSV or JSON Lines file. It is only ever read.
        out: folder for the shards.
        reader: a built-in reader's name or "package.module:function"; None recognises the layout.
        workers: processes; None takes every core.
        shard_bytes: a shard's size, about.
        overwrite: replace the shards that `out` holds.
        allow_leaks: keep official splits even if families cross them.

    Raises:
        ValueError: what is wrong with the source or the arguments; the source changed since the shards were finished; another
            process writes to `out`.
        OSError: unwritable folder or full disk, in words.
    """
    source, out, start = Path(source), Path(out), time.monotonic()
    processes = num_processes(workers)
    _check_folders(source, out)
    if (out / INDEX).is_file() and not overwrite:
        return _finished(source, out, reader)
    _check_free(out)
    make_folder(out)
    with alone(out):
        name = reader or recognise(source)
        print(f"{source}: read as {name}" + ("" if reader else ", recognised by its layout"), file=sys.stderr)
        plan, rejects = _read(source, name)
        if not len(plan):
            raise ValueError(f"{source}: no picture found by the reader {name}{_first(rejects)}.")
        _make_way(out, overwrite)
        _keep(plan, out, {"dfd": __version__, "reader": name, "shard_bytes": str(shard_bytes)}, overwrite)
        processes = min(processes, -(-len(plan) // 64))  # a process takes as long to start as dozens of pictures
        try:
            with Workers(processes, "dfd.data.rounds") as crew:
                settled, table, shards = _make(source, out, plan, rejects, shard_bytes, allow_leaks, crew)
        except ValueError:
            _clear(out)  # the answer is to mend the source, and then what was seen of it is stale
            shutil.rmtree(out / STATE)
            raise
        facts = {
            "command": "prepare",
            "source": str(source.resolve()),
            "reader": name,
            "shard_bytes": shard_bytes,
            "allow_leaks": allow_leaks,
            "splits_from": settled.splits_from,
        }
        write_contents(out, table, shards, facts, settled.num_rejected, settled.leaks.facts())
        shutil.rmtree(out / STATE, ignore_errors=True)
    seconds = time.monotonic() - start
    return Report.of(out, read_index(out), misnamed=_misnamed(table), seconds=seconds)


def _check_folders(source: Path, out: Path) -> None:
    if not source.exists():
        raise ValueError(
            f"{source}: no such folder. Name the folder that holds the pictures, or a CSV or JSON Lines file that lists them."
        )
    if source.is_dir() and not any(source.iterdir()):
        raise ValueError(f"{source} is empty. Name the folder that holds the pictures.")
    inner, outer = out.resolve(), (source if source.is_dir() else source.parent).resolve()
    if inner == outer or (source.is_dir() and outer in inner.parents) or inner in outer.parents:
        raise ValueError(
            f"{out} and {source} lie inside one another. Choose an --out beside the source: sources are never touched."
        )


def _finished(source: Path, out: Path, reader: str | None) -> Report:
    index = read_index(out)
    made = index["made_by"]
    if made.get("command") != "prepare" or Path(made["source"]).name != source.resolve().name:
        told = repr(Path(made["source"]).name) if "source" in made else f"`dfd {made.get('command')}`"
        raise ValueError(f"{out} holds finished shards of {told}, not of {source.resolve().name!r}. Choose another --out.")
    plan, rejects = _read(source, reader or made["reader"])
    if changes := source_changes(_root(source), plan, rejects, out):
        raise ValueError(
            f"{out} holds finished shards, and since then {source} changed: {changes}. Nothing was done. "
            "--overwrite makes the shards again; another --out makes new ones beside them."
        )
    shutil.rmtree(out / STATE, ignore_errors=True)
    return Report.of(out, index, already=True)


def _read(source: Path, reader: str) -> tuple[pa.Table, list[Reject]]:
    name = source.resolve().stem if source.is_file() else source.resolve().name
    return make_plan(find_reader(reader)(source), source_name=name)


def _root(source: Path) -> str:
    return str(source.resolve().parent if source.is_file() else source.resolve())


def _check_free(out: Path) -> None:
    """Raises ValueError where the folder holds what `prepare` did not write."""
    if not out.is_dir() or (out / STATE).is_dir() or made_by(out).get("command") == "prepare":
        return
    strange = sorted(path.name for path in out.iterdir() if path.name not in (REJECTED, LOCK))
    if strange:
        raise ValueError(
            f"{out} is not empty and holds no shards of `dfd prepare` ({strange[0]} and so on). Choose another --out."
        )


def _make_way(out: Path, overwrite: bool) -> None:
    """Makes `out` ready to be written: without the leavings of killed runs, or of finished ones where they are to go."""
    finished = (out / INDEX).is_file()
    if finished and not overwrite:
        raise ValueError(f"another dfd prepare has just finished {out}. Run the same command again: it checks what is there.")
    (out / STATE).mkdir(exist_ok=True)  # before anything goes: it marks the folder as ours, should we be killed here
    if finished:
        _clear(out)
    for leaving in [*out.glob(f"*{PART}*"), *(out / STATE).glob(f"*{PART}*")]:
        leaving.unlink()


def _keep(plan: pa.Table, out: Path, settings: dict[str, str], overwrite: bool) -> None:
    """Stores the plan, or goes on with the same one that an interrupted run has stored."""
    path = out / STATE / "plan.parquet"
    if changes := plan_changes(plan, path, settings):
        if not overwrite:
            raise ValueError(
                f"{out} holds an interrupted `dfd prepare`, and since then the source or the options changed: {changes}. "
                "Start again with --overwrite, or choose another --out."
            )
        _clear(out)
    keep_plan(plan, path, settings)


def _make(
    source: Path, out: Path, plan: pa.Table, rejects: list[Reject], shard_bytes: int, allow_leaks: bool, crew: Workers
) -> tuple[Settled, pa.Table, list[Shard]]:
    """From the plan to the shards and their table."""
    root = _root(source)
    table = look_round(root, out, plan, crew)
    unread = table.filter(pc.not_equal(table["reason"], "")).select(["path", "reason"]).to_pylist()
    rejects = rejects + [Reject(**line) for line in unread]
    settled = settle(source, out, table.filter(pc.equal(table["reason"], "")), rejects, allow_leaks)
    table = with_shards(settled.table, shard_bytes)
    _check_space(out, table)
    return settled, *write_round(root, out, table, crew)


def _clear(out: Path) -> None:
    """Removes what runs of `prepare` wrote, index.json first: from then on nothing trusts the rest."""
    shards = [path for split in SPLITS for path in out.glob(f"{split}-*.tar")]
    for path in [out / INDEX, out / TABLE, *(out / STATE).iterdir(), *shards]:
        path.unlink(missing_ok=True)


def _first(rejects: Sequence[Reject]) -> str:
    return f"; {len(rejects)} were rejected, first {rejects[0].path}: {rejects[0].reason}" if rejects else ""


def _check_space(out: Path, table: pa.Table) -> None:
    needed = pc.sum(table["length"]).as_py() + pc.sum(table["mask_length"]).as_py() + 2048 * len(table)
    present = sum(path.stat().st_size for split in SPLITS for path in out.glob(f"{split}-*.tar"))
    if needed - present > (free := shutil.disk_usage(out).free):
        error = OSError(errno.ENOSPC, "")
        error.strerror = f"{(needed - present) / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise in_words(error, out)


def _misnamed(table: pa.Table) -> int:
    """Files whose name claims another format than their bytes have."""
    pairs = Counter(
        zip((Path(path).suffix.lower() for path in table["path"].to_pylist()), table["format"].to_pylist(), strict=True)
    )
    return sum(count for (suffix, name), count in pairs.items() if suffix and suffix not in SUFFIXES[name])
