"""Detection metrics, bootstrap intervals and paired tests: functions of one prediction table."""

from dfd.metrics.bootstrap import Metric, interval, intervals
from dfd.metrics.paired import Difference, paired
from dfd.metrics.parts import by_method, by_source
from dfd.metrics.values import (
    METRICS,
    Calibrated,
    check_finite,
    detection_metrics,
    format_metric,
    uncalibrated,
)

__all__ = [
    "METRICS",
    "Calibrated",
    "Difference",
    "Metric",
    "by_method",
    "by_source",
    "check_finite",
    "detection_metrics",
    "format_metric",
    "interval",
    "intervals",
    "paired",
    "uncalibrated",
]
