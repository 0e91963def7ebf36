"""Results for people: into the run folder, whole or not at all, and pictures into every logger that takes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` once the block has ended well and removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def publish(trainer: Trainer, figure: Figure, name: str) -> Path:
    """Writes `figure` to plots/<name>.png of the run folder, over an earlier one, and logs it. For rank 0."""
    path = Path(trainer.default_root_dir) / "plots" / f"{name}.png"
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=110)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):  # W&B's; CSV and TensorBoard have none
            logger.log_image(key=f"plots/{name}", images=[str(path)], step=trainer.global_step)
    return path
