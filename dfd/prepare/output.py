"""Output folder of `dfd prepare`: whether it may be written, and the state of an interrupted run in it."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dfd.durable import TEMPORARY, atomic_write, explain_os_error, kind_of, meant_name
from dfd.media.files import is_litter, read_file
from dfd.outputs import lies_within
from dfd.prepare.changes import SOURCES, plan_changes
from dfd.prepare.cut import FACES
from dfd.prepare.lock import LOCK
from dfd.prepare.manifest import keep_plan
from dfd.prepare.passes import STATE
from dfd.prepare.stamps import STAMPS
from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.rejects import REJECTED, is_own_list
from dfd.shards.splits import SPLITS
from dfd.shards.table import made_by
from dfd.shards.validate import LANDMARK_FILE

SHARDS = "shards.json"  # in the state: names of the tars that are the interrupted run's own
# six digits, as `shard_name` has them: a tar of another name is somebody else's
_SHARD = re.compile(rf"({'|'.join(SPLITS)})-[0-9]{{6}}\.tar")


def check_folders(source: Path, out: Path, root: Path | None = None) -> None:
    """Raises ValueError where the source is missing, empty or finished shards, or one of the two lies in the
    other.

    Args:
        root: folder of a table's pictures, where it is another than the table's.
    """
    if not source.exists():
        if re.match(r"[a-z][a-z0-9]+:/", str(source)):
            raise ValueError(
                f"{source} is an address, and dfd prepare reads from the disk: download it first."
            )
        home = " A ~ in quotes is not your home: write $HOME." if str(source).startswith("~") else ""
        raise ValueError(
            f"{source}: no such folder.{home} Name the folder that holds the pictures, or a CSV or JSON "
            "Lines file that lists them."
        )
    if kind := "" if source.is_dir() else kind_of(source.stat().st_mode):
        raise ValueError(
            f"{source} is {kind}, and dfd prepare reads folders and tables. Write what comes from there to a "
            "file, and name that."
        )
    if source.is_dir() and all(is_litter(path.name) for path in source.iterdir()):
        raise ValueError(f"{source} is empty. Name the folder that holds the pictures.")
    if made_by(source) and (source / SAMPLES_FILE).is_file():
        raise ValueError(
            f"{source} holds finished shards already: dfd fit takes them as they are (--data.roots). Did you "
            "mean dfd reencode? It makes a second set of them, all cut and encoded alike: "
            f"dfd reencode {source} --out ALIKE --jpeg 90 --size 224."
        )
    if root is not None and lies_within(root, out):
        raise ValueError(f"{out} holds --root {root}. Choose another --out: sources are never touched.")
    folder = source if source.is_dir() else source.parent
    if lies_within(folder, out) or (source.is_dir() and lies_within(out, folder)):
        raise ValueError(
            f"{out} and {source} lie inside one another. Choose an --out beside the source: sources are "
            "never touched."
        )


def check_free(out: Path) -> None:
    """Raises ValueError where the folder holds what `dfd prepare` did not write."""
    rejected = out / REJECTED
    if os.path.lexists(rejected) and not (rejected.is_file() and is_own_list(rejected)):
        raise ValueError(
            f"{rejected} would be replaced, and dfd did not write it, or somebody changed its first line. "
            "Rename it, or choose another --out."
        )
    if not out.is_dir() or (out / STATE).is_dir() or made_by(out).get("command") == "prepare":
        return
    strange = sorted(path.name for path in out.iterdir() if not _is_nobodys(path.name))
    if strange:
        raise ValueError(
            f"{out} is not empty and holds no shards of `dfd prepare` ({strange[0]} and so on). Choose "
            "another --out."
        )


def _is_nobodys(name: str) -> bool:
    """Whether something was left by a killed run before it marked the folder as its own, or by a system."""
    return name in (REJECTED, LOCK) or meant_name(name) in (".dfd", REJECTED, LOCK) or is_litter(name)


def make_way(out: Path, overwrite: bool, tidy: bool) -> None:
    """Removes finished shards that are to be replaced, and with `tidy` the temporary files of killed runs.

    Raises:
        ValueError: another process has just finished them, or a tar has a shard's name that no run gave it.
    """
    finished = (out / INDEX).is_file()
    if finished and not overwrite:
        raise ValueError(
            f"another dfd prepare has just finished {out}. Run the same command again: it checks what is "
            "there."
        )
    check_shards(out)
    # before anything is removed: it marks the folder as ours, should this process be killed here
    (out / STATE).mkdir(exist_ok=True)
    if finished:
        clear(out)
    if tidy:
        for temporary in [*out.glob(f"*{TEMPORARY}*"), *(out / STATE).glob(f"*{TEMPORARY}*")]:
            if meant_name(temporary.name):
                temporary.unlink()


def store_plan(plan: pa.Table, out: Path, settings: dict[str, str], overwrite: bool) -> None:
    """Stores the plan, or goes on with the same one that an interrupted run has stored."""
    path = out / STATE / "plan.parquet"
    if changes := plan_changes(plan, path, settings):
        if not overwrite:
            raise ValueError(
                f"{out} holds an interrupted `dfd prepare`, and since then the source or the options "
                f"changed: {changes}. Start again with --overwrite, or choose another --out."
            )
        clear(out)
    keep_plan(plan, path, settings)


def own_shards(out: Path) -> set[str]:
    """Names of the tars that runs of `dfd prepare` wrote in `out`, or began to write: those that index.json
    lists, and those that an interrupted run noted.
    """
    names = {note.name.removesuffix(".parquet") for note in (out / STATE).glob("*.tar.parquet")}
    for path, command in ((out / INDEX, made_by(out).get("command")), (out / STATE / SHARDS, "prepare")):
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(read_file(path)) if command == "prepare" else {}
            listed = found.get("shards") if isinstance(found, dict) else None
            for shard in listed if isinstance(listed, list) else ():
                names.add(str(shard.get("name")) if isinstance(shard, dict) else "")
    return {name for name in names if _SHARD.fullmatch(name)}


def note_shards(out: Path, names: Iterable[str]) -> None:
    """Notes the names of shards, before they are written, beside those that are dfd's own already."""
    shards = [{"name": name} for name in sorted({*own_shards(out), *names})]
    with atomic_write(out / STATE / SHARDS) as temporary:
        temporary.write_text(json.dumps({"shards": shards}), encoding="utf-8")


def check_shards(out: Path) -> None:
    """Raises ValueError for a tar of a shard's name that no run of `dfd prepare` gave it."""
    strange = sorted({path.name for path in out.iterdir() if _SHARD.fullmatch(path.name)} - own_shards(out))
    if strange:
        raise ValueError(
            f"{out / strange[0]} has the name of a shard, and dfd prepare did not write it "
            f"({len(strange)} such in all). Move it out of {out}, or choose another --out."
        )


def clear(out: Path) -> None:
    """Removes what runs of `dfd prepare` wrote, index.json first: from then on nothing trusts the rest. What
    was its own is noted until it is gone.
    """
    shards = own_shards(out)
    note_shards(out, shards)
    shutil.rmtree(out / STATE / FACES, ignore_errors=True)
    state = sorted((out / STATE).iterdir(), key=lambda path: path.name == SHARDS)
    landmarks = [path for path in out.iterdir() if LANDMARK_FILE.fullmatch(path.name)]
    for path in [
        out / INDEX,
        out / SAMPLES_FILE,
        *landmarks,
        out / SOURCES,
        out / STAMPS,
        *(out / name for name in sorted(shards)),
        *state,
    ]:
        path.unlink(missing_ok=True)


@contextmanager
def forgotten_if_refused(out: Path, forgets: bool) -> Iterator[None]:
    """With `forgets`, a ValueError removes the state: its source has to be corrected, and then what was seen
    of it is out of date.
    """
    try:
        yield
    except ValueError:
        if forgets:
            clear(out)
            shutil.rmtree(out / STATE)
        raise


def check_space(out: Path, table: pa.Table) -> None:
    """Raises OSError where the disk has no room for the shards that are not there yet."""
    needed = pc.sum(table["length"]).as_py() + pc.sum(table["mask_length"]).as_py() + 2048 * len(table)
    present = sum((out / name).stat().st_size for name in own_shards(out) if (out / name).is_file())
    free = shutil.disk_usage(out).free
    if needed - present > free:
        error = OSError(errno.ENOSPC, "")
        error.strerror = f"{(needed - present) / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise explain_os_error(error, out)
