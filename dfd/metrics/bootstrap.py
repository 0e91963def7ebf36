"""Bootstrap intervals of detection metrics: whole families are drawn.

All metrics of all tables meet the same draws, so what they share cancels in their differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dfd.batch import Predictions
from dfd.metrics.values import METRICS, Calibrated, Confidence, Ranked, Tally, detection_metrics, uncalibrated

Metric = str | Callable[[Predictions], float]
CHUNK = 1 << 19  # weights held at once while resampling: 4 MiB, which stays in cache


def interval(
    predictions: Predictions,
    metric: Metric = "auroc",
    num: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
    confidence: Confidence | None = None,
) -> tuple[float, float]:
    """The bootstrap interval (percentiles) of a metric.

    Whole families are drawn, because images of one family are not independent.

    metric: a key of `detection_metrics`, or any function of a table (slower: it is called `num` times).
    Resamples where the metric is undefined are left out; where they are more than 5%, so is the interval:
    (nan, nan), as it is for a single family. A score without one error resamples to itself: no width then
    means too few images, not certainty.
    """
    ranked = [Ranked(known(predictions), calibrated, threshold, confidence)]
    return percentiles(resampled([known(predictions)], ranked, [metric], num, seed)[0, 0], level)


def mean_interval(
    tables: Sequence[Predictions], metric: str = "auroc", num: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean of a metric over several training seeds, judged on the same
    images: it speaks of other images, not of other seeds.
    """
    measured = [known(table) for table in tables]
    drawn = resampled(measured, [Ranked(table, uncalibrated, 0.0) for table in measured], [metric], num, seed)
    return percentiles(drawn[0].mean(axis=0), 0.95)


def intervals(
    predictions: Predictions,
    calibrated: Calibrated = uncalibrated,
    threshold: float = 0.0,
    confidence: Confidence | None = None,
) -> dict[str, tuple[float, float]]:
    """The 95% bootstrap intervals that stand beside the metrics of every report; none of `ece`: resampling
    only raises it.
    """
    names = [name for name in METRICS if name != "ece"]
    ranked = [Ranked(known(predictions), calibrated, threshold, confidence)]
    drawn = resampled([known(predictions)], ranked, names, 2000, 0)[:, 0]
    return {name: percentiles(values, 0.95) for name, values in zip(names, drawn, strict=True)}


def known(predictions: Predictions) -> Predictions:
    """The rows that can be measured: judged, and of a known label."""
    return predictions.where((predictions.label >= 0) & (predictions.status == "ok"))


def value_of(predictions: Predictions, metric: Metric, calibrated: Calibrated, threshold: float) -> float:
    return (
        metric(predictions)
        if callable(metric)
        else detection_metrics(predictions, calibrated, threshold)[_known(metric)]
    )


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(
            f"There is no metric {name!r} to resample. Take one of {', '.join(METRICS)}, or a function of a "
            "table."
        )
    return name


def resampled(
    tables: Sequence[Predictions],
    ranked: Sequence[Ranked],
    metrics: Sequence[Metric],
    num: int,
    seed: int,
) -> np.ndarray:
    """Each metric of each table and its ranks on the same `num` draws of families: (metrics, tables, num).

    The tables hold the same rows, all judged and of a known label.
    """
    _, family = np.unique(tables[0].family, return_inverse=True)
    if not len(family) or not family.max():  # one family resamples to itself
        return np.full((len(metrics), len(tables), num), np.nan)
    chunks = []
    # (R, families): how often each family was drawn
    for draws in _draws(int(family.max()) + 1, len(family), num, seed):
        tallies = [Tally(table, draws[:, family[table.order]].astype(np.float64)) for table in ranked]
        chunks.append(
            [
                [_of_draws(metric, *pair, family, draws) for pair in zip(tables, tallies, strict=True)]
                for metric in metrics
            ]
        )
    return np.concatenate(chunks, axis=-1)


def _of_draws(
    metric: Metric, table: Predictions, tally: Tally, family: np.ndarray, draws: np.ndarray
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


def percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) < 0.95 * len(values) or not len(values):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
