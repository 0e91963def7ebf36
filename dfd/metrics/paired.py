"""Paired tests of two detectors on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dfd.batch import Predictions
from dfd.metrics.bootstrap import Metric, percentiles, resampled, value_of
from dfd.metrics.values import Calibrated, uncalibrated


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
    here = [value_of(table, metric, calibrated, threshold) for table in tables]
    drawn = resampled(tables, [metric], num, seed, calibrated, threshold)[0]
    value = float(np.mean(here[:size]) - np.mean(here[size:]))
    differences = drawn[:size].mean(axis=0) - drawn[size:].mean(axis=0)
    low, high = percentiles(differences, level)
    if math.isnan(low):
        return Difference(value, low, high, math.nan)
    defined = differences[~np.isnan(differences)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return Difference(value, low, high, float(min(1.0, 2 * (tail + 1) / (len(defined) + 1))))


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
