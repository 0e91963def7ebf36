"""Comparison of detectors on the same pictures: paired tests of their tables of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import logit as log_odds

from dfd.batch import FAKE, REAL, Predictions
from dfd.evaluate.names import split_name
from dfd.evaluate.prediction_tables import Judged, read_judged
from dfd.metrics import Difference, delong, detection_metrics, holm, paired_sides, resamples
from dfd.terminal import printable

# what a metric is computed from: the raw logits, P(fake), the detector's own threshold, or how sure it is of
# what it says at its threshold
RANKED = ("auroc", "ap", "eer", "tpr@fpr0.1", "tpr@fpr1", "tpr@fpr5")
CALIBRATED = ("brier", "nll", "ece")
DECIDED = ("acc", "balanced_acc", "acc_real", "acc_fake", "precision", "recall", "f1")
SELECTIVE = ("aurc", "risk@cov80", "risk@cov50", "cov@risk5")
COVERAGE = "coverage"  # share of the pictures that have a logit: the one metric of those without, too
LOWER_IS_BETTER = ("eer", *CALIBRATED, "aurc", "risk@cov80", "risk@cov50")
ALPHA = 0.05  # below it a difference is called shown
KNOWN = (*RANKED, *CALIBRATED, *DECIDED, *SELECTIVE, COVERAGE)
SURE = 1e-15  # P(fake) is at least so far from 0 and 1, where log odds are finite


@dataclass(frozen=True)
class Side:
    """A detector of the comparison: a table for each of its training seeds."""

    name: str
    tables: tuple[Judged, ...]


@dataclass(frozen=True)
class Test:
    """One metric of two detectors. p values with `_holm` are corrected for all tests of the comparison."""

    a: Side
    b: Side
    metric: str
    values: tuple[float, float]
    difference: Difference  # of a minus b, by the bootstrap over families
    p_holm: float
    delong: Difference | None  # of the AUROC of one seed each, every picture taken for independent
    delong_holm: float
    num_images: int
    num_families: int

    @property
    def better(self) -> str:
        """The name of the better one, or that none is shown to be."""
        if not self.p_holm < ALPHA:
            return "not shown"
        return self.a.name if (self.difference.value > 0) != (self.metric in LOWER_IS_BETTER) else self.b.name


@dataclass(frozen=True)
class Comparison:
    """All pairs of detectors, for each metric."""

    tests: tuple[Test, ...]
    num_images: int  # that all metrics but the coverage are of
    num_families: int
    num_left_out: int  # pictures without a label, or without a verdict in any table
    without: Mapping[str, int]  # of the latter, how many in each table


def compare(given: Sequence[str], metrics: Sequence[str] = ("auroc",)) -> Comparison:
    """Paired tests between detectors on the same pictures.

    The interval and p are those of the bootstrap over families (`dfd.metrics.paired`); for the AUROC of
    detectors with one table each DeLong's test stands beside it. Pictures on which a table has no verdict, or
    no label, are left out of all of them, and counted; the coverage alone is of all pictures.

    Args:
        given: tables, each FILE, NAME=FILE, or NAME=FILE,FILE with one for each training seed: CSV of
            `dfd test`, `validate` and `predict`, and prediction files of `dfd evaluate`.
        metrics: see `KNOWN`.

    Raises:
        ValueError: a file is no such table; tables are of different pictures, or the same one twice; labels
            are missing, or of one class alone; a metric is not known or cannot be had of these tables.
    """
    _check_metrics(metrics)
    sides = _sides(given)
    tables = [table for side in sides for table in side.tables]
    if len(sides) < 2:
        raise ValueError("one detector alone compares with none. Name the table of a second one.")
    _check_tables(tables)
    label = tables[0].predictions.label
    judged = np.all([table.predictions.status == "ok" for table in tables], axis=0)
    kept = judged & (label >= 0)
    if not (label >= 0).any():
        raise ValueError(
            f"{tables[0].file} has no labels: without the truth no detector is better than another. Compare "
            "tables of labelled pictures."
        )
    first = tables[0].predictions.where(kept)
    found, num = [], resamples(len(metrics) * math.comb(len(sides), 2))
    for metric in metrics:
        found += _tested(sides, metric, np.ones_like(kept) if metric == COVERAGE else kept, num)
    p = holm([test.difference.p for test in found])
    of_delong = holm([math.nan if test.delong is None else test.delong.p for test in found])
    tests = tuple(
        replace(test, p_holm=float(each), delong_holm=float(other))
        for test, each, other in zip(found, p, of_delong, strict=True)
    )
    without = {table.file: int((table.predictions.status != "ok").sum()) for table in tables}
    without = {file: number for file, number in without.items() if number}
    return Comparison(tests, len(first), first.num_families, int((~kept).sum()), without)


def _check_metrics(metrics: Sequence[str]) -> None:
    if not metrics:
        raise ValueError(f"--metric: name at least one of {', '.join(KNOWN)}.")
    for name in metrics:
        if name not in KNOWN:
            raise ValueError(f"--metric {printable(name)} is not known. Take one of {', '.join(KNOWN)}.")
        if metrics.count(name) > 1:
            raise ValueError(f"--metric {name} comes twice. Name it once.")


def _sides(given: Sequence[str]) -> list[Side]:
    found: dict[str, list[Judged]] = {}
    for text in given:
        name, files = split_name(text)
        tables = [read_judged(file) for file in ([files] if Path(files).exists() else files.split(","))]
        called = name or tables[0].name
        if called in found and not name and tables[0].condition:
            called = f"{called}-{tables[0].condition}"
        if called in found:
            raise ValueError(
                f"two detectors are called {called}: {found[called][0].file} and {tables[0].file}. Give one "
                f"of them a name, NAME={tables[0].file}; tables of one detector's seeds go together: "
                f"{called}={found[called][0].file},{tables[0].file}."
            )
        found[called] = tables
    return [Side(name, tuple(tables)) for name, tables in found.items()]


def _check_tables(tables: Sequence[Judged]) -> None:
    """ValueError unless all are of the same pictures with the same truth, and each is there once."""
    first = tables[0]
    for table in tables[1:]:
        if len(table.picture) != len(first.picture) or (table.picture != first.picture).any():
            only = [
                len(np.setdiff1d(one.picture, other.picture))
                for one, other in ((first, table), (table, first))
            ]
            raise ValueError(
                f"{first.file} and {table.file} are of different pictures: {only[0]} of "
                f"{len(first.picture)} are only in the first, {only[1]} of {len(table.picture)} only in the "
                "second. Judge both detectors on the same split of the same shards."
            )
        for name, what in (("label", "label"), ("family", "family")):
            if (differ := getattr(first.predictions, name) != getattr(table.predictions, name)).any():
                picture = printable(first.picture[differ][0].partition("\n")[0])
                raise ValueError(
                    f"{first.file} and {table.file} have another {what} for {int(differ.sum())} of "
                    f"{len(differ)} pictures, first for {picture}: these are different data sets."
                )
    for one, other in combinations(tables, 2):
        same = np.array_equal(one.predictions.logit, other.predictions.logit, equal_nan=True)
        if Path(one.file).resolve() == Path(other.file).resolve() or same:
            raise ValueError(
                f"{one.file} and {other.file} are the same table: every logit is equal. Name the tables of "
                "two detectors, or of two seeds."
            )


def _tested(sides: Sequence[Side], metric: str, kept: np.ndarray, num: int) -> list[Test]:
    """The metric of each pair, the bootstrap's test, and DeLong's where there is one; nothing is corrected
    yet.
    """
    tables = [[of_metric(table, metric).where(kept) for table in side.tables] for side in sides]
    # a picture that is judged is one that is called right, see `of_metric`
    computed = "acc" if metric == COVERAGE else metric
    means = [float(np.mean([detection_metrics(table)[computed] for table in each])) for each in tables]
    first = tables[0][0]
    if any(map(math.isnan, means)):
        raise ValueError(
            f"{metric} is not defined on these pictures: {(first.label == REAL).sum()} real and "
            f"{(first.label == FAKE).sum()} fake ones have a verdict of all detectors."
        )
    pairs = list(combinations(range(len(sides)), 2))
    differences = paired_sides(tables, pairs, computed, num)
    return [
        Test(
            a=sides[a],
            b=sides[b],
            metric=metric,
            values=(means[a], means[b]),
            difference=difference,
            p_holm=math.nan,
            delong=delong(tables[a][0], tables[b][0])
            if metric == "auroc" and len(tables[a]) == len(tables[b]) == 1
            else None,
            delong_holm=math.nan,
            num_images=len(first),
            num_families=first.num_families,
        )
        for (a, b), difference in zip(pairs, differences, strict=True)
    ]


def of_metric(table: Judged, metric: str) -> Predictions:
    """The table with the logits that a metric is computed from, with its threshold at zero."""
    predictions = table.predictions
    if metric in RANKED:
        return predictions
    ok = predictions.status == "ok"
    if metric == COVERAGE:  # all are called fake or real, the judged ones rightly
        every = {"label": np.full(len(ok), FAKE), "status": np.full(len(ok), "ok")}
        return replace(predictions, logit=np.where(ok, 1.0, -1.0), **every)
    if metric in CALIBRATED:
        if lacking := int(np.isnan(table.prob[ok]).sum()):
            why = "its detector was never calibrated" if lacking == ok.sum() else "they are unfamiliar to it"
            raise ValueError(
                f"{table.file} has no P(fake) for {lacking} of {ok.sum()} pictures: {why}. {metric} needs it "
                f"of all; {', '.join(RANKED)} do not, and files of dfd evaluate hold the calibration."
            )
        weighed = log_odds(np.clip(table.prob, SURE, 1 - SURE))
        return replace(predictions, logit=weighed, familiarity=np.full(len(weighed), np.nan))
    if table.threshold is None:
        raise ValueError(
            f"{table.file} does not say its detector's threshold, which {metric} needs. Compare the "
            "prediction files of dfd evaluate, OUT/cells/*/*/*.parquet, or take one of "
            f"{', '.join((*RANKED, *CALIBRATED, COVERAGE))}."
        )
    logit = predictions.logit - table.threshold
    if metric in SELECTIVE:
        unknown = np.full(len(logit), np.nan)  # what is strange has been weighed
        return replace(predictions, logit=_by_confidence(table, logit), familiarity=unknown)
    return replace(predictions, logit=logit)


def _by_confidence(table: Judged, logit: np.ndarray) -> np.ndarray:
    """Logits (M,) that say the same at zero as `logit` does, and lie the farther from it the surer the
    detector is: unfamiliar pictures nearest, whatever their own logit, and equally sure ones equally far.
    """
    ok = table.predictions.status == "ok"
    _, place = np.unique(table.sure[ok], return_inverse=True)
    prob = np.full(len(logit), math.nan)
    far = (place + 1) / (2 * len(place) + 2)  # from > 0 up to < .5
    prob[ok] = 0.5 + np.where(logit[ok] > 0, far, -far)
    return log_odds(prob)
