"""Logs a sweep's HTML page to W&B, as a run of its own."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from dfd.interpreters import fresh
from dfd.wandb_mode import wandb_mode

_log = logging.getLogger(__name__)
PATIENCE = 60  # seconds for W&B, offline or on


def log_page(page: Path, study: str) -> None:
    """Logs a page as wandb.Html into the run sweep-STUDY, of the job type "report"; offline by default.

    In a process of its own: a worker needs no wandb, and one that hangs or fails costs it PATIENCE at most.
    """
    if wandb_mode() == "disabled" or find_spec("wandb") is None:
        return
    command = fresh("-m", "dfd.sweep.wandb_page", str(page.absolute()), study)
    environment = {"WANDB_ERROR_REPORTING": "false", **os.environ}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=page.parent,  # the current folder may hold a stranger's wandb/settings, which name a server
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        failed = True
    if failed:
        _log.warning("W&B did not take %s; the sweep is done all the same.", page)


def _log_run(page: Path, study: str) -> None:
    import wandb

    identity = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"sweep-{study}")
    with wandb.init(
        project="dfd",
        name=identity,
        id=identity,
        job_type="report",
        dir=str(page.parent),
        resume="allow",
        mode=wandb_mode(),
    ) as run:
        run.log({"sweep": wandb.Html(str(page), inject=False)})


if __name__ == "__main__":
    _log_run(Path(sys.argv[1]), sys.argv[2])
