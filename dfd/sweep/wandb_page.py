"""Logs a sweep's HTML page to W&B, as a run of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PATIENCE = 60  # seconds for W&B, offline or on


def log_page(page: Path, study: str) -> None:
    """Logs a page as wandb.Html into the run sweep-STUDY, of the job type "report"; offline by default.

    In a process of its own: a worker needs no wandb, and one that hangs or fails costs it PATIENCE at most.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return
    command = [sys.executable, "-m", "dfd.sweep.wandb_page", str(page), study]
    environment = {"WANDB_ERROR_REPORTING": "false", **os.environ}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        failed = True
    if failed:
        print(
            f"WARNING: W&B did not take {page}; the sweep is done all the same.", file=sys.stderr, flush=True
        )


def _log(page: Path, study: str) -> None:
    import wandb

    identity = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"sweep-{study}")
    with wandb.init(
        project="dfd",
        name=identity,
        id=identity,
        job_type="report",
        dir=str(page.parent),
        resume="allow",
        mode=os.environ.get("WANDB_MODE", "offline"),
    ) as run:
        run.log({"sweep": wandb.Html(str(page), inject=False)})


if __name__ == "__main__":
    _log(Path(sys.argv[1]), sys.argv[2])
