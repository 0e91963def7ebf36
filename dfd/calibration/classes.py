"""Logits of the reals and of the fakes, checked."""

from __future__ import annotations

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.run_record import NOT_FINITE, RunFailure


def classes(logit: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the reals and of the fakes, each sorted upward, in float64.

    Raises ValueError on a logit that is not finite.
    """
    logit, label = checked(logit), np.asarray(label)
    return np.sort(logit[label == REAL]), np.sort(logit[label == FAKE])


def checked(logit: np.ndarray) -> np.ndarray:
    """The logits in float64; ValueError where one is not finite."""
    logit = np.asarray(logit, np.float64)
    if not np.isfinite(logit).all():
        raise RunFailure(
            f"{(~np.isfinite(logit)).sum()} of {len(logit)} logits are NaN or infinite, the first at "
            f"position {np.flatnonzero(~np.isfinite(logit))[0]}. A calibration needs finite ones: look at "
            "the loss.",
            NOT_FINITE,
        )
    return logit
