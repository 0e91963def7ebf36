"""Figures of a run: written to its plots folder and logged by every logger that takes images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Trainer

from dfd.durable import atomic_write
from dfd.run_record import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def publish(trainer: Trainer, figure: Figure, name: str) -> Path:
    """Writes `figure` to plots/<name>.png of the run folder, over an earlier one, and logs it. For rank 0."""
    path = RunFolder(trainer.default_root_dir).plots / f"{name}.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):  # W&B's; CSV and TensorBoard have none
            logger.log_image(key=f"plots/{name}", images=[str(path)], step=trainer.global_step)
    return path
