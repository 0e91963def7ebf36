"""W&B, without which a run goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from dfd.signals import stop_signals


class TolerantWandbLogger(WandbLogger):
    """Lightning's, whose service may be gone once the run was told to go: Slurm sends SIGTERM to every
    process of a job.

    The run then still has a step to end and itself to save. What W&B misses stands in metrics.csv.
    """

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        with may_be_gone():
            super().log_metrics(metrics, step)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        with may_be_gone():
            super().log_image(key, images, step, **kwargs)

    def finalize(self, status: str) -> None:
        with may_be_gone():
            super().finalize(status)


PATIENCE = 60  # seconds of the 180 that Slurm's warning grants, for W&B's uploads
_ending: threading.Thread | None = None


def close(exit_code: int) -> None:
    """Ends the W&B run of this process, if there is one; with 75 it counts as preempted, and not as finished.

    A run that was told to go waits a minute at most: what is not uploaded then stays in the run folder, for
    wandb sync. Its job would lose its time to a server that is gone, and not be requeued.
    """
    global _ending
    if "wandb" not in sys.modules or (_ending and _ending.is_alive()):
        return
    if not stop_signals.requested:
        return _finish(exit_code)
    _ending = threading.Thread(target=_finish, args=(exit_code,), daemon=True)
    _ending.start()
    _ending.join(PATIENCE)


def _finish(exit_code: int) -> None:
    with may_be_gone():
        sys.modules["wandb"].finish(exit_code=exit_code)


@contextmanager
def may_be_gone() -> Iterator[None]:
    """Whatever W&B raises is of no account once the run was told to go."""
    try:
        yield
    except Exception:
        if not stop_signals.requested:
            raise
