import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, log_loss

from dfd.batch import FAKE, REAL
from dfd.calibration import decide, fit_temperature, fit_thresholds

ROWS = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=80).filter(
    lambda rows: {label for _, label in rows} == {0, 1}
)


def columns(rows) -> tuple[np.ndarray, np.ndarray]:
    level, label = zip(*rows, strict=True)
    return np.array(level) * 0.5, np.array(label)


@given(ROWS)
@settings(deadline=None)
def test_temperature_keeps_order_and_has_the_least_nll(rows):
    logit, label = columns(rows)
    temperature = fit_temperature(logit, label)
    assert 0.05 <= temperature <= 20
    prob = expit(logit / temperature)
    assert (np.diff(prob[np.argsort(logit)]) >= 0).all()
    if temperature != 1:
        others = logit / np.geomspace(0.05, 20, 200)[:, None]
        assert log_loss(label, prob) <= (np.logaddexp(0, others) - others * label).mean(axis=1).min() + 1e-9


def test_temperature_undoes_a_known_sharpening():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < expit(honest)).astype(int)
    assert fit_temperature(3 * honest, label) == pytest.approx(3, rel=0.05)
    assert fit_temperature(honest / 3, label) == pytest.approx(1 / 3, rel=0.05)


def test_temperature_is_bounded_and_claims_nothing_without_errors():
    assert fit_temperature(np.array([-3.0, -1.0, 2.0]), np.array([0, 0, 1])) == 1.0
    assert fit_temperature(np.array([-3.0, 2.0]), np.array([1, 1])) == 1.0
    assert fit_temperature(np.array([]), np.array([])) == 1.0
    assert fit_temperature(np.zeros(4), np.array([0, 1, 0, 1])) == 1.0
    assert fit_temperature(np.array([1e4, -1e4]), np.array([0, 1])) == 20.0  # always wrong: no confidence
    small = np.r_[np.full(99, 1e-3), -1e-4]
    assert fit_temperature(np.r_[-small, small], np.repeat([0, 1], 100)) == 0.05


@given(ROWS)
@settings(deadline=None)
def test_thresholds_keep_their_error_rates_on_ties(rows):
    logit, label = (np.tile(column, 20) for column in columns(rows))  # enough of each class to speak of 5%
    real, fake = logit[label == REAL], logit[label == FAKE]
    found = fit_thresholds(logit, label)
    assert (real > found["fpr5"]).mean() <= 0.05 and (fake < found["fnr5"]).mean() <= 0.05
    lower, higher = logit[logit < found["fpr5"]], logit[logit > found["fnr5"]]
    assert not len(lower) or (real > lower.max()).mean() > 0.05  # the next lower one would allow too many
    assert not len(higher) or (fake < higher.min()).mean() > 0.05
    best = max(
        balanced_accuracy_score(label, logit > t) for t in np.append(np.unique(logit), logit.min() - 1)
    )
    assert balanced_accuracy_score(label, logit > found["balanced"]) == pytest.approx(best)


@given(ROWS)
@settings(deadline=None)
def test_at_most_five_percent_of_a_class_get_the_wrong_word(rows):
    logit, label = (np.tile(column, 20) for column in columns(rows))
    found = fit_thresholds(logit, label)
    words = np.array([decide(value, found) for value in logit])
    assert (words[label == REAL] == "fake").mean() <= 0.05
    assert (words[label == FAKE] == "real").mean() <= 0.05


def test_the_band_lies_between_the_thresholds_in_either_order():
    overlapping = fit_thresholds(
        np.tile([-3.0, -1.0, 1.0, -1.5, 2.0, 3.0], 20), np.tile([0, 0, 0, 1, 1, 1], 20)
    )
    assert overlapping == {"balanced": 1.5, "fpr5": 1.0, "fnr5": -1.5}
    separating = fit_thresholds(np.tile([-3.0, -2.0, 2.0, 5.0], 20), np.tile([0, 0, 1, 1], 20))
    assert separating == {"balanced": 0.0, "fpr5": -2.0, "fnr5": 2.0}
    for found, low, high in ((overlapping, -1.5, 1.0), (separating, -2.0, 2.0)):
        words = [decide(value, found) for value in (low - 0.1, low, 0.0, high, high + 0.1)]
        assert words == ["real", "inconclusive", "inconclusive", "inconclusive", "fake"]


@pytest.mark.parametrize("label", [REAL, FAKE, -1])
def test_with_one_class_every_verdict_is_inconclusive(label):
    found = fit_thresholds(np.array([-9.0, 9.0]), np.array([label, label]))
    assert found["balanced"] == 0
    assert {decide(value, found) for value in (-1e9, -9.0, 0.0, 9.0, 1e9)} == {"inconclusive"}


def test_too_few_images_to_speak_of_five_percent_make_every_verdict_inconclusive():
    logit, label = np.r_[np.full(19, -5.0), np.full(40, 5.0)], np.repeat([0, 1], [19, 40])
    found = fit_thresholds(logit, label)
    assert found == {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}
    assert {decide(value, found) for value in (-1e9, 0.0, 1e9)} == {"inconclusive"}
    assert fit_thresholds(np.r_[logit, -5.0], np.r_[label, 0]) == {"balanced": 0.0, "fpr5": -5.0, "fnr5": 5.0}


def test_adjacent_floats_are_parted():
    low = 1.0
    high = math.nextafter(low, 2)
    assert fit_thresholds(np.array([low, high]), np.array([0, 1]))["balanced"] == low


def test_a_failure_is_no_verdict():
    with pytest.raises(ValueError, match="NaN"):
        decide(math.nan, {"fpr5": 0.0, "fnr5": 0.0})
    for fit in (fit_temperature, fit_thresholds):
        with pytest.raises(ValueError, match=r"1 of 2 logits .* position 1"):
            fit(np.array([0.0, np.nan]), np.array([0, 1]))
