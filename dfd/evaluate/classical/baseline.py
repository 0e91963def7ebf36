"""Baselines: shallow models of simple features, through the splits, the tables and the reports of nets.

A net that is no better than these has learnt nothing that pixels, a spectrum or the file's own facts do not
say at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dfd.durable import explain_os_error
from dfd.evaluate.classical.cells import ShallowDetector, calibrated, described_in_grid, write_cell
from dfd.evaluate.classical.features import Features
from dfd.evaluate.classical.file_audit import audit_cues, audit_metadata
from dfd.evaluate.classical.models import WORDS, Fitted, ModelKind, Part, fit
from dfd.evaluate.classical.splits import Splits, open_splits
from dfd.evaluate.conditions import CLEAN, Condition, load_conditions
from dfd.evaluate.folder import check_out
from dfd.evaluate.names import NAME, named, root_name
from dfd.evaluate.plan import cell_file
from dfd.evaluate.provenance import join_record, plain
from dfd.evaluate.screen import show
from dfd.evaluate.tidy import write_metrics
from dfd.outputs import output_file
from dfd.progress import progress
from dfd.terminal import printable

FOLDER = "baselines"  # of a grid: what each baseline was chosen from


@dataclass(frozen=True)
class Baseline:
    """What `dfd baseline` found.

    Args:
        detector: as the grid holds it.
        fitted: its model, and what it was chosen from.
        metrics: the table of the whole grid.
        audit: sentences on what a model of cues or metadata has read; none of other features.
    """

    detector: ShallowDetector
    fitted: Fitted
    metrics: pa.Table
    audit: list[str]


def baseline(
    shards: Sequence[str],
    features: Features,
    out: Path,
    *,
    model: ModelKind | None = None,
    judge: Sequence[str] = (),
    conditions: str | None = None,
    name: str | None = None,
    batch_size: int = 32,
    workers: int = 2,
) -> Baseline:
    """Fits a shallow model on the train split, chooses and calibrates it on val, judges test, and prints what
    it reaches.

    Args:
        shards: folders of finished shards, or "NAME=FOLDER", that it learns from.
        features: see `features_named`.
        out: folder of a grid: new, or that of `dfd evaluate` or of an earlier baseline, which it joins.
        model: logistic or svm; None takes the one that goes with the features.
        judge: further shards that are only judged.
        conditions: see `load_conditions`; None judges clean pictures alone.
        name: of the detector in tables; by default that of features and model.

    Raises:
        ValueError: something is wrong with what was named; says what.
    """
    kind = model or features.model
    name = name or f"{features.name}-{kind}"
    if not NAME.fullmatch(name):
        raise ValueError(
            f"--name {name!r}: a name has letters, digits, _, . and - alone, such as spectrum-svm."
        )
    asked = load_conditions(conditions) if conditions else [Condition(CLEAN)]
    _check_conditions(asked, features)
    check_out(out, named([*shards, *judge], "root", root_name).values())
    splits = open_splits(shards, judge, features, batch_size=batch_size, workers=workers)
    total = splits.num_to_learn + len(asked) * sum(len(root.rows) for root in splits.test)
    try:
        with progress(total, "pictures") as advance:
            train, _ = splits.together("train", splits.describe(features, "train", advance))
            val, val_table = splits.together("val", splits.describe(features, "val", advance))
            for split, part in (("train", train), ("val", val)):
                _check_part(split, part)
            fitted = fit(train, val, kind, features.components)
            detector = calibrated(
                name,
                f"{words(kind, features)} of {features.title}",
                features,
                fitted.model,
                replace(val_table, logit=fitted.model(val.values)),
                splits,
                selected_on=(
                    f"val/auroc (best of {len(fitted.tried)} strengths of regularization, split: val)"
                ),
                made_of={"model": kind, "strength": fitted.strength},
            )
            files = [cell_file(name, root.name, each) for root in splits.test for each in asked]
            join_record(out, detector.facts(), splits.test, asked, files, "test")
            for root in splits.test:
                for condition in asked:
                    described = described_in_grid(out, features, root, condition, advance)
                    write_cell(out, detector, root, condition, detector.judge(root, described))
        audit = _audit(features, kind, train, val, fitted, detector, splits)
        _write_choice(out, detector, fitted, splits, audit)
        table = write_metrics(out, workers)
    except OSError as error:
        raise explain_os_error(error, out) from error
    show(out, table, None)
    print(f"{name}: {detector.card.net['class_path']}; {choice(fitted)}")
    for sentence in audit:
        print(printable(sentence, keep=""))
    return Baseline(detector, fitted, table, audit)


def words(kind: ModelKind, features: Features) -> str:
    """The model in words."""
    reduced = f"PCA ({features.components}) + " if features.components else ""
    return reduced + WORDS[kind]


def choice(fitted: Fitted) -> str:
    """What val chose among what, in words."""
    tried = ", ".join(f"{strength:g}: {reached:.3f}" for strength, reached in fitted.tried.items())
    return f"val chose C = {fitted.strength:g} (AUROC on val by C: {tried})"


def _check_conditions(asked: Sequence[Condition], features: Features) -> None:
    changed = [each.title for each in asked if each.name != CLEAN]
    if features.of_table and changed:
        raise ValueError(
            f"--conditions change pixels ({changed[0]}), and {features.name} were measured in the files as "
            "found. Leave --conditions out."
        )
    if attacked := [each.title for each in asked if each.attack]:
        raise ValueError(
            f"--conditions: {attacked[0]} follows a net's gradient, and a baseline has none. Name "
            "corruptions alone."
        )


def _check_part(split: str, part: Part) -> None:
    if not part.enough:
        counts = [int((part.label == kind).sum()) for kind in (0, 1)]
        raise ValueError(
            f"of the {split} split {counts[0]} real and {counts[1]} fake pictures could be described, too "
            "few for a model. `dfd audit` lists what is wrong with the others; a smaller --size takes "
            "smaller pictures."
        )


def _audit(
    features: Features,
    kind: ModelKind,
    train: Part,
    val: Part,
    fitted: Fitted,
    detector: ShallowDetector,
    splits: Splits,
) -> list[str]:
    """What the figures of a model of the file mean, for each root that it judged."""
    if not features.of_table:
        return []
    names = features.columns(splits.train[0])
    judged = []
    for root in splits.test:
        described = features.describe(root, lambda count: None)
        judged.append((root.name, described.values, detector.judge(root, described).predictions))
    if features.name == "metadata":
        return audit_metadata(names, fitted.weights, judged)
    return audit_cues(names, kind, train, val, judged)


def _write_choice(
    out: Path, detector: ShallowDetector, fitted: Fitted, splits: Splits, audit: Sequence[str]
) -> None:
    """OUT/baselines/NAME.json: what was chosen from what, and the weight of each feature that has a name."""
    names = detector.features.columns(splits.train[0])
    weights = None
    if names and fitted.weights is not None:
        order = np.argsort(-np.abs(fitted.weights), kind="stable")
        weights = {names[at]: round(float(fitted.weights[at]), 6) for at in order.tolist()}
    told = {
        **detector.facts(),
        "strength": fitted.strength,
        "val_auroc": {f"{strength:g}": reached for strength, reached in fitted.tried.items()},
        "num_train": sum(len(root.rows) for root in splits.train),
        "weights": weights,
        "audit": list(audit),
    }
    with output_file(out / FOLDER / f"{detector.name}.json") as temporary:
        temporary.write_text(json.dumps(plain(told), indent=1, allow_nan=False) + "\n", encoding="utf-8")
