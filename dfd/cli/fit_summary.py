"""Summary of a fit: what summary.yaml and the screen say of it, of a best checkpoint that was damaged too."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from dfd.batch import LABELS, Predictions
from dfd.calibration import Certificate, shortage
from dfd.callbacks.conditions import chosen, training
from dfd.models.checkpoint import read_checkpoint
from dfd.models.seal import previous
from dfd.run_record import RunFolder
from dfd.training.resume import steps_of
from dfd.training.trainer import Trainer


def shown(path: Path) -> str:
    """Relative to the current folder where it lies within."""
    return os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else str(path)


def best_facts(trainer: Trainer, task: LightningModule, ends: tuple[float, float] | None) -> dict[str, Any]:
    """The best checkpoint and what chose it, or the last one where nothing chose.

    Args:
        ends: of the 95% interval of the metric that chose it, where that is known.
    """
    best = trainer.chooser
    if best is None:
        last = RunFolder(trainer.default_root_dir).last
        saved = [
            each.best_model_path
            for each in trainer.checkpoint_callbacks
            if getattr(each, "best_model_path", "")
        ]
        path = Path(saved[0]) if saved else last
        return {"last checkpoint": shown(path)} if path.exists() else {}
    path = Path(best.best_model_path)
    facts = {"best checkpoint": shown(path)} | chosen(best, getattr(task, "chosen_by", None), ends)
    if not math.isfinite(float(best.best_model_score)):
        facts[f"best {best.monitor}"] = f"not defined: {_undefined(trainer, task)}"
    if path.exists():  # the user may have taken it away
        try:
            facts["chosen after"] = f"step {steps_of(path)}; the plots are of the last validation"
            if short := shortage(_certificate(path)):
                facts["verdicts"] = "; ".join(short)
        except ValueError as error:
            facts["best checkpoint"] = f"{shown(path)}, which is damaged"
            facts |= {"damage": str(error), "whole ones": ", ".join(map(shown, _whole(path)))}
    return facts


def _certificate(checkpoint: Path) -> Certificate:
    """What the words of a checkpoint are worth; empty where it gives none, as a generator."""
    return (read_checkpoint(checkpoint)["dfd"].get("calibrated_on") or {}).get("sources", {})


def _undefined(trainer: Trainer, task: LightningModule) -> str:
    """Why a metric of two classes had no value at the last validation."""
    predictions: Predictions | None = getattr(task, "predictions", None)
    label = [] if predictions is None else predictions.label[predictions.label >= 0].tolist()
    if len(set(label)) != 1:
        return "no validation gave it a finite value"
    limit = trainer.limit_val_batches
    cut = "" if limit == 1.0 and isinstance(limit, float) else f", of trainer.limit_val_batches={limit},"
    return f"the {len(label)} validation images{cut} were of one class, {LABELS[label[0]]}"


def _whole(best: Path) -> list[Path]:
    """The checkpoints beside a damaged one that can be read, the version before it first."""
    whole = []
    for path in (previous(best), *sorted(best.parent.glob("*.ckpt"))):
        try:
            steps_of(path)
        except ValueError:
            continue
        whole.append(path)
    return list(dict.fromkeys(whole))


def ending_facts(trainer: Trainer) -> dict[str, Any]:
    """How the fit ended, if not with its last planned step, and how far it came."""
    loop = trainer.fit_loop
    facts: dict[str, Any] = {}
    if loop.stopped_by:
        facts["stopped"] = ending(trainer).removeprefix("stopped ")
    elif trainer.should_stop:
        for stop in trainer.early_stopping_callbacks:
            if stop.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
                facts["stopped early"] = f"{stop.monitor} has not improved for {stop.patience} validations"
            elif stop.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
                facts["stopped early"] = " ".join((stop.stopping_reason_message or "").split())
    return facts | {"epochs": loop.whole_epochs, "steps": trainer.global_step}


def ending(trainer: Trainer) -> str:
    """What ended a fit before its planned end, and where."""
    loop, epochs = trainer.fit_loop, trainer.max_epochs
    of = f" of {epochs}" if epochs is not None and epochs > 0 else ""
    planned = f", step {trainer.global_step} of {trainer.max_steps}" if trainer.max_steps > 0 else ""
    return f"stopped by {loop.stopped_by} after {loop.whole_epochs}{of} epochs{planned}"


def data_facts(data: LightningDataModule) -> dict[str, str]:
    """What the fit was trained on."""
    return {"trained on": training(data)} if hasattr(data, "augment") else {}
