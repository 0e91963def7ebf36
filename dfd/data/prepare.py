"""`dfd prepare`: a source of pictures becomes shards.

    rows -> plan -> look (read, check, hash; parallel) -> families, splits -> shards (parallel) -> table, index

What is finished of each step lies in OUT/.prepare, written atomically, so a run that was killed goes on where it stopped. The
table and index.json come last: without them nothing trusts the folder.
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
from dfd.data.durable import PART, in_words, make_folder
from dfd.data.plan import keep_plan, make_plan, plan_changes
from dfd.data.readers import Reject, find_reader, recognise
from dfd.data.report import REJECTED, SUFFIXES, Report
from dfd.data.rounds import STATE, look_round, with_shards, write_round
from dfd.data.settle import settle
from dfd.data.shards import INDEX, SHARD_BYTES, TABLE, load_table, read_index, write_contents
from dfd.data.splits import SPLITS
from dfd.data.workers import Workers, usable_cores


def prepare(
    source: Path,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    allow_leaks: bool = False,
) -> Report:
    """Makes shards of a source; goes on where an interrupted run stopped; leaves finished shards alone.

    Args:
        source: a folder of pictures in a layout that a reader knows, or a CSV or JSON Lines file. It is only ever read.
        out: folder for the shards.
        reader: a built-in reader's name or "package.module:function"; None recognises the layout.
        workers: processes; None takes every core.
        shard_bytes: a shard's size, about.
        overwrite: replace the shards that `out` holds.
        allow_leaks: keep official splits even if families cross them.

    Raises:
        ValueError: what is wrong with the source or the arguments.
        OSError: unwritable folder or full disk, in words.
    """
    source, out = Path(source), Path(out)
    start = time.monotonic()
    _check_folders(source, out)
    if (out / INDEX).is_file() and not overwrite:
        return _finished(source, out)
    name = reader or recognise(source)
    print(f"{source}: read as {name}" + ("" if reader else ", recognised by its layout"), file=sys.stderr)
    plan, rejects = make_plan(
        find_reader(name)(source), source_name=source.resolve().stem if source.is_file() else source.resolve().name
    )
    if not len(plan):
        raise ValueError(f"{source}: no picture found by the reader {name}{_first(rejects)}.")
    _make_way(out, overwrite)
    made_by = {
        "command": "prepare",
        "source": str(source),
        "reader": name,
        "shard_bytes": shard_bytes,
        "allow_leaks": allow_leaks,
    }
    settings = {"dfd": __version__, "reader": name, "shard_bytes": str(shard_bytes)}
    if changes := plan_changes(plan, out / STATE / "plan.parquet", settings):
        if not overwrite:
            raise ValueError(
                f"{out} holds an interrupted `dfd prepare`, and since then {changes}. "
                "Start again with --overwrite, or choose another --out."
            )
        _clear(out)
    keep_plan(plan, out / STATE / "plan.parquet", settings)
    root = str(source.resolve().parent if source.is_file() else source.resolve())
    count = min(workers or usable_cores(), -(-len(plan) // 64))  # a process takes as long to start as dozens of pictures
    try:
        with Workers(count, "dfd.data.rounds") as crew:
            table = look_round(root, out, plan, crew)
            unread = table.filter(pc.not_equal(table["reason"], "")).select(["path", "reason"]).to_pylist()
            rejects += [Reject(**line) for line in unread]
            table = table.filter(pc.equal(table["reason"], ""))
            table, num_rejected, num_crossing = settle(source, out, table, rejects, allow_leaks)
            table = with_shards(table, shard_bytes)
            _check_space(out, table)
            table, shards = write_round(root, out, table, crew)
    except ValueError:
        _clear(out)  # the answer is to mend the source, and then what was seen of it is stale
        shutil.rmtree(out / STATE)
        raise
    write_contents(out, table, shards, made_by, num_rejected)
    shutil.rmtree(out / STATE)
    return Report.of(
        out, read_index(out), families_crossing=num_crossing, misnamed=_misnamed(table), seconds=time.monotonic() - start
    )


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


def _finished(source: Path, out: Path) -> Report:
    index = read_index(out)
    made_from = Path(index["made_by"].get("source", "")).name
    if made_from != source.name:
        raise ValueError(
            f"{out} holds finished shards of {made_from!r}, not of {source.name!r}. Choose another --out, or --overwrite."
        )
    table, root = load_table(out), source.parent if source.is_file() else source
    for row in table.select(["path", "length"]).take(list(range(0, len(table), max(1, len(table) // 500)))).to_pylist():
        path = root / row["path"]  # a folder of the same name may be another one
        if not path.is_file() or path.stat().st_size != row["length"]:
            raise ValueError(
                f"{out} holds finished shards of other pictures than {source} has: {row['path']} is not there as it was. "
                "Choose another --out, or --overwrite."
            )
    shutil.rmtree(out / STATE, ignore_errors=True)
    return Report.of(out, index, already=True)


def _make_way(out: Path, overwrite: bool) -> None:
    """Makes `out` ready to be written: ours, without the leavings of killed runs."""
    make_folder(out)
    started, finished = (out / STATE).is_dir(), (out / INDEX).is_file()
    strange = sorted(path.name for path in out.iterdir() if path.name != REJECTED)
    if strange and not started and not finished:
        raise ValueError(
            f"{out} is not empty and holds no shards of `dfd prepare` ({strange[0]} and so on). Choose another --out."
        )
    (out / STATE).mkdir(exist_ok=True)  # before anything goes: it marks the folder as ours, should we be killed here
    if finished and overwrite:
        _clear(out)
    for leaving in [*out.glob(f"*{PART}*"), *(out / STATE).glob(f"*{PART}*")]:
        leaving.unlink()


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
