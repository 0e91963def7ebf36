"""Conditions of an evaluation in words: roots, split and transforms."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from dfd.batch import DetectionData, Predictions, transform_name
from dfd.metrics import interval
from dfd.terminal import many


def conditions(data: DetectionData, stage: str) -> dict[str, str]:
    """The roots and the split of a stage (val, test or predict), and the transforms that its images go
    through, "" for none.
    """
    split = "val" if stage == "val" else "test"
    val_augment = list(data.val_augment) if split == "val" and not data.corruption else []
    if split == "val" and getattr(data, "fakes", True) is False:
        val_augment = [*_maker(data), *val_augment]
    return {
        "roots": ", ".join(data.roots_of(split)),
        "split": split,
        "corruption": " ".join(map(transform_name, data.corruption)),
        "val_augment": " ".join(map(transform_name, val_augment)),
    }


def sentence(found: dict[str, str]) -> str:
    """The conditions as one line: "test split of shards/140k, after Corruption('jpeg', 75)"."""
    after = found["corruption"] or found["val_augment"]
    return f"{found['split']} split of {found['roots']}, " + (
        f"after {after}" if after else "pictures as found"
    )


def training(data: DetectionData) -> str:
    """What a fit saw, as one line: "train split of shards/140k, after FaceBlend(p=0.3, weak=0.5)
    Augment('delivery', p=0.75)".
    """
    transforms = [*_maker(data), *data.augment, *([data.mix] if data.mix else [])]
    return f"train split of {', '.join(data.roots_of('train'))}, " + (
        f"after {' '.join(map(transform_name, transforms))}" if transforms else "pictures as found"
    )


def _maker(data: DetectionData) -> list[Any]:
    """What makes the fakes that stand beside reals, where there is such a thing."""
    maker = getattr(data, "pairs", None)
    return [] if maker is None else [maker]


def best_interval(best: ModelCheckpoint, predictions: Predictions | None) -> tuple[float, float] | None:
    """The 95% interval of the metric that chose a checkpoint; None where it has none.

    Args:
        predictions: of the validation that gave it; None where that was before the run was cut.
    """
    # metrics but the AUROC depend on a threshold that the validation fitted
    known = predictions is not None and best.monitor.rpartition("/")[2] == "auroc"
    return interval(predictions) if known and math.isfinite(float(best.best_model_score)) else None


def chosen(
    best: ModelCheckpoint, predictions: Predictions | None, ends: tuple[float, float] | None
) -> dict[str, Any]:
    """The best value of the metric that chose a checkpoint, and what it rests on, in words.

    Args:
        predictions, ends: see `best_interval`.
    """
    value, name = float(best.best_model_score), f"best {best.monitor}"
    if not math.isfinite(value):
        return {name: "not defined: the validation images were of one class"}
    facts: dict[str, Any] = {name: round(value, 4)}
    if ends is None:
        return facts
    low, high = ends
    words = "none: too few families" if math.isnan(low) else f"({low:.4f}, {high:.4f})"
    counts = f"{many(len(predictions), 'image')} of {many(predictions.num_families, 'family')}"
    return facts | {"its 95% interval": f"{words}, on {counts}, which chose it"}
