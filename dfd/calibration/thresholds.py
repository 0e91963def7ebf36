"""Thresholds of a detector, and the word that a logit gets: the band in which it should not decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.calibration.certified import strictest
from dfd.calibration.classes import checked, classes
from dfd.weighing import weighed

Verdict = Literal["no_trace", "fake", "inconclusive", "unfamiliar"]
# what people read for a verdict; "real" is a label of data: no detector proves a picture genuine
WORDS: dict[str, str] = {
    "no_trace": "no trace found",
    "fake": "fake",
    "inconclusive": "inconclusive",
    "unfamiliar": "unfamiliar",
}
# what an expert looks for, in words, by the names that `dfd ensemble --expert NAME=PATH` knows
EXPERTS: dict[str, str] = {
    "blend": "a pasted border",
    "trace": "a generator's trace",
    "face": "a face unlike its surroundings",
}
UNFAMILIAR = 0.05  # rank of familiarity below which a picture is too strange to be judged
# before any calibration nothing may be said for certain: every verdict is inconclusive
UNFITTED = {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}


def fit_thresholds(
    logit: np.ndarray,
    label: np.ndarray,
    source: np.ndarray | None = None,
    family: np.ndarray | None = None,
) -> dict[str, float]:
    """Three thresholds in raw logit units.

    balanced: `logit > balanced` has the best balanced accuracy that any threshold has on these images. It
        lies halfway between two neighbouring logits (or one beyond the outermost); of several equally good
        ones it is the nearest to 0.
    fpr5: the smallest value of which it is certain, at 95%, that of each source at most 5% of the reals lie
        above it, so "fake" may be said above it: `dfd.calibration.certified`. A logit of a real.
    fnr5: the largest value of which the same is certain of the fakes below it, so "no trace found" may be
        said below it. A logit of a fake.

    A source that lacks one class counts for the class that it has. Where a source has under 59 independent
    images of a class, nothing certifies 5%: fpr5 is inf or fnr5 -inf, and that word is never said. When a
    class is missing altogether, all three are UNFITTED.

    logit: (M,) raw; label: (M,) REAL, FAKE or -1 (left out); source: (M,), one for all by default; family:
    (M,), each image is its own by default. Raises ValueError on a logit that is not finite.
    """
    real, fake = classes(logit, label)
    if not (len(real) and len(fake)):
        return dict(UNFITTED)
    logit, label = checked(logit), np.asarray(label)
    ends = []
    for kind, sign in ((REAL, 1), (FAKE, -1)):
        of = label == kind
        parts = (None if each is None else np.asarray(each)[of] for each in (source, family))
        ends.append(sign * strictest(sign * logit[of], *parts))
    return {"balanced": _best_balanced(real, fake), "fpr5": ends[0], "fnr5": ends[1]}


def band(thresholds: Mapping[str, float]) -> tuple[float, float]:
    """Raw logits from where to where the verdict is "inconclusive".

    A detector that overlaps has fnr5 < fpr5, one that separates has them swapped. The balanced threshold is
    always within, so that no verdict contradicts it.
    """
    low, _, high = sorted((thresholds["fpr5"], thresholds["fnr5"], thresholds["balanced"]))
    return low, high


def decide(logit: float, thresholds: Mapping[str, float], familiarity: float | None = None) -> Verdict:
    """What may be said of an image: "no_trace", "fake", "inconclusive" or "unfamiliar"; `WORDS` for people.

    "unfamiliar" where the picture is stranger than 95% of the detector's home, whatever its logit. Else by
    its weighed logit (`dfd.weighing`): "fake" above all thresholds, "no_trace" below all,
    "inconclusive" between them and on them. So of each source that they were fitted on at most 5% of a class
    get the wrong word.

    familiarity: rank in [0, 1]; None or NaN where it is not known. Raises ValueError when the logit is NaN: a
    failure is no verdict.
    """
    if math.isnan(logit):
        raise ValueError(
            "The net answered NaN for this image, which is no verdict. Look at the image, or train with "
            "smaller steps."
        )
    if familiarity is not None:
        if familiarity < UNFAMILIAR:
            return "unfamiliar"
        logit = float(weighed(logit, familiarity, thresholds["balanced"]))
    low, high = band(thresholds)
    if logit > high:
        return "fake"
    return "no_trace" if logit < low else "inconclusive"


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
