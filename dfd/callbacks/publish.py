"""Figures of a run: written to its plots folder and logged by every logger that takes images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Trainer

from dfd.durable import atomic_write
from dfd.run_record import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


@contextmanager
def only_a_warning(name: str) -> Iterator[None]:
    """A figure that cannot be drawn or written costs the run no more: its work may not be saved yet."""
    try:
        yield
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _log.warning(f"the figure {name} was left out, and the run goes on: {why}")


def publish(trainer: Trainer, figure: Figure, name: str) -> Path:
    """Writes `figure` to plots/<name>.png of the run folder, over an earlier one, and logs it. For rank 0."""
    path = RunFolder(trainer.default_root_dir).plots / f"{name}.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):  # W&B's; CSV and TensorBoard have none
            logger.log_image(key=f"plots/{name}", images=[str(path)], step=trainer.global_step)
    return path
