"""Numbers of an ensemble: how much each member's logit counts, fitted on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from dfd.batch import FAKE, REAL
from dfd.calibration.classes import checked
from dfd.calibration.fit import Calibration, Isotonic, fit_platt

ROUNDS = 10  # of greedy selection, for each member
RIDGE = 1.0  # of stacking: prior precision of a weight, which hundreds of images outweigh


@dataclass(frozen=True)
class Numbers:
    """A member's part in an ensemble's logit is slope * logit + offset.

    Args:
        slopes, offsets: (M,), a number a member; slopes are never below 0: no member is turned round.
    """

    slopes: np.ndarray
    offsets: np.ndarray

    def parts(self, logits: np.ndarray) -> np.ndarray:
        """(N, M) raw logits -> (N, M)."""
        return self.slopes * logits + self.offsets


def fit_ensemble(logits: np.ndarray, label: np.ndarray, how: str) -> Numbers:
    """The numbers of an ensemble, fitted on validation images.

    mean, max: each member's log odds by Platt's calibration here, so that none is louder than its errors
        allow; their mean, or the largest.
    weighted: a weighted mean of these, by ensemble selection (Caruana et al., ICML 2004): it starts with the
        best single member, and adds, again and again, the member that raises the AUROC most. The best of all
        these is kept, so that it is at least that of the best single member here.
    stacked: logistic regression on these with weights not below 0 (Wolpert 1992; Breiman, "Stacked
        regressions", 1996). Where its AUROC is below that of the best single member, that one alone.

    Args:
        logits: (N, M) raw, of M members.
        label: (N,) REAL or FAKE, both of them.

    Raises:
        ValueError: a logit is not finite.
    """
    logits, label = checked(logits), np.asarray(label)
    slopes, offsets = _lines([fit_platt(column, label) for column in logits.T])
    odds = slopes * logits + offsets
    if how == "max":
        return Numbers(slopes, offsets)
    bias = 0.0
    if how == "mean":
        weights = np.full(len(slopes), 1 / len(slopes))
    elif how == "weighted":
        weights = _selected(odds, label)
    else:
        weights, bias = _stacked(odds, label)
        best = best_single(odds, label)
        if auroc(odds @ weights + bias, label) < auroc(odds[:, best], label):
            weights, bias = np.eye(len(slopes))[best], 0.0
    return Numbers(weights * slopes, weights * offsets + bias / len(slopes))


def of_experts(calibrations: Sequence[Calibration], names: Sequence[str]) -> Numbers:
    """Each expert's own calibration, as its card has it: it was fitted on fakes of its own kind, and those of
    others would tell it that it knows nothing. The larger of their log odds decides, or their sum, which is
    what they say together as far as their errors are independent.

    Raises:
        ValueError: one is isotonic, which is no line.
    """
    for name, calibration in zip(names, calibrations, strict=True):
        if isinstance(calibration, Isotonic):
            raise ValueError(
                f"the expert {name} has an isotonic calibration, which is flat in places: experts would tie "
                "there. Fit it with --model.calibration platt or temperature."
            )
    return Numbers(*_lines(calibrations))


def _lines(calibrations: Sequence[Calibration]) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and offsets (M,) of calibrations that are straight lines."""
    points = np.array([calibration(np.array([0.0, 1.0])) for calibration in calibrations])
    return points[:, 1] - points[:, 0], points[:, 0]


def auroc(logit: np.ndarray, label: np.ndarray) -> float:
    """Share of the pairs of a real and a fake that are in order; ties count half."""
    fake = label == FAKE
    num_fake, num_real = int(fake.sum()), int((label == REAL).sum())
    return float((rankdata(logit)[fake].sum() - num_fake * (num_fake + 1) / 2) / (num_fake * num_real))


def best_single(odds: np.ndarray, label: np.ndarray) -> int:
    """The member with the best AUROC; of equal ones that of the smaller log loss."""
    return max(range(odds.shape[1]), key=lambda member: _merit(odds[:, member], label))


def log_loss(odds: np.ndarray, label: np.ndarray) -> float:
    """Mean negative log-likelihood of log odds."""
    return float(np.logaddexp(0, np.where(label == FAKE, -odds, odds)).mean())


def _merit(odds: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    return auroc(odds, label), -log_loss(odds, label)


def _selected(odds: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(M,) weights that add up to 1."""
    count = np.eye(odds.shape[1])[best_single(odds, label)]
    best, weights = _merit(odds @ count, label), count
    for _ in range(ROUNDS * odds.shape[1]):
        tried = [count + more for more in np.eye(len(count))]
        merits = [_merit(odds @ (each / each.sum()), label) for each in tried]
        count = tried[merits.index(max(merits))]
        if max(merits) > best:
            best, weights = max(merits), count / count.sum()
    return weights


def _stacked(odds: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (M,) and bias of the least log loss, with a prior on the weights."""
    from scipy.optimize import minimize

    target = (label == FAKE).astype(float)

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = numbers[:-1], numbers[-1]
        error = expit(odds @ weights + bias) - target
        slope = np.append(odds.T @ error + RIDGE * weights, error.sum())
        return len(odds) * log_loss(odds @ weights + bias, label) + RIDGE * (weights**2).sum() / 2, slope

    start = np.append(np.full(odds.shape[1], 1 / odds.shape[1]), 0.0)
    bounds = [(0, None)] * odds.shape[1] + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:-1], float(found[-1])
