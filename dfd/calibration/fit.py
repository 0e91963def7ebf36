"""Temperature, Platt and isotonic calibration: maps from a raw logit to calibrated log odds.

Each keeps the order of the images or merges neighbours, never reverses it: a detector that is wrong on its
validation set is reported so, and not turned round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import expit
from scipy.special import logit as log_odds_of

from dfd.calibration.classes import classes

TEMPERATURES = (0.05, 20.0)  # beyond these the val set says "certain" or "worthless", not how much
STEEPEST = 1 / TEMPERATURES[0]  # slope of a straight line
CalibrationKind = Literal["temperature", "platt", "isotonic"]


@dataclass(frozen=True)
class Temperature:
    """Log odds = logit / temperature (Guo et al. 2017, 1706.04599)."""

    temperature: float = 1.0

    def __call__(self, logit: np.ndarray | float) -> np.ndarray:
        """Log odds of raw logits, of the same shape."""
        return np.asarray(logit, np.float64) / self.temperature

    def to_plain(self) -> dict[str, Any]:
        """As a card stores it."""
        return {"kind": "temperature", "temperature": self.temperature}


@dataclass(frozen=True)
class Platt:
    """Log odds = slope * logit + offset, slope > 0 (Platt 1999)."""

    slope: float
    offset: float

    def __call__(self, logit: np.ndarray | float) -> np.ndarray:
        """Log odds of raw logits, of the same shape."""
        return self.slope * np.asarray(logit, np.float64) + self.offset

    def to_plain(self) -> dict[str, Any]:
        """As a card stores it."""
        return {"kind": "platt", "slope": self.slope, "offset": self.offset}


@dataclass(frozen=True)
class Isotonic:
    """Log odds by knots: straight lines between them, constant beyond the outermost (Zadrozny & Elkan 2002).

    Args:
        logits: (K,) raw, rising.
        log_odds: (K,) at these, never falling.
    """

    logits: tuple[float, ...]
    log_odds: tuple[float, ...]

    def __call__(self, logit: np.ndarray | float) -> np.ndarray:
        """Log odds of raw logits, of the same shape."""
        return np.interp(np.asarray(logit, np.float64), self.logits, self.log_odds)

    def to_plain(self) -> dict[str, Any]:
        """As a card stores it."""
        return {"kind": "isotonic", "logits": list(self.logits), "log_odds": list(self.log_odds)}


Calibration = Temperature | Platt | Isotonic


def calibration_of(plain: Mapping[str, Any]) -> Calibration:
    """The calibration that `to_plain` gave, from a card that was checked."""
    if plain["kind"] == "isotonic":
        return Isotonic(tuple(map(float, plain["logits"])), tuple(map(float, plain["log_odds"])))
    if plain["kind"] == "platt":
        return Platt(float(plain["slope"]), float(plain["offset"]))
    return Temperature(float(plain["temperature"]))


def fit_calibration(
    logit: np.ndarray, label: np.ndarray, kind: CalibrationKind = "temperature"
) -> Calibration:
    """The calibration of a kind that fits these images best.

    Where the labels cannot tell one, with no image or with one class only, it is a temperature of 1: the
    net's own confidence. Rows with an unknown label (-1) are left out.

    logit: (M,) raw; label: (M,) REAL, FAKE or -1. Raises ValueError on a logit that is not finite.
    """
    return CALIBRATIONS[kind](logit, label)


def fit_temperature(logit: np.ndarray, label: np.ndarray) -> Temperature:
    """The temperature T in [0.05, 20] at which sigmoid(logit / T) has the least negative log-likelihood.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". Where the labels cannot tell T it is 1.0:
    also when zero separates the classes without a mistake, where the likelihood asks for T = 0: certainty,
    learnt from having seen no error. Arguments and errors as of `fit_calibration`.
    """
    from scipy.optimize import brentq  # half a second, which using a detector need not pay

    real, fake = classes(logit, label)
    if not (len(real) and len(fake)) or (real.max() <= 0 <= fake.min()):
        return Temperature()
    logit, target = np.concatenate([real, fake]), np.repeat([0.0, 1.0], [len(real), len(fake)])

    # of the mean NLL by 1 / T; it only rises, because the NLL is convex in 1 / T
    def slope(sharpness: float) -> float:
        return float(np.mean(logit * (expit(sharpness * logit) - target)))

    coldest, hottest = TEMPERATURES
    if slope(1 / hottest) >= 0:
        return Temperature(hottest)
    if slope(1 / coldest) <= 0:
        return Temperature(coldest)
    found = 1 / brentq(slope, 1 / hottest, 1 / coldest, xtol=1e-12)
    return Temperature(float(np.clip(found, coldest, hottest)))


def fit_platt(logit: np.ndarray, label: np.ndarray) -> Platt | Temperature:
    """Slope and offset with the least negative log-likelihood of smoothed targets.

    Platt 1999, "Probabilistic Outputs for Support Vector Machines", with the targets and the finite
    arithmetic of Lin, Lin & Weng 2007: so that it is finite where the classes do not overlap. The slope is
    kept in [1 / 20, 20], as 1 / T is. Arguments and errors as of `fit_calibration`.
    """
    from scipy.optimize import minimize

    real, fake = classes(logit, label)
    if not (len(real) and len(fake)):
        return Temperature()
    logit, target = _smoothed(real, fake)
    middle, spread = logit.mean(), logit.std() or 1.0
    scaled = (logit - middle) / spread

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        odds = at[0] * scaled + at[1]
        excess = expit(odds) - target
        return float(np.mean(np.logaddexp(0, odds) - target * odds)), np.array(
            [np.mean(excess * scaled), np.mean(excess)]
        )

    coldest, hottest = TEMPERATURES
    found = minimize(
        loss,
        x0=[np.clip(1.0, spread / hottest, spread / coldest), log_odds_of(target.mean())],
        jac=True,
        method="L-BFGS-B",
        bounds=[(spread / hottest, spread / coldest), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    ).x
    slope = float(np.clip(found[0] / spread, 1 / hottest, 1 / coldest))
    return Platt(slope, float(found[1] - slope * middle))


def fit_isotonic(logit: np.ndarray, label: np.ndarray) -> Isotonic | Temperature:
    """The rising step function of least squared error (pool adjacent violators), as knots of log odds.

    Zadrozny & Elkan 2002, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates".
    It fits Platt's smoothed targets, so that no step is infinitely sure. Arguments and errors as of
    `fit_calibration`.
    """
    from sklearn.isotonic import IsotonicRegression

    real, fake = classes(logit, label)
    if not (len(real) and len(fake)):
        return Temperature()
    fitted = IsotonicRegression(out_of_bounds="clip").fit(*_smoothed(real, fake))
    log_odds = np.maximum.accumulate(log_odds_of(fitted.y_thresholds_))
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(log_odds.tolist()))


def _smoothed(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and Platt's targets: what one more image of either class would leave of certainty."""
    targets = [1 / (len(real) + 2), (len(fake) + 1) / (len(fake) + 2)]
    return np.concatenate([real, fake]), np.repeat(targets, [len(real), len(fake)])


CALIBRATIONS: dict[str, Callable[[np.ndarray, np.ndarray], Calibration]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}
