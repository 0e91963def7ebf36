"""Calibration: temperature, three thresholds, and the band in which a detector should not decide.

All are fitted on validation images and stored in the checkpoint. NumPy and SciPy only, so that using a
detector stays light.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy.special import expit

from dfd.batch import FAKE, REAL
from dfd.run_record import NOT_FINITE, RunFailure

TEMPERATURES = (0.05, 20.0)  # beyond these the val set says "certain" or "worthless", not how much
ERROR_RATE = 0.05  # of the thresholds fpr5 and fnr5
Verdict = Literal["real", "fake", "inconclusive"]
# before any calibration nothing may be said for certain: every verdict is inconclusive
UNFITTED = {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}


def fit_temperature(logit: np.ndarray, label: np.ndarray) -> float:
    """The temperature T in [0.05, 20] at which sigmoid(logit / T) has the least negative log-likelihood.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". Dividing by T keeps the order of the images.
    Where the labels cannot tell T it is 1.0, the net's own confidence: with no image, with one class only,
    and when zero separates the classes without a mistake, where the likelihood asks for T = 0: certainty,
    learnt from having seen no error. Rows with an unknown label (-1) are left out.

    logit: (M,) raw; label: (M,) REAL, FAKE or -1. Raises ValueError on a logit that is not finite.
    """
    from scipy.optimize import brentq  # half a second, which using a detector need not pay

    real, fake = _classes(logit, label)
    if not (len(real) and len(fake)) or (real.max() <= 0 <= fake.min()):
        return 1.0
    logit, target = np.concatenate([real, fake]), np.repeat([0.0, 1.0], [len(real), len(fake)])

    def slope(
        sharpness: float,
    ) -> float:  # of the mean NLL by 1 / T; it only rises, because the NLL is convex in 1 / T
        return float(np.mean(logit * (expit(sharpness * logit) - target)))

    coldest, hottest = TEMPERATURES
    if slope(1 / hottest) >= 0:
        return hottest
    if slope(1 / coldest) <= 0:
        return coldest
    return float(np.clip(1 / brentq(slope, 1 / hottest, 1 / coldest, xtol=1e-12), coldest, hottest))


def fit_thresholds(logit: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Three thresholds in raw logit units.

    balanced: `logit > balanced` has the best balanced accuracy that any threshold has on these images. It
    lies halfway
        between two neighbouring logits (or one beyond the outermost); of several equally good ones it is the
        nearest to 0.
    fpr5: the smallest value with at most 5% of the reals strictly above it, so "fake" may be said above it. A
    logit of a real. fnr5: the largest value with at most 5% of the fakes strictly below it, so "real" may be
    said below it. A logit of a fake.

    Ties stay together, so the rate reached can be under 5%, never over. With fewer than 20 images of a class,
    5% is less than one image and nothing is known of such a rate: fpr5 is inf, fnr5 -inf, and every verdict
    is inconclusive. When a class is missing altogether, balanced is 0.0 as well.

    logit: (M,) raw; label: (M,) REAL, FAKE or -1 (left out). Raises ValueError on a logit that is not finite.
    """
    real, fake = _classes(logit, label)
    if not (len(real) and len(fake)):
        return dict(UNFITTED)
    if min(len(real), len(fake)) < 1 / ERROR_RATE:
        return {"balanced": _best_balanced(real, fake), "fpr5": math.inf, "fnr5": -math.inf}
    # 1e-9: 0.05 * 20 must give 1
    allowed = [math.floor(ERROR_RATE * len(scores) + 1e-9) for scores in (real, fake)]
    return {
        "balanced": _best_balanced(real, fake),
        "fpr5": float(real[len(real) - 1 - allowed[0]]),
        "fnr5": float(fake[allowed[1]]),
    }


def decide(logit: float, thresholds: Mapping[str, float]) -> Verdict:
    """What may be said of an image: "real", "fake" or "inconclusive".

    "fake" above both thresholds fpr5 and fnr5, "real" below both, "inconclusive" between them and on them. A
    detector that overlaps has fnr5 < fpr5, one that separates has them swapped; either way at most 5% of each
    class of the images that they were fitted on get the wrong word. Raises ValueError when the logit is NaN:
    a failure is no verdict.
    """
    if math.isnan(logit):
        raise ValueError(
            "The net answered NaN for this image, which is no verdict. Look at the image, or train with "
            "smaller steps."
        )
    low, high = sorted((thresholds["fpr5"], thresholds["fnr5"]))
    if logit > high:
        return "fake"
    return "real" if logit < low else "inconclusive"


def _classes(logit: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the reals and of the fakes, each sorted upward, in float64."""
    logit, label = np.asarray(logit, np.float64), np.asarray(label)
    if not np.isfinite(logit).all():
        raise RunFailure(
            f"{(~np.isfinite(logit)).sum()} of {len(logit)} logits are NaN or infinite, the first at "
            f"position {np.flatnonzero(~np.isfinite(logit))[0]}. Thresholds need finite ones: look at the "
            "loss.",
            NOT_FINITE,
        )
    return np.sort(logit[label == REAL]), np.sort(logit[label == FAKE])


def _best_balanced(real: np.ndarray, fake: np.ndarray) -> float:
    logits = np.unique(np.concatenate([real, fake]))
    middle = logits[:-1] / 2 + logits[1:] / 2
    middle = np.where(middle < logits[1:], middle, logits[:-1])  # between adjacent floats there is no middle
    candidates = np.concatenate([[logits[0] - 1], middle, [logits[-1] + 1]])
    # twice the balanced accuracy times both counts: whole numbers, so equally good thresholds are equal
    right = np.searchsorted(real, candidates, "right") * len(fake) + (
        len(fake) - np.searchsorted(fake, candidates, "right")
    ) * len(real)
    best = candidates[right == right.max()]
    return float(best[np.abs(best).argmin()])
