"""CSV logger: metrics.csv, which a resumed run continues."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from dfd.durable import atomic_write


class ResumableCSVLogger(CSVLogger):
    """metrics.csv in the run folder.

    Attributes:
        pictures: columns that say which pictures an evaluation judged; empty in a fit.
    """

    pictures: Mapping[str, str] = {}

    def __init__(self, folder: Path):
        # each line at once: a kill costs none that a checkpoint knows of
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=1)

    def go_on(self, steps: int) -> None:
        """Keeps the lines of the run's first `steps` training steps and appends to them. For rank 0."""
        self._experiment = _Continued(self.log_dir, steps)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        super().log_metrics({**metrics, **self.pictures}, step)


class _Continued(ExperimentWriter):
    """Lightning's writer, which would otherwise delete the file that is there."""

    def __init__(self, folder: str, steps: int):
        self.steps = steps
        super().__init__(folder)

    def _check_log_dir_exists(self) -> None:
        if not os.path.isfile(self.metrics_file_path):
            return
        with open(self.metrics_file_path, newline="") as file:
            reader = csv.DictReader(file)
            whole = [line for line in reader if None not in line.values()]  # the last one may be cut
            lines = [line for line in whole if int(line["step"]) < self.steps]
        if not lines:
            os.remove(self.metrics_file_path)
            return
        self.metrics_keys = list(reader.fieldnames)
        with (
            atomic_write(Path(self.metrics_file_path)) as temporary,
            open(temporary, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(lines)
