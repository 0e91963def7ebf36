"""Whose a run folder is: of which verb of dfd, or somebody else's, whose files no run may replace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dfd import run_record
from dfd.run_record import STAGES, RunFolder

LOCK = ".lock"  # held by the process that trains there
FAULT = ".fault"  # the rank that makes it reports the error
_CONFIG_HEAD = "# The resolved config, written by dfd {}.\n"
_TABLE_HEAD = b"key,path,label,logit"  # of a table of predictions


def config_head(verb: str) -> str:
    """First line of the config.yaml of a verb's run, by which its folder is known as dfd's."""
    return _CONFIG_HEAD.format(verb)


def check_owner(folder: Path, verb: str) -> None:
    """Refuses, before anything is written, a folder in which a run would replace what is not its own.

    A fit's folder is known by the record in run.json. One of another verb is known by the first line of
    config.yaml, or by its table of predictions. What a run writes nothing over may lie anywhere.

    Raises:
        ValueError: the folder is of another verb of dfd, or holds a file that dfd did not write under a name
            that a run writes.
    """
    owner = _owner(folder)
    if owner == verb:
        return
    there = next(_in_the_way(folder, verb), None)
    if there is None:
        return
    if owner is None:
        raise ValueError(
            f"{there} is there already, and dfd did not write it: dfd {verb} would replace it. Give another "
            "--run_folder; nothing was written."
        )
    raise ValueError(
        f"{folder} holds what dfd {owner} wrote, and dfd {verb} would replace its {there.name}. Give another "
        "--run_folder; nothing was written."
    )


def _owner(folder: Path) -> str | None:
    """The verb whose run the folder is; None: no run of dfd."""
    if run_record.read(folder) is not None:
        return "fit"
    files = RunFolder(folder)
    head = _head(files.config)
    for verb in STAGES:
        if head.startswith(config_head(verb).encode()):
            return verb
    for verb, stage in STAGES.items():  # older ones, whose config.yaml does not say
        if _head(files.predictions(stage)).startswith(_TABLE_HEAD):
            return verb
    return None


def _head(path: Path) -> bytes:
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(100)
    return b""


def _in_the_way(folder: Path, verb: str) -> Iterator[Path]:
    """What lies under the names that the verb writes, but for empty folders and what a run that was killed
    at its very start left.
    """
    files = RunFolder(folder)
    names = [files.config, files.metrics, files.undecodable, files.plots, folder / FAULT]
    if verb == "fit":
        names += [
            files.record,
            files.summary,
            files.not_finite,
            files.checkpoints,
            files.wandb,
            folder / LOCK,
        ]
    else:
        names.append(files.predictions(STAGES[verb]))
    for path in names:
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                if not any(path.iterdir()):
                    continue
        elif not os.path.lexists(path) or _of_a_killed_start(path):
            continue
        yield path


def _of_a_killed_start(path: Path) -> bool:
    if path.name == LOCK:
        return re.fullmatch(rb"(pid \d+ on [^\n]*)?", _head(path)) is not None
    return path.name == FAULT and _head(path) == b""
