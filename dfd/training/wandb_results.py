"""Data fingerprint, prediction table, best metric and checkpoint of a fit, for W&B."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from scipy.special import expit

from dfd.batch import Predictions
from dfd.calibration import Calibration
from dfd.durable import atomic_write
from dfd.run_record import RunFolder
from dfd.training.trainer import Trainer
from dfd.training.wandb_logger import TolerantWandbLogger, tolerated

# of the prediction table, spread evenly over the validation's; `dfd validate` writes all of them
TABLE_ROWS = 1000
COLUMNS = ["row", "key", "source", "method", "label", "logit", "prob"]


def log_data(trainer: Trainer) -> None:
    """Fingerprint of the training data as an artifact: SHA-256 of each shard and of the table's lines.

    Runs on the same data show the same version of it, wherever the data lie.
    """
    for logger in _loggers(trainer):
        with tolerated():
            data = trainer.datamodule
            facts = None if data is None else data.state_dict().get("data")
            if facts is None:  # a data module of the user's own
                continue
            roots = [root["root"] for root in facts["roots"]]
            contents = [{"weight": root["weight"], "shards": root["shards"]} for root in facts["roots"]]
            path = RunFolder(trainer.default_root_dir).wandb / "data.json"
            with atomic_write(path) as temporary:
                temporary.write_text(
                    json.dumps({"roots": contents, "lines": facts["lines"]}, indent=1), encoding="utf-8"
                )
            order = {name: value for name, value in facts.items() if name not in ("roots", "lines")}
            names = "-".join(Path(root).name for root in roots)
            logger.log_file(path, f"data-{names}", "dataset", {"roots": roots, **order})


def log_best(
    trainer: Trainer, task: LightningModule, ends: tuple[float, float] | None = None, done: bool = False
) -> None:
    """The validation that chose the checkpoint, or where none did the last one: table, metric, calibration.

    Args:
        ends: of the metric's 95% interval, where it is known.
        done: the run is; then the best checkpoint goes along where that is asked for.
    """
    for logger in _loggers(trainer):
        with tolerated():
            best = trainer.chooser
            chosen = getattr(task, "chosen_by" if best else "predictions", None)
            facts = _facts(best, ends)
            if chosen is not None:
                calibration, thresholds = task.calibrate(chosen)
                facts |= {
                    f"best/calibration/{name}": value
                    for name, value in calibration.to_plain().items()
                    if isinstance(value, (str, float))  # the knots of an isotonic one are in the checkpoint
                }
                facts |= {f"best/threshold/{name}": value for name, value in thresholds.items()}
                rows = _table(chosen, calibration, trainer.datamodule)
                logger.log_table("val/predictions", COLUMNS, rows, trainer.global_step)
                facts["best/images"] = len(chosen)
            logger.log_summary(facts)
            path = Path(best.best_model_path) if best else RunFolder(trainer.default_root_dir).last
            if done and logger.logs_model and path.is_file():
                # W&B takes no infinite number there, which a threshold may be
                finite = {name: each for name, each in facts.items() if each not in (math.inf, -math.inf)}
                aliases = ["best"] if best else []
                logger.log_file(path, f"checkpoint-{logger.version}", "model", finite, aliases)


def log_alert(trainer: Trainer, title: str, text: str) -> None:
    """A message through W&B that a run needs somebody."""
    for logger in _loggers(trainer):
        logger.alert(title, text)


def _loggers(trainer: Trainer) -> list[TolerantWandbLogger]:
    """W&B's, of a run that has begun, on the one rank that logs."""
    ours = [logger for logger in trainer.loggers if isinstance(logger, TolerantWandbLogger) and logger.begun]
    return ours if trainer.is_global_zero else []


def _facts(best: ModelCheckpoint | None, ends: tuple[float, float] | None) -> dict[str, Any]:
    """What W&B's summary says of the metric that chose the checkpoint."""
    if best is None:
        return {}
    value, name = float(best.best_model_score), str(best.monitor)
    # once more under its own name, as W&B nests it: W&B's best is that since the run was last started
    facts: dict[str, Any] = {f"best/{name}": value, name: {best.mode: value}}
    if ends is not None and not math.isnan(ends[0]):
        facts |= {f"best/{name}_low": ends[0], f"best/{name}_high": ends[1]}
    return facts | {"best/checkpoint": Path(best.best_model_path).name}


def _table(
    predictions: Predictions, calibration: Calibration, data: LightningDataModule | None
) -> list[list[Any]]:
    count = min(TABLE_ROWS, len(predictions))
    some = predictions.where(np.linspace(0, len(predictions) - 1, count).astype(int))
    keys = some.row.astype(str) if data is None else data.describe(some.row)["key"]
    prob = expit(calibration(some.logit))
    columns = (some.row, keys, some.source, some.method, some.label, some.logit, prob)
    return [list(line) for line in zip(*(np.asarray(column).tolist() for column in columns), strict=True)]
