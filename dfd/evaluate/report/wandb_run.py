"""A report in W&B: its page, its table and its figures, as a run of the job type "report"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dfd.evaluate.report.evidence import Evidence, Line
from dfd.evaluate.report.page import Drawings, Part
from dfd.html import png
from dfd.wandb_mode import wandb_mode

METRICS = ("auroc", "balanced_acc", "eer", "ece")
NUMBERS = ["coverage", *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high"))]
COLUMNS = ["detector", "root", "condition", "severity", "part", "kind", "images", "families", *NUMBERS]


def log_report(page: Path, evidence: Evidence, parts: Sequence[Part], title: str) -> str:
    """Logs what the page shows, and returns what became of it. What W&B does costs the report nothing.

    Args:
        page: the report's file; W&B's own files lie beside it, in the folder wandb.
        title: of the page, by which the run is called.
    """
    mode = wandb_mode()
    if mode == "disabled":
        return "W&B: WANDB_MODE is disabled, so nothing was logged."
    from dfd.training.run_folder import safe_name
    from dfd.training.wandb_logger import TolerantWandbLogger, close

    name = safe_name(f"report-{title}")
    logger = TolerantWandbLogger(
        name=name, project="dfd", save_dir=str(page.parent), job_type="report", mode=mode
    )
    try:
        rows = [_row(line) for line in evidence.lines]
        logger.log_table("report/metrics", COLUMNS, rows, 0)
        with TemporaryDirectory() as folder:
            figures = [
                figure
                for part in parts
                for block in part.blocks
                if isinstance(block, Drawings)
                for figure in block.figures
            ]
            for at, (caption, figure) in enumerate(figures):
                path = Path(folder) / f"{at}.png"
                path.write_bytes(png(figure))
                logger.log_image(f"report/{at:02d}", [str(path)], 0, caption=[caption])
        logger.log_page("report/page", page)
    finally:
        close(0)
    return f"W&B: logged as {name}, {mode}."


def _row(line: Line) -> list[Any]:
    """A line of the table; what is not defined is left empty."""
    place = line.place
    numbers = [line.number(name) for name in NUMBERS]
    plain = [None if math.isnan(value) else value for value in numbers]
    counts = [line.count("num_images"), line.count("num_families")]
    return [
        place.detector,
        place.root,
        place.condition,
        place.severity,
        line.part,
        line.kind,
        *counts,
        *plain,
    ]
