"""Which pictures an evaluation judges, in words: two runs that differ in nothing else must not look alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from lightning import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint

from dfd.batch import Predictions
from dfd.metrics import interval


def conditions(data: LightningDataModule, stage: str) -> dict[str, str]:
    """The roots and the split of a stage (val, test or predict), and the stages that its pictures go through,
    "" for none.
    """
    split = "val" if stage == "val" else "test"
    val_augment = data.val_augment if split == "val" and not data.corruption else []
    return {
        "roots": ", ".join(_roots(data, split)),
        "split": split,
        "corruption": " ".join(map(_name, data.corruption)),
        "val_augment": " ".join(map(_name, val_augment)),
    }


def sentence(found: dict[str, str]) -> str:
    """The conditions as one line: "test split of shards/140k, after Corruption('jpeg', 75)"."""
    after = found["corruption"] or found["val_augment"]
    return f"{found['split']} split of {found['roots']}, " + (
        f"after {after}" if after else "pictures as found"
    )


def training(data: LightningDataModule) -> str:
    """What a fit saw, as one line: "train split of shards/140k, after SelfBlend(p=0.3) Augment('delivery',
    p=0.75)".
    """
    transforms = [*data.augment, *([data.mix] if data.mix else [])]
    return f"train split of {', '.join(_roots(data, 'train'))}, " + (
        f"after {' '.join(map(_name, transforms))}" if transforms else "pictures as found"
    )


def chosen(best: ModelCheckpoint, predictions: Predictions | None) -> dict[str, Any]:
    """The best value of the metric that chose a checkpoint, and what it rests on.

    Args:
        verdicts: of the validation that gave it; None where that was before the run was cut.
    """
    value, name = float(best.best_model_score), f"best {best.monitor}"
    if not math.isfinite(value):
        return {name: "not defined: the validation images were of one class"}
    facts: dict[str, Any] = {name: round(value, 4)}
    metric = best.monitor.rpartition("/")[2]
    if predictions is None or metric != "auroc":  # others depend on a threshold that the validation fitted
        return facts
    low, high = interval(predictions)
    ends = "none: too few families" if math.isnan(low) else f"({low:.4f}, {high:.4f})"
    families = len(np.unique(predictions.group))
    return facts | {
        "its 95% interval": f"{ends}, on {len(predictions)} images of {families} families, which chose it"
    }


def _roots(data: LightningDataModule, split: str) -> list[str]:
    """Those that have pictures of the split, once that is known."""
    if getattr(data, "catalog", None) is None:
        return list(map(str, data.roots))
    there = set(data.contents.root[data.rows(split)].tolist())
    return [str(root) for number, root in enumerate(data.roots) if number in there]


def _name(stage: Callable) -> str:
    if type(stage).__repr__ is object.__repr__:
        return type(stage).__name__
    return getattr(stage, "__name__", repr(stage))
