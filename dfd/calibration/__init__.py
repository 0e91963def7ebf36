"""Calibration: from a raw logit to log odds, certified thresholds, and the words that may be said.

All is fitted on validation images and stored in the checkpoint. NumPy and SciPy only, so that using a
detector stays light.
"""

from dfd.calibration.certified import (
    ERROR_RATE,
    FEWEST,
    Certificate,
    allowed_errors,
    certificate,
    errors_in_words,
    in_words,
    independent_images,
    shortage,
    upper_bound,
)
from dfd.calibration.fit import (
    CALIBRATIONS,
    STEEPEST,
    Calibration,
    CalibrationKind,
    Isotonic,
    Platt,
    Temperature,
    calibration_of,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from dfd.calibration.prior import Shifted, check_prior, with_prior, worth, worth_in_words
from dfd.calibration.thresholds import (
    EXPERTS,
    UNFAMILIAR,
    UNFITTED,
    WORDS,
    Verdict,
    band,
    decide,
    fit_thresholds,
)

__all__ = [
    "CALIBRATIONS",
    "ERROR_RATE",
    "EXPERTS",
    "FEWEST",
    "STEEPEST",
    "UNFAMILIAR",
    "UNFITTED",
    "WORDS",
    "Calibration",
    "CalibrationKind",
    "Certificate",
    "Isotonic",
    "Platt",
    "Shifted",
    "Temperature",
    "Verdict",
    "allowed_errors",
    "band",
    "calibration_of",
    "certificate",
    "check_prior",
    "decide",
    "errors_in_words",
    "fit_calibration",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "fit_thresholds",
    "in_words",
    "independent_images",
    "shortage",
    "upper_bound",
    "with_prior",
    "worth",
    "worth_in_words",
]
