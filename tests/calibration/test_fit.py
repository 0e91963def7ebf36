import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from dfd.calibration import (
    CALIBRATIONS,
    Isotonic,
    Platt,
    Temperature,
    calibration_of,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)

ROWS = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=80).filter(
    lambda rows: {label for _, label in rows} == {0, 1}
)


def columns(rows) -> tuple[np.ndarray, np.ndarray]:
    level, label = zip(*rows, strict=True)
    return np.array(level) * 0.5, np.array(label)


def overconfident(size: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits three times as sure as they may be, and shifted by 2."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, size)
    return 3 * honest + 2, (rng.random(size) < expit(honest)).astype(int)


@given(ROWS)
@settings(deadline=None)
def test_temperature_keeps_order_and_has_the_least_nll(rows):
    logit, label = columns(rows)
    fitted = fit_temperature(logit, label)
    assert 0.05 <= fitted.temperature <= 20
    prob = expit(fitted(logit))
    assert (np.diff(prob[np.argsort(logit)]) >= 0).all()
    if fitted.temperature != 1:
        others = logit / np.geomspace(0.05, 20, 200)[:, None]
        assert log_loss(label, prob) <= (np.logaddexp(0, others) - others * label).mean(axis=1).min() + 1e-9


def test_temperature_undoes_a_known_sharpening():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < expit(honest)).astype(int)
    assert fit_temperature(3 * honest, label).temperature == pytest.approx(3, rel=0.05)
    assert fit_temperature(honest / 3, label).temperature == pytest.approx(1 / 3, rel=0.05)


def test_temperature_is_scipys_optimum():
    logit, label = overconfident()
    found = minimize(
        lambda at: np.mean(np.logaddexp(0, logit / at[0]) - label * logit / at[0]),
        [1.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12},
    )
    assert fit_temperature(logit, label).temperature == pytest.approx(found.x[0], rel=1e-4)


@pytest.mark.parametrize(("kind", "method"), [("temperature", "temperature"), ("platt", "sigmoid")])
def test_calibrations_are_those_of_a_calibrated_classifier(kind, method):
    logit, label = overconfident(1000, seed=2)
    net = LogisticRegression()  # whose decision function is its input
    net.classes_, net.coef_, net.intercept_ = np.array([0, 1]), np.ones((1, 1)), np.zeros(1)
    theirs = CalibratedClassifierCV(FrozenEstimator(net), method=method).fit(logit[:, None], label)
    np.testing.assert_allclose(
        expit(fit_calibration(logit, label, kind)(logit)),
        theirs.predict_proba(logit[:, None])[:, 1],
        atol=1e-3,
    )


def test_temperature_is_bounded_and_claims_nothing_without_errors():
    assert fit_temperature(np.array([-3.0, -1.0, 2.0]), np.array([0, 0, 1])) == Temperature(1.0)
    assert fit_temperature(np.zeros(4), np.array([0, 1, 0, 1])) == Temperature(1.0)
    # always wrong: no confidence
    assert fit_temperature(np.array([1e4, -1e4]), np.array([0, 1])) == Temperature(20.0)
    small = np.r_[np.full(99, 1e-3), -1e-4]
    assert fit_temperature(np.r_[-small, small], np.repeat([0, 1], 100)) == Temperature(0.05)


def test_platt_is_scikit_learns():
    logit, label = overconfident()
    theirs = _SigmoidCalibration().fit(logit, label)
    ours = fit_platt(logit, label)
    assert isinstance(ours, Platt)
    np.testing.assert_allclose(expit(ours(logit)), theirs.predict(logit), atol=1e-5)
    assert ours.slope == pytest.approx(1 / 3, rel=0.2) and ours.offset == pytest.approx(-2 / 3, rel=0.3)


def test_platt_has_the_least_loss_of_the_smoothed_targets():
    logit, label = overconfident(200, seed=1)
    ours = fit_platt(logit, label)
    positive, negative = label.sum(), (1 - label).sum()
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))  # Lin, Lin & Weng 2007

    def loss(at):
        odds = at[0] * logit + at[1]
        return np.mean(np.logaddexp(0, odds) - target * odds)

    other = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14})
    assert loss([ours.slope, ours.offset]) <= other.fun + 1e-12
    np.testing.assert_allclose([ours.slope, ours.offset], other.x, rtol=1e-4)


def test_isotonic_is_scikit_learns_of_the_smoothed_targets():
    logit, label = overconfident()
    ours = fit_isotonic(logit, label)
    assert isinstance(ours, Isotonic) and len(ours.logits) < 100
    positive, negative = label.sum(), (1 - label).sum()
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(logit, target)
    np.testing.assert_allclose(expit(ours(logit)), theirs.predict(logit), atol=1e-9)
    assert np.isfinite(ours(np.array([-1e9, 1e9]))).all()


@pytest.mark.parametrize("kind", CALIBRATIONS)
@given(rows=ROWS)
@settings(deadline=None, max_examples=30)
def test_every_calibration_is_finite_keeps_order_and_survives_storage(kind, rows):
    logit, label = columns(rows)
    fitted = fit_calibration(logit, label, kind)
    line = np.linspace(-10, 10, 101)
    assert np.isfinite(fitted(line)).all() and (np.diff(fitted(line)) >= 0).all()
    again = calibration_of(fitted.to_plain())
    assert again == fitted
    np.testing.assert_array_equal(again(line), fitted(line))
    assert float(fitted(0.3)) == pytest.approx(fitted(np.array([0.3]))[0])


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_what_labels_cannot_tell_is_the_nets_own_confidence(kind):
    for logit, label in (([], []), ([-3.0, 2.0], [1, 1]), ([-3.0, 2.0], [0, -1])):
        assert fit_calibration(np.array(logit), np.array(label), kind) == Temperature(1.0)
    with pytest.raises(ValueError, match=r"1 of 2 logits .* position 1"):
        fit_calibration(np.array([0.0, np.nan]), np.array([0, 1]), kind)


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_a_detector_that_is_wrong_is_not_turned_round(kind):
    logit, label = overconfident()
    fitted = fit_calibration(-logit, label, kind)
    ends = fitted(np.array([-20.0, 20.0]))
    assert ends[0] <= ends[1]


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_an_offset_is_found_where_a_temperature_cannot(kind):
    logit, label = overconfident(4000)
    fresh, truth = overconfident(4000, seed=1)
    plain = log_loss(truth, expit(fit_temperature(logit, label)(fresh)))
    assert log_loss(truth, expit(fit_calibration(logit, label, kind)(fresh))) < plain - 0.01
