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
        """Keeps the lines of the run's first `steps` training steps and appends to them. For rank 0.

        Raises:
            ValueError: the file that is there is no such table. Lightning's logger would remove it.
        """
        self._experiment = _Continued(self.log_dir, steps)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        super().log_metrics({**metrics, **self.pictures}, step)


class _Continued(ExperimentWriter):
    """Lightning's writer, which would otherwise delete the file that is there."""

    def __init__(self, folder: str, steps: int):
        self.steps = steps
        super().__init__(folder)

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if not path.exists():
            return
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                whole = [line for line in reader if None not in line.values()]  # the last one may be cut
                lines = [line for line in whole if int(line["step"]) < self.steps]
                if not {"epoch", "step"} <= set(reader.fieldnames or ("epoch", "step")):
                    raise ValueError
        except (ValueError, KeyError, TypeError, csv.Error, OSError) as error:
            raise ValueError(
                f"{path} is no table of dfd's, whose columns are epoch, step and metrics: another program "
                "wrote it, or it is damaged. Move it away, or give another --run_folder."
            ) from error
        if not lines:
            os.remove(self.metrics_file_path)
            return
        self.metrics_keys = list(reader.fieldnames)
        with (
            atomic_write(Path(self.metrics_file_path)) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(lines)
