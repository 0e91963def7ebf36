"""Weighing: how much of a logit counts, by how familiar its picture is.

Abroad a detector is as sure as at home, and wrong. So what it says of a picture that is stranger than half
of its home counts for less, the stranger the less: P(fake) and the verdict come from the weighed logit.
Confidence and distance together order errors better under shift than either alone (2606.06666).
"""

from __future__ import annotations

import numpy as np

FULL = 0.5  # rank of familiarity from which on a logit counts whole: the more familiar half of home


def weighed(logit: np.ndarray, familiarity: np.ndarray, balanced: float) -> np.ndarray:
    """Raw logits (M,) float64, drawn towards the balanced threshold where the picture is strange.

    What is left of the distance from the threshold is familiarity / FULL, at most all of it. So no picture
    changes sides, and no error rate that was certified on raw logits rises.

    Args:
        logit: (M,) raw.
        familiarity: (M,) ranks in [0, 1]; NaN where they are not known, which counts whole.
        balanced: the threshold of that name, a raw logit.
    """
    logit, familiarity = np.asarray(logit, np.float64), np.asarray(familiarity, np.float64)
    strange = familiarity < FULL
    share = np.where(strange, familiarity / FULL, 1.0)
    return np.where(strange, balanced + share * (logit - balanced), logit)
