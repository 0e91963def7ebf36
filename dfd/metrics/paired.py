"""Paired tests of two detectors on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dfd.batch import FAKE, Predictions
from dfd.metrics.bootstrap import Metric, percentiles, resampled, value_of
from dfd.metrics.values import Calibrated, Ranked, check_finite, uncalibrated


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
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
) -> Difference:
    """Is detector a better than b on the same images? Both meet the same draws of families, so the images'
    difficulty cancels.

    Several tables a side are several training seeds: the mean of their metrics is compared. The interval
    speaks of other images, not of other seeds. p is twice the smaller share of resamples on either side of
    zero, never under 2 / (num + 1). Rows that one of the tables has no logit for are left out of all. Raises
    ValueError when the tables do not hold the same rows, labels and families.
    """
    sides = [[side] if isinstance(side, Predictions) else list(side) for side in (a, b)]
    return paired_sides(sides, [(0, 1)], metric, num, seed, level, calibrated, threshold)[0]


def paired_sides(
    sides: Sequence[Sequence[Predictions]],
    pairs: Sequence[tuple[int, int]],
    metric: Metric = "auroc",
    num: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
) -> list[Difference]:
    """`paired` of the sides at each of these pairs of places; each table is resampled once, however many
    pairs it is in.
    """
    if not all(sides):
        raise ValueError("A side of the comparison holds no table. Give at least one on each side.")
    tables = [table.where(np.argsort(table.row, kind="stable")) for side in sides for table in side]
    for table in tables[1:]:
        _check_same(tables[0], table)
    tables = _measured(tables)
    here = np.array([value_of(table, metric, calibrated, threshold) for table in tables])
    ranked = [Ranked(table, calibrated, threshold) for table in tables]
    drawn = resampled(tables, ranked, [metric], num, seed)[0]
    ends = np.cumsum([len(side) for side in sides])
    of = [slice(end - len(side), end) for end, side in zip(ends, sides, strict=True)]
    return [
        _difference(
            float(here[of[a]].mean() - here[of[b]].mean()),
            drawn[of[a]].mean(axis=0) - drawn[of[b]].mean(axis=0),
            level,
        )
        for a, b in pairs
    ]


def _difference(value: float, drawn: np.ndarray, level: float) -> Difference:
    """Of the value as found, and of the resamples (num,)."""
    low, high = percentiles(drawn, level)
    if math.isnan(low):
        return Difference(value, low, high, math.nan)
    defined = drawn[~np.isnan(drawn)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return Difference(value, low, high, float(min(1.0, 2 * (tail + 1) / (len(defined) + 1))))


def delong(a: Predictions, b: Predictions, level: float = 0.95) -> Difference:
    """AUROC of a minus AUROC of b on the same images, with an interval and a p value from their covariance.

    DeLong, DeLong & Clarke-Pearson 1988 by ranks (Sun & Xu 2014). It takes every image for independent of
    the others: where families hold several images, or only few are of one class, trust `paired`. nan where
    fewer than two images of a class are left; rows and errors as of `paired`.
    """
    a, b = (table.where(np.argsort(table.row, kind="stable")) for table in (a, b))
    _check_same(a, b)
    a, b = _measured([a, b])
    fake = a.label == FAKE
    num_fake, num_real = int(fake.sum()), int((~fake).sum())
    if min(num_fake, num_real) < 2:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    from scipy.stats import rankdata  # half a second, which using a detector need not pay

    # of each detector: how many reals are below each fake, and how many fakes above each real, as shares
    below, above = np.zeros((2, num_fake)), np.zeros((2, num_real))
    for side, table in enumerate((a, b)):
        check_finite(table)
        among = rankdata(table.logit)
        below[side] = (among[fake] - rankdata(table.logit[fake])) / num_real
        above[side] = 1 - (among[~fake] - rankdata(table.logit[~fake])) / num_fake
    value = float(below[0].mean() - below[1].mean())
    variances = [np.var(each[0] - each[1], ddof=1) / each.shape[1] for each in (below, above)]
    variance = float(sum(variances))
    if variance == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    error = math.sqrt(variance)
    half = float(ndtri((1 + level) / 2)) * error
    return Difference(value, value - half, value + half, 2 * float(ndtr(-abs(value) / error)))


def resamples(comparisons: int) -> int:
    """How many resamples `paired` needs so that after Holm's correction for so many comparisons a difference
    can be shown at all: the smallest p that they can give times the comparisons is .01 at most.
    """
    return max(2000, 200 * comparisons)


def holm(p: Sequence[float]) -> np.ndarray:
    """p values (K,) adjusted for K comparisons: below a level, so many are jointly certain at that level.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure". nan, of a comparison that could not
    be made, stays nan and does not count.
    """
    values = np.asarray(p, np.float64)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]  # argsort puts nan last
    steps = np.arange(len(order), 0, -1) * values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _measured(tables: Sequence[Predictions]) -> list[Predictions]:
    """The rows that all tables of the same images have judged, and of which the truth is known."""
    keep = np.all([(table.label >= 0) & (table.status == "ok") for table in tables], axis=0)
    return [table.where(keep) for table in tables]


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
