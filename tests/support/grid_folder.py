"""Folders of `dfd evaluate` without judging: scores that are drawn, in the files that a real grid has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pictures import patches
from scipy.special import expit

from dfd.batch import Predictions
from dfd.evaluate.attack_conditions import PictureAttack
from dfd.evaluate.prediction_file import write_predictions
from dfd.evaluate.tidy import write_metrics
from dfd.shards.samples import NewSample, write_samples

CONDITIONS = {"clean": (None,), "jpeg": (80, 40), "delivery": (None,)}
THRESHOLDS = {"balanced": 0.0, "fpr5": 1.0, "fnr5": -1.0}


def grid_folder(
    folder: Path,
    *,
    detectors: Sequence[str] = ("home",),
    roots: Sequence[str] = ("near", "far"),
    conditions: Mapping[str, Sequence[float | None]] = CONDITIONS,
    apart: Mapping[str, float] | None = None,
    num: int = 48,
    facts: Mapping[str, Any] | None = None,
    root_facts: Mapping[str, Any] | None = None,
    detector_facts: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    left_out: Sequence[str] = (),
    finished: bool = True,
) -> Path:
    """A grid as `dfd evaluate` leaves it.

    Args:
        apart: root -> distance of the two classes' mean logits; 2 on the first root and 0 on others by default.
        num: pictures of a root, half of them fake, two of a family.
        facts: of every cell's file, beside or in place of the usual ones.
        root_facts, detector_facts: the same of grid.json's roots and detectors.
        columns: of the tidy table, in place of what was measured.
        extra: columns of the prediction files beyond dfd's own, (num,) each.
        left_out: parts of the names of cells that are not there, as of a grid that was interrupted.
        finished: whether the table of metrics is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    apart = {root: 0.0 if at else 2.0 for at, root in enumerate(roots)} | dict(apart or {})
    cells = {
        f"cells/{at}/{number}/{name}{'' if severity is None else f'@{severity:g}'}.parquet": (
            detector, root, name, severity, step,
        )
        for at, detector in enumerate(detectors)
        for number, root in enumerate(roots)
        for step, (name, severity) in enumerate(
            (name, severity) for name, severities in conditions.items() for severity in severities
        )
    }  # fmt: skip
    known = {
        "sha256": "ab" * 32,
        "path": "",
        "net": "dfd.models.SingleStream",
        "calibration": {"kind": "temperature", "temperature": 1.0},
        "thresholds": THRESHOLDS,
        "calibrated_on": {"split": "val", "images": 300, "groups": 290, "data": "near"},
        "selected_on": "val/auroc (best epoch so far, split: val)",
        "trained_on": "near",
        "seed": 0,
    }
    named = [{"name": name, **known, **(detector_facts or {})} for name in detectors]
    grid = {
        "dfd": "0.1.0",
        "detectors": named,
        "roots": [
            {
                "name": root,
                "path": str(folder / "no such root"),
                "digest": "cd" * 32,
                "images": num,
                **(root_facts or {}),
            }
            for root in roots
        ],
        "conditions": [{"name": name, "severities": list(each)} for name, each in conditions.items()],
        "split": "test",
        "cells": list(cells),
        "command": ["dfd", "evaluate", "home.ckpt", "--on", *roots],
        "versions": {"dfd": "0.1.0", "python": "3.12", "torch": "2.10"},
        "git": "0123456789abcdef",
        "seed": 0,
    }
    (folder / "grid.json").write_text(json.dumps(grid), encoding="utf-8")
    for file, (detector, root, condition, severity, step) in cells.items():
        if any(part in file for part in left_out):
            continue
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        # a stronger condition brings the classes closer together
        predictions = drawn(num, apart[root] / (1 + 0.4 * step), seed=list(cells).index(file), source=root)
        told = {
            **known,
            **(detector_facts or {}),
            "num_seen": 0,
            "split": "test",
            "leaks": "",
            "speaks": True,
            "limit": None,
            "num_trained_on": 0,
            "num_chosen_on": 0,
        }
        told |= {"detector": {"name": detector, **known}, "root": {"name": root, "path": ""}}
        attack = PictureAttack("pgd", severity or 1.0) if condition.startswith("pgd") else None
        told |= {"condition": condition, "severity": severity, "what": repr(attack), **(facts or {})}
        verdict = np.select(
            [predictions.logit > 1, predictions.logit < -1], ["fake", "no_trace"], "inconclusive"
        )
        write_predictions(
            path,
            predictions,
            {
                "key": np.array([f"{root}-{row}" for row in predictions.row]),
                "path": np.array([f"{root}/{row}.jpg" for row in predictions.row]),
                "split": np.full(num, "test"),
            },
            prob=expit(predictions.logit),
            verdict=np.where(predictions.status == "ok", verdict, ""),
            reason=np.where(predictions.status == "ok", "", "cut off in the middle"),
            facts=told,
        )
        if extra:
            table = pq.read_table(path, partitioning=None)
            for name, values in extra.items():
                table = table.append_column(name, pa.array(values))
            pq.write_table(table, path)
    if finished:
        table = write_metrics(folder) if not left_out else None
        if table is not None and columns:
            for name, value in columns.items():
                at = table.schema.get_field_index(name)
                values = pa.array([value] * len(table), table.schema.field(name).type)
                table = table.set_column(at, name, values)
            pq.write_table(table, folder / "metrics.parquet")
    return folder


def drawn(num: int, apart: float, seed: int = 0, source: str = "near") -> Predictions:
    """Normal logits, +-apart / 2 by class; the last picture of all has none, since its file is cut off."""
    rng = np.random.default_rng(seed)
    label = np.arange(num) % 2
    logit = rng.normal(size=num) + apart * (label - 0.5)
    status = np.full(num, "ok", "U16")
    logit[-1], status[-1] = np.nan, "unreadable"
    return Predictions(
        row=np.arange(num),
        logit=logit,
        label=label,
        source=np.full(num, source),
        method=np.where(label == 1, np.where(np.arange(num) % 4 == 1, "swap", "whole"), ""),
        family=np.array([f"family-{row // 2}" for row in range(num)]),
        clip=np.full(num, ""),
        status=status,
    )


def root_of(folder: Path, name: str, num: int = 48) -> Path:
    """Shards with the pictures that `grid_folder` names for a root."""
    samples = [
        NewSample(
            f"{name}-{row}",
            patches(row),
            row % 2,
            "test",
            name,
            "swap" if row % 2 else "",
            (f"family-{row // 2}",),
        )
        for row in range(num)
    ]
    write_samples(samples, folder, {"command": "drawn for a test"})
    return folder
