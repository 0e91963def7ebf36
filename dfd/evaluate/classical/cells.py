"""Cells of a grid for detectors without a net: the same prediction files, metrics and reports as for nets."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfd.batch import Predictions
from dfd.calibration import certificate, fit_calibration, fit_thresholds
from dfd.detector.card import Card
from dfd.evaluate.classical.features import Described, Features
from dfd.evaluate.classical.models import Model
from dfd.evaluate.classical.splits import Splits
from dfd.evaluate.conditions import Condition
from dfd.evaluate.judging import Judged, collected, verdicts
from dfd.evaluate.plan import NamedRoot, Pass, card_facts, cell_file
from dfd.evaluate.prediction_file import write_predictions
from dfd.evaluate.provenance import cell_facts, plain
from dfd.evaluate.shortcut_files import PassShortcuts


@dataclass(frozen=True)
class ShallowDetector:
    """A detector of features: a model of them, with the card that a checkpoint would have.

    Args:
        name: as tables call it.
        features: that it sees.
        model: features (M, F) -> raw logits (M,).
        card: view, calibration, thresholds, and what these rest on.
        sha256: of what it was made of.
    """

    name: str
    features: Features
    model: Model
    card: Card
    sha256: str

    def facts(self) -> dict[str, Any]:
        """What grid.json says of it."""
        told = {"name": self.name, "path": "", "sha256": self.sha256, **card_facts(self.card)}
        return {**told, "command": ["dfd", *sys.argv[1:]]}

    def judge(self, root: NamedRoot, described: Described) -> Judged:
        """What it says of the pictures of a root's split."""
        logit = np.full(len(described.row), np.nan)
        finite = np.isfinite(described.values).all(axis=1)
        if finite.any():
            logit[finite] = self.model(described.values[finite])
        unknown = np.full(len(logit), np.nan)
        return collected(root.rows, described.row, logit, unknown, described.faults, root.data)


def calibrated(
    name: str,
    what: str,
    features: Features,
    model: Model,
    val: Predictions,
    splits: Splits,
    *,
    selected_on: str,
    made_of: Mapping[str, Any],
) -> ShallowDetector:
    """The detector of a fitted model, calibrated on val by Platt's method, which SVMs need.

    Args:
        what: the model in words.
        val: the pictures that chose it, with their logits.
        made_of: what tells it from others, plain values.
    """
    thresholds = fit_thresholds(val.logit, val.label, val.source, val.family)
    seen = {split: np.concatenate(prints) for split, prints in splits.seen.items()}
    if features.seen is not None:
        seen["train"] = np.union1d(seen["train"], features.seen)
    roots = [root.path for root in splits.train]
    card = Card(
        {"class_path": what, "init_args": {}},
        view=dict(vars(features.view)),
        calibration=fit_calibration(val.logit, val.label, "platt"),
        thresholds=thresholds,
        calibrated_on={
            "split": "val",
            "images": len(val),
            "groups": val.num_families,
            "data": splits.title,
            "sources": certificate(val, thresholds),
        },
        selected_on=selected_on,
        seen={split: torch.from_numpy(prints) for split, prints in seen.items()},
        data={"class_path": "dfd.data.ShardDataModule", "init_args": {"roots": roots, "seed": 0}},
    )
    told = {
        "what": what,
        "features": [
            features.name,
            features.title,
            features.components,
            vars(features.view),
            features.made_of,
        ],
        "roots": [root.digest for root in (*splits.train, *splits.val)],
        **made_of,
    }
    digest = hashlib.sha256(json.dumps(plain(told), sort_keys=True).encode()).hexdigest()
    return ShallowDetector(name, features, model, card, digest)


def described_in_grid(
    out: Path,
    features: Features,
    root: NamedRoot,
    condition: Condition,
    advance: Callable[[int], None],
) -> Described:
    """The judged pictures of a root by their features; what file facts and colour alone tell of them is asked
    on the way, and kept in the grid's folder.
    """
    shortcuts = PassShortcuts(out, Pass(root, condition), None)
    described = features.describe(root, advance, condition, shortcuts.watched)
    shortcuts.write()
    return described


def write_cell(
    out: Path, detector: ShallowDetector, root: NamedRoot, condition: Condition, judged: Judged
) -> None:
    """Writes the prediction file of one root under one condition into a grid's folder."""
    card, rows = detector.card, judged.predictions.row
    speaks = root.drawings or not card.of_drawings
    prob, verdict, strange = verdicts(card, None, judged.predictions, speaks)
    identity = {
        "detector": detector.sha256,
        "root": root.digest,
        "split": root.split,
        "condition": condition.what,
        "limit": None,
        "drawings": root.drawings,
    }
    facts = cell_facts(
        card,
        detector.facts(),
        root,
        condition,
        prints=root.data.fingerprints(rows),
        speaks=speaks,
        identity=identity,
    )
    write_predictions(
        out / cell_file(detector.name, root.name, condition),
        judged.predictions,
        root.data.describe(rows),
        prob=prob,
        verdict=verdict,
        reason=judged.reason,
        facts=plain({**facts, "strange": strange}),
    )
