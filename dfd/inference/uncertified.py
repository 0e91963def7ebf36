"""Scores of a detector that certifies no error rate: no verdict is possible, and what is missing."""

from __future__ import annotations

import math
from dataclasses import replace

from dfd.calibration import shortage
from dfd.detector import Detector, Score

_TOO_FEW = "the validation set had too few real or fake images to certify any error rate"


def never_speaks(detector: Detector) -> bool:
    """Whether every familiar picture is inconclusive, whatever its P(fake)."""
    return all(math.isinf(detector.card.thresholds[name]) for name in ("fpr5", "fnr5"))


def with_shortage(detector: Detector, score: Score) -> Score:
    """The score, with what is missing for a verdict as the first of its reasons, where it is inconclusive and
    something is.
    """
    lacking = any(math.isinf(detector.card.thresholds[name]) for name in ("fpr5", "fnr5"))
    if score.verdict != "inconclusive" or score.prob is None or not lacking:
        return score
    missing = "; ".join(shortage(detector.card.certificate)) or _TOO_FEW
    said = f"no verdict is possible: {missing}" if never_speaks(detector) else missing
    # the detector says it where it has nothing else to say
    return replace(score, reason=said if score.reason in ("", missing) else f"{said}; {score.reason}")
