"""Verdicts counted by truth, shares of them with their intervals, and their words for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.calibration import WORDS
from dfd.evaluate.report.evidence import Cell
from dfd.evaluate.report.page import Shaded, Table, percent

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


def verdict_table(cells: Mapping[str, Cell], caption: str) -> Table:
    """Confusion: how many real and how many fake pictures got which word, wrong ones shaded.

    Args:
        cells: by what their rows are to begin with, such as the root.
    """
    every = np.concatenate([cell.verdict for cell in cells.values()])
    words = [word for word in (*WORDS, "") if word in ("fake", "no_trace") or (every == word).any()]
    rows = []
    for name, cell in cells.items():
        for truth, kind, wrong in ((REAL, "real", "fake"), (FAKE, "fake", "no_trace")):
            mine = cell.predictions.label == truth
            if not mine.any():
                continue
            row: list[object] = [f"{name} is {kind}".strip()]
            for word in words:
                count = int((cell.verdict[mine] == word).sum())
                share = count / int(mine.sum())
                row.append(
                    Shaded(f"{count:,}", percent(share), 0.5 - share / 2 if word == wrong else math.nan)
                )
            rows.append(row)
    return Table(("", *(word_of(word) for word in words)), rows, caption)
