"""Risk and coverage: how often a detector is wrong where it speaks only of the pictures that it is surest of.

Selective risk is the share of errors among the pictures that are kept, coverage the share that is kept
(El-Yaniv & Wiener 2010; Geifman, Uziel & El-Yaniv 2018, 1805.08206). All functions take R weightings of M
pictures that are in order of falling confidence, as `Tally` of `dfd.metrics.values` has them.
"""

from __future__ import annotations

import numpy as np


def kept(weight: np.ndarray, wrong: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many are kept and how many of these are wrong, from none to all: 2 x (R, steps + 1).

    Pictures of equal confidence are kept or refused together.

    Args:
        weight: (R, M) counts.
        wrong: (M,) bool.
        ends: the last place of each run of equal confidences, rising.
    """
    counts = (np.cumsum(weight * each, axis=1)[:, ends] for each in (1, wrong))
    num, errors = (np.pad(count, ((0, 0), (1, 0))) for count in counts)
    return num, errors


def area(num: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """AURC (R,): the mean of the selective risks of the 1, 2, ... M surest pictures; nan of none.

    Among pictures of equal confidence the order is unknown, so errors lie evenly among them: the expectation
    over all their orders.
    """
    total = num[:, -1]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(total.max(initial=0)) + 1))])
    start, more = num[:, :-1], np.diff(num)
    rate = np.divide(np.diff(errors), more, out=np.zeros_like(more), where=more > 0)
    # sum over n = start + 1 .. end of (errors + rate * (n - start)) / n
    steps = np.diff(harmonic[num.astype(int)])
    sums = (errors[:, :-1] - rate * start) * steps + rate * more
    return np.divide(sums.sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def risk_at(num: np.ndarray, errors: np.ndarray, coverage: float) -> np.ndarray:
    """Selective risk (R,) of the fewest pictures that are at least this share of all; nan of none."""
    total = num[:, -1]
    at = (num >= coverage * total[:, None] - 1e-9).argmax(axis=1)[:, None]
    few, wrong = (np.take_along_axis(each, at, axis=1)[:, 0] for each in (num, errors))
    return np.divide(wrong, few, out=np.full(len(total), np.nan), where=few > 0)


def coverage_at(num: np.ndarray, errors: np.ndarray, risk: float) -> np.ndarray:
    """The largest share (R,) of all that can be kept at this selective risk; nan of none."""
    total = num[:, -1]
    most = np.where(errors <= risk * num + 1e-9, num, 0).max(axis=1)
    return np.divide(most, total, out=np.full(len(total), np.nan), where=total > 0)
