"""Detection metrics, bootstrap intervals and paired tests: functions of one prediction table."""

from dfd.metrics.bootstrap import Metric, interval, intervals, mean_interval
from dfd.metrics.clips import by_clip
from dfd.metrics.paired import Difference, delong, holm, paired, paired_sides, resamples
from dfd.metrics.parts import across_sources, by_method, by_source, spoken
from dfd.metrics.values import (
    METRICS,
    Calibrated,
    Confidence,
    check_finite,
    detection_metrics,
    format_metric,
    risk_coverage,
    uncalibrated,
)

__all__ = [
    "METRICS",
    "Calibrated",
    "Confidence",
    "Difference",
    "Metric",
    "across_sources",
    "by_clip",
    "by_method",
    "by_source",
    "check_finite",
    "delong",
    "detection_metrics",
    "format_metric",
    "holm",
    "interval",
    "intervals",
    "mean_interval",
    "paired",
    "paired_sides",
    "resamples",
    "risk_coverage",
    "spoken",
    "uncalibrated",
]
