"""Detection metrics, bootstrap intervals and paired tests: functions of one prediction table.

Images are ranked by their float64 logit, never by a probability that has saturated. Every metric takes one
weight an image: all ones give the metric itself, and how often each image was drawn gives a bootstrap
resample, so a number and its interval come from the same lines. torchmetrics has no weights and answers in
float32; the tests compare with it and with scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from dfd.batch import FAKE, NUM_BINS, REAL, Predictions
from dfd.run_record import NOT_FINITE, RunFailure

Metric = str | Callable[[Predictions], float]
CHUNK = 1 << 19  # weights held at once while resampling: 4 MiB, which stays in cache


def detection_metrics(
    predictions: Predictions, temperature: float = 1.0, threshold: float = 0.0
) -> dict[str, float]:
    """All metrics of a table. Rows with an unknown label (-1) are left out; nan means undefined (one class,
    no image).

    auroc ap: area under the ROC curve, and average precision as scikit-learn defines it: ties count half, no
        interpolation
    eer: error rate where the ROC curve, with straight lines between its points, has as many misses as false
        alarms
    acc balanced_acc precision recall f1: at `logit > threshold` (raw logit units) = fake
    tpr@fpr1 tpr@fpr5: share of fakes found by the best threshold with at most 1% (5%) false alarms
    ece brier nll: of prob = sigmoid(logit / temperature): calibration error in 15 equal bins of P(fake), mean
        squared error, mean negative log-likelihood in nats
    num_images num_groups: images and families that the others rest on

    Precision is undefined where nothing is called fake. Raises ValueError naming the rows when a logit is NaN
    or infinite.
    """
    ranked = _Ranked(predictions, temperature, threshold)
    tally = _Tally(ranked, np.ones((1, len(ranked.logit))))
    metrics = {name: float(metric(tally)[0]) for name, metric in METRICS.items()}
    return metrics | {
        "num_images": float(len(ranked.logit)),
        "num_groups": float(len(set(ranked.family.tolist()))),
    }


def check_finite(predictions: Predictions) -> None:
    """Raises ValueError naming the rows whose logit is NaN or infinite: a failure is neither a verdict nor a
    rank.
    """
    rows = predictions.row[~np.isfinite(predictions.logit)]
    if len(rows):
        named = ", ".join(map(str, rows[:8].tolist())) + ("..." if len(rows) > 8 else "")
        raise RunFailure(
            f"{len(rows)} of {len(predictions)} logits are NaN or infinite, in rows {named}. Look at these "
            "images, or at the loss.",
            NOT_FINITE,
        )


def format_metric(value: float, digits: int = 4) -> str:
    """A metric for people: "undefined" where it is nan."""
    return "undefined" if math.isnan(value) else f"{value:.{digits}f}"


def by_source(predictions: Predictions) -> dict[str, Predictions]:
    """The table of each source, in alphabetical order."""
    return {
        str(source): predictions.where(predictions.source == source)
        for source in np.unique(predictions.source)
    }


def by_method(predictions: Predictions) -> dict[str, Predictions]:
    """The fakes of each method with the reals of every source where this method occurs, in alphabetical
    order.

    Fakes alone have no AUROC, and reals of other sources would measure the difference between the sources.
    """
    fake, tables = predictions.label == FAKE, {}
    for method in np.unique(predictions.method[fake & (predictions.method != "")]):
        made = fake & (predictions.method == method)
        reals = (predictions.label == REAL) & np.isin(predictions.source, np.unique(predictions.source[made]))
        tables[str(method)] = predictions.where(made | reals)
    return tables


def interval(
    predictions: Predictions,
    metric: Metric = "auroc",
    num: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    temperature: float = 1.0,
    threshold: float = 0.0,
) -> tuple[float, float]:
    """The bootstrap interval (percentiles) of a metric.

    Whole families are drawn, because images of one family are not independent.

    metric: a key of `detection_metrics`, or any function of a table (slower: it is called `num` times).
    Resamples where the metric is undefined are left out; where they are more than 5%, so is the interval:
    (nan, nan), as it is for a single family. A score without one error resamples to itself: no width then
    means too few images, not certainty.
    """
    return _percentiles(_resampled([predictions], [metric], num, seed, temperature, threshold)[0, 0], level)


def intervals(
    predictions: Predictions, temperature: float = 1.0, threshold: float = 0.0
) -> dict[str, tuple[float, float]]:
    """The 95% bootstrap intervals that stand beside the metrics of every report; none of `ece`: resampling
    only raises it.
    """
    names = [name for name in METRICS if name != "ece"]
    drawn = _resampled([predictions], names, 2000, 0, temperature, threshold)[:, 0]
    return {name: _percentiles(values, 0.95) for name, values in zip(names, drawn, strict=True)}


class Difference(NamedTuple):
    """Metric of a minus metric of b, its bootstrap interval, and the two-sided p value of "there is no
    difference".
    """

    value: float
    low: float
    high: float
    p: float


def paired(
    a: Predictions | Sequence[Predictions],
    b: Predictions | Sequence[Predictions],
    metric: Metric = "auroc",
    num: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    temperature: float = 1.0,
    threshold: float = 0.0,
) -> Difference:
    """Is detector a better than b on the same images? Both meet the same draws of families, so the images'
    difficulty cancels.

    Several tables a side are several training seeds: the mean of their metrics is compared. The interval
    speaks of other images, not of other seeds. p is twice the smaller share of resamples on either side of
    zero, never under 2 / (num + 1). Raises ValueError when the tables do not hold the same rows, labels and
    families.
    """
    sides = [[side] if isinstance(side, Predictions) else list(side) for side in (a, b)]
    if not all(sides):
        raise ValueError("A side of the comparison holds no table. Give at least one on each side.")
    tables = [table.where(np.argsort(table.row, kind="stable")) for side in sides for table in side]
    for table in tables[1:]:
        _check_same(tables[0], table)
    size = len(sides[0])
    here = [_value(table, metric, temperature, threshold) for table in tables]
    drawn = _resampled(tables, [metric], num, seed, temperature, threshold)[0]
    value = float(np.mean(here[:size]) - np.mean(here[size:]))
    differences = drawn[:size].mean(axis=0) - drawn[size:].mean(axis=0)
    low, high = _percentiles(differences, level)
    if math.isnan(low):
        return Difference(value, low, high, math.nan)
    defined = differences[~np.isnan(differences)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return Difference(value, low, high, float(min(1.0, 2 * (tail + 1) / (len(defined) + 1))))


class _Ranked:
    """The rows of known label, from the most to the least fake, with what each metric needs of an image."""

    def __init__(self, predictions: Predictions, temperature: float, threshold: float):
        check_finite(predictions)
        logit = np.asarray(predictions.logit, np.float64)
        known = np.flatnonzero(predictions.label >= 0)
        self.order = order = known[np.argsort(-logit[known], kind="stable")]
        self.logit, self.fake, self.family = (
            logit[order],
            predictions.label[order] == FAKE,
            predictions.family[order],
        )
        self.called = self.logit > threshold
        self.scaled = self.logit / temperature
        self.prob = expit(self.scaled)
        # the last row of each run of equal logits: a threshold cannot part them
        self.ends = (
            np.flatnonzero(np.append(self.logit[1:] != self.logit[:-1], True)) if len(order) else order
        )


class _Tally:
    """R weightings of one ranked table, weight (R, M); each metric is (R,), nan where undefined."""

    def __init__(self, ranked: _Ranked, weight: np.ndarray):
        self.ranked, self.weight = ranked, weight
        self.total = weight.sum(axis=1)
        self.fakes = weight @ ranked.fake
        self.reals = self.total - self.fakes
        self.both = (self.fakes > 0) & (self.reals > 0)

    @cached_property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Hits and false alarms of every threshold, from none called fake to all: 2 x (R, thresholds + 1)."""
        counts = []
        for kind in (self.ranked.fake, ~self.ranked.fake):
            cumulated = np.cumsum(self.weight * kind, axis=1)[:, self.ranked.ends]
            counts.append(np.pad(cumulated, ((0, 0), (1, 0))))
        return counts[0], counts[1]

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Hits and false alarms at the threshold: 2 x (R,)."""
        return self.weight @ (self.ranked.called & self.ranked.fake), self.weight @ (
            self.ranked.called & ~self.ranked.fake
        )

    def auroc(self) -> np.ndarray:
        hits, alarms = self.curve
        area = (np.diff(alarms) * (hits[:, 1:] + hits[:, :-1])).sum(axis=1) / 2
        return _ratio(area, self.fakes * self.reals, self.both)

    def ap(self) -> np.ndarray:
        hits, alarms = self.curve
        called = hits[:, 1:] + alarms[:, 1:]
        precision = np.divide(hits[:, 1:], called, out=np.zeros_like(called), where=called > 0)
        return _ratio((np.diff(hits) * precision).sum(axis=1), self.fakes, self.both)

    def eer(self) -> np.ndarray:
        if not self.both.any():
            return np.full(len(self.total), np.nan)
        hits, alarms = self.curve
        false = alarms / np.maximum(self.reals, 1e-300)[:, None]
        # false alarms minus misses: from -1 up to 1
        gap = false + hits / np.maximum(self.fakes, 1e-300)[:, None] - 1
        after = np.clip((gap >= 0).argmax(axis=1), 1, None)[:, None]
        (gap_0, gap_1), (false_0, false_1) = (
            [np.take_along_axis(values, at, axis=1)[:, 0] for at in (after - 1, after)]
            for values in (gap, false)
        )
        return np.where(
            self.both, false_0 + _ratio(-gap_0, gap_1 - gap_0, self.both) * (false_1 - false_0), np.nan
        )

    def tpr_at(self, fpr: float) -> np.ndarray:
        hits, alarms = self.curve
        allowed = (fpr * self.reals + 1e-9)[:, None]  # 1e-9: 0.01 * 100 must allow one
        return _ratio(np.where(alarms <= allowed, hits, 0).max(axis=1), self.fakes, self.both)

    def acc(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(hits + self.reals - alarms, self.total)

    def balanced_acc(self) -> np.ndarray:
        hits, alarms = self.cells
        return (_ratio(hits, self.fakes) + 1 - _ratio(alarms, self.reals)) / 2

    def precision(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(hits, hits + alarms, self.both)

    def recall(self) -> np.ndarray:
        return _ratio(self.cells[0], self.fakes)

    def f1(self) -> np.ndarray:
        hits, alarms = self.cells
        return _ratio(2 * hits, hits + alarms + self.fakes, self.both)

    def ece(self) -> np.ndarray:
        place = np.minimum((self.ranked.prob * NUM_BINS).astype(int), NUM_BINS - 1)
        excess = np.zeros((len(place), NUM_BINS))  # the claimed minus the true, in the bin of each image
        excess[np.arange(len(place)), place] = self.ranked.prob - self.ranked.fake
        return _ratio(np.abs(self.weight @ excess).sum(axis=1), self.total)

    def brier(self) -> np.ndarray:
        return _ratio(self.weight @ (self.ranked.prob - self.ranked.fake) ** 2, self.total)

    def nll(self) -> np.ndarray:
        return _ratio(
            self.weight @ (np.logaddexp(0, self.ranked.scaled) - self.ranked.fake * self.ranked.scaled),
            self.total,
        )


METRICS: dict[str, Callable[[_Tally], np.ndarray]] = {
    "auroc": _Tally.auroc,
    "ap": _Tally.ap,
    "eer": _Tally.eer,
    "acc": _Tally.acc,
    "balanced_acc": _Tally.balanced_acc,
    "precision": _Tally.precision,
    "recall": _Tally.recall,
    "f1": _Tally.f1,
    "tpr@fpr1": lambda tally: tally.tpr_at(0.01),
    "tpr@fpr5": lambda tally: tally.tpr_at(0.05),
    "ece": _Tally.ece,
    "brier": _Tally.brier,
    "nll": _Tally.nll,
}


def _ratio(part: np.ndarray, whole: np.ndarray, defined: np.ndarray | bool = True) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=(whole > 0) & defined)


def _value(predictions: Predictions, metric: Metric, temperature: float, threshold: float) -> float:
    return (
        metric(predictions)
        if callable(metric)
        else detection_metrics(predictions, temperature, threshold)[_known(metric)]
    )


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(
            f"There is no metric {name!r} to resample. Take one of {', '.join(METRICS)}, or a function of a "
            "table."
        )
    return name


def _resampled(
    tables: list[Predictions],
    metrics: Sequence[Metric],
    num: int,
    seed: int,
    temperature: float,
    threshold: float,
) -> np.ndarray:
    """Each metric of each table on the same `num` draws of families: (metrics, tables, num)."""
    tables = [table.where(table.label >= 0) for table in tables]
    _, family = np.unique(tables[0].family, return_inverse=True)
    if not len(family) or not family.max():  # one family resamples to itself
        return np.full((len(metrics), len(tables), num), np.nan)
    ranked = [_Ranked(table, temperature, threshold) for table in tables]
    chunks = []
    # (R, families): how often each family was drawn
    for draws in _draws(int(family.max()) + 1, len(family), num, seed):
        tallies = [_Tally(table, draws[:, family[table.order]].astype(np.float64)) for table in ranked]
        chunks.append(
            [
                [_of_draws(metric, *pair, family, draws) for pair in zip(tables, tallies, strict=True)]
                for metric in metrics
            ]
        )
    return np.concatenate(chunks, axis=-1)


def _of_draws(
    metric: Metric, table: Predictions, tally: _Tally, family: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """(R,) values of a metric, one a draw."""
    if not callable(metric):
        return METRICS[_known(metric)](tally)
    picks = [np.repeat(np.arange(len(family)), draw[family]) for draw in draws]
    return np.array([metric(table.where(pick)) for pick in picks], np.float64)


def _draws(num_families: int, num_images: int, num: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // num_images)
    for start in range(0, num, step):
        size = min(step, num - start)
        picks = (
            rng.integers(num_families, size=(size, num_families)) + num_families * np.arange(size)[:, None]
        )
        yield np.bincount(picks.ravel(), minlength=size * num_families).reshape(size, num_families)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) < 0.95 * len(values) or not len(values):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_same(first: Predictions, other: Predictions) -> None:
    if len(first) != len(other) or (first.row != other.row).any():
        only = len(np.setdiff1d(first.row, other.row)), len(np.setdiff1d(other.row, first.row))
        raise ValueError(
            f"Only tables of the same images can be paired: {len(first)} rows against {len(other)}, "
            f"{only[0]} rows only in the "
            f"first and {only[1]} only in the other. Judge both detectors on the same split."
        )
    for name in ("label", "family"):
        if (differ := getattr(first, name) != getattr(other, name)).any():
            raise ValueError(
                f"Row {first.row[differ][0]} has {name} {getattr(first, name)[differ][0]} in one table and "
                f"{getattr(other, name)[differ][0]} in the other: these are different data sets."
            )
