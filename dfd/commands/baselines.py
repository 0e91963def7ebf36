"""Verbs that need no training of a net: baseline, cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def baseline(
    *shards: str,
    on: str,
    out: Path,
    model: Literal["logistic", "svm"] | None = None,
    judge: tuple[str, ...] = (),
    conditions: str | None = None,
    size: int | None = None,
    components: int | None = None,
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    name: str | None = None,
    workers: int = 2,
    device: str = "cpu",
    batch_size: int = 32,
    allow: tuple[str, ...] = (),
) -> None:
    """What a shallow model of simple features reaches: fitted on train, chosen and calibrated on val, judged
    on test, in the tables of nets.

    OUT is a grid, as of dfd evaluate: dfd report and dfd compare take it. Where OUT is the grid of dfd
    evaluate already, the baseline joins its detectors. A model of metadata, or of cues that does no better
    than metadata alone, is named a shortcut.

    Args:
        shards: Folders of finished shards to learn from, and whose test split is judged; NAME=FOLDER gives
            one another name.
        on: What the model sees: pixels (the whole picture, small), spectrum (its azimuthal profile), cues (of
            dfd cues), metadata (those cues that say how the file was written) or embeddings (of a frozen
            net).
        out: Folder of the results: new, or a grid.
        model: logistic (regression) or svm (RBF kernel); by default svm for pixels, logistic for the others.
        judge: Further shards that are only judged: other sources.
        conditions: As of dfd evaluate; by default pictures are judged as found alone.
        size: Side in pixels: of the whole picture for pixels (64), of a crop for spectrum and backbone (128).
        components: Principal components that the model sees instead of all features; by default 128 of
            pixels.
        checkpoint: Net of the embeddings: file that dfd fit wrote.
        backbone: Net of the embeddings: timm's name, such as mobilenetv2_100.
        weights: File of the backbone's weights; by default those of the hub or its cache.
        name: Of the baseline in tables; by default FEATURES-MODEL.
        workers: Decoding processes; 0 decodes in this one.
        device: Where a net of embeddings runs, as torch names it.
        batch_size: Pictures that are described at once.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.classical.baseline import baseline
    from dfd.evaluate.classical.features import features_named

    features = features_named(
        on,
        size=size,
        components=components,
        checkpoint=checkpoint,
        backbone=backbone,
        weights=weights,
        device=device,
        allow=("dfd.", *allow),
    )
    baseline(
        shards,
        features,
        out,
        model=model,
        judge=judge,
        conditions=conditions,
        name=name,
        batch_size=batch_size,
        workers=workers,
    )


VERBS = (baseline,)
