"""Where a run lives: `runs/<config>/<id>`, made once by rank 0, found again by every other rank and by a requeue."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from dfd.data.durable import appearing

SHARED = "DFD_RUN_FOLDER"  # set by rank 0 for the processes that Lightning starts
SUMMARY = "summary.yaml"  # written last: a folder that holds one is a finished run


def run_id() -> tuple[str, bool]:
    """A name for this run, and whether it is only the time, so that another run may have taken it.

    A Slurm job's or torchrun's id is the same for all ranks and after a requeue.
    """
    if "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive", None):
        return os.environ["SLURM_JOB_ID"], False
    shared = os.environ.get("TORCHELASTIC_RUN_ID")
    if shared == "none":
        raise ValueError("torchrun's ranks cannot agree on a run folder: give --run_folder DIR, or torchrun --rdzv-id NAME.")
    return (shared, False) if shared else (datetime.now().strftime("%Y%m%d-%H%M%S"), True)


def open_run_folder(wanted: Path, fresh: bool, rank: int) -> Path:
    """Makes the folder on rank 0 and returns it; other ranks get the same one.

    Args:
        fresh: take a free name beside `wanted` if that one is taken.

    Raises:
        ValueError: the folder cannot be made, or holds a finished run.
    """
    if shared := os.environ.get(SHARED):
        return Path(shared)
    folder = wanted.absolute()
    if rank > 0:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for again in range(2, 1000):
            with suppress(FileExistsError):
                folder.mkdir(exist_ok=not fresh)
                break
            if not folder.is_dir():
                raise NotADirectoryError(20, "a file of that name is in the way")
            folder = wanted.absolute().with_name(f"{wanted.name}-{again}")
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write the run folder {folder}: {error.strerror}. Give another with --run_folder DIR."
        ) from error
    if (folder / SUMMARY).exists():
        raise ValueError(
            f"{folder} holds a finished run. Delete it to train again, or give another folder with --run_folder DIR."
        )
    os.environ[SHARED] = str(folder)
    return folder


def write_summary(folder: Path, facts: Mapping[str, Any]) -> str:
    """Writes the stamp of a finished run, whole or not at all, and returns its text."""
    text = yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=1000)
    with appearing(folder / SUMMARY) as part:
        part.write_text(text)
    return text


def drop_if_empty(folder: Path) -> None:
    """Leaves no folder behind where nothing was written, nor its parents."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


def safe_name(text: str) -> str:
    """Letters, digits, dot, dash and underscore: what W&B takes as a run id."""
    return re.sub(r"[^\w.-]+", "-", text)
