"""Confidence of a detector's verdicts: the order in which risk and coverage keep pictures."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from dfd.batch import Predictions
from dfd.calibration import UNFAMILIAR
from dfd.metrics import Calibrated, Confidence
from dfd.weighing import weighed


def familiar_first(
    predictions: Predictions, verdict: np.ndarray | None, calibrated: Calibrated, threshold: float
) -> Confidence:
    """How sure a detector is that knows what is strange to it: familiar pictures first, by the distance of
    their P(fake), of the weighed logit, from the threshold's, then the others, by familiarity. Without
    familiarity it is the distance alone.

    Args:
        verdict: (M,) words; None where none is said, as of clips.
        threshold: raw logit.
    """
    word = predictions.familiarity < UNFAMILIAR if verdict is None else verdict == "unfamiliar"
    strange = predictions.row[word & ~np.isnan(predictions.familiarity)]

    def sure(judged: Predictions) -> np.ndarray:
        log_odds = calibrated(weighed(judged.logit, judged.familiarity, threshold))
        distance = np.abs(expit(log_odds) - expit(calibrated(np.array([threshold]))))
        # rounded: the distances of logits that mirror each other differ in their last bits
        return np.where(np.isin(judged.row, strange), judged.familiarity - 1, distance).round(12)

    return sure
