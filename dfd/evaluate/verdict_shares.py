"""Shares of verdicts with their intervals, and the words of verdicts for people."""

from __future__ import annotations

import numpy as np

from dfd.calibration import WORDS

NO_ANSWER = "no answer"  # of a picture without a score
_DRAWS = 2000


def word_of(verdict: str) -> str:
    """The verdict as people read it."""
    return WORDS.get(verdict, verdict) or NO_ANSWER


def share_interval(hit: np.ndarray, family: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95% interval of a share: a bootstrap over families. Of none or all, where no draw differs, the
    exact one-sided bound of as many trials as there are families (Clopper and Pearson 1934).

    Args:
        hit: (M,) bool.
        family: (M,).
    """
    _, place = np.unique(family, return_inverse=True)
    if not len(hit):
        return float("nan"), float("nan")
    num = int(place.max()) + 1
    bound = 0.05 ** (1 / num)
    if not hit.any():
        return 0.0, 1 - bound
    if hit.all():
        return bound, 1.0
    hits, sizes = np.bincount(place, hit, num), np.bincount(place, minlength=num)
    rng = np.random.default_rng(seed)
    # some at a time: a large set has many families
    shares = []
    for _ in range(0, _DRAWS, step := max(1, min(_DRAWS, 2_000_000 // num))):
        draws = rng.multinomial(num, np.full(num, 1 / num), step)
        shares.append((draws @ hits) / (draws @ sizes))
    low, high = np.quantile(np.concatenate(shares), (0.025, 0.975))
    return float(low), float(high)
