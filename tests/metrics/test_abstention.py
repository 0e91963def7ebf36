"""Risk and coverage against a naive loop over every order of equals, and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.batch import Predictions
from dfd.metrics import detection_metrics, interval, intervals, risk_coverage

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=1, max_size=12)


def table(logit, label, familiarity=None) -> Predictions:
    size = len(label)
    same = np.full(size, "")
    return Predictions(
        row=np.arange(size),
        logit=np.asarray(logit, np.float64),
        label=np.asarray(label),
        source=same,
        method=same,
        family=np.arange(size).astype(str),
        clip=same,
        familiarity=None if familiarity is None else np.asarray(familiarity, np.float64),
    )


def naive_aurc(wrong, sure) -> float:
    """Mean selective risk, averaged over all orders of the pictures that are equally sure."""
    groups = [np.flatnonzero(sure == value) for value in np.unique(sure)[::-1]]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    areas = []
    for order in orders:
        line = wrong[np.concatenate(order)]
        areas.append(np.mean(np.cumsum(line) / np.arange(1, len(line) + 1)))
    return float(np.mean(areas))


@given(ROWS.filter(lambda rows: max(sum(abs(a) == abs(b) for b, _ in rows) for a, _ in rows) <= 3))
@settings(max_examples=40, deadline=None)
def test_the_area_is_the_mean_over_all_orders_of_equals(rows):
    logit, label = (np.array(column) for column in zip(*rows, strict=True))
    wrong = (logit > 0) != (label == 1)
    found = detection_metrics(table(logit, label))
    assert found["aurc"] == pytest.approx(naive_aurc(wrong, np.abs(logit)), abs=1e-12)


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_risk_and_coverage_are_what_a_loop_over_thresholds_finds(rows):
    logit, label = (np.array(column) for column in zip(*rows, strict=True))
    sure, wrong = np.abs(logit), (logit > 0) != (label == 1)
    kept = [sure >= threshold for threshold in np.unique(sure)[::-1]]
    pairs = [(keep.mean(), wrong[keep].mean()) for keep in kept]
    coverage, risk = risk_coverage(table(logit, label))
    np.testing.assert_allclose(np.stack([coverage, risk], axis=1), pairs)
    found = detection_metrics(table(logit, label))
    for name, share in (("risk@cov80", 0.8), ("risk@cov50", 0.5)):
        assert found[name] == pytest.approx(next(risk for cover, risk in pairs if cover >= share - 1e-9))
    assert found["cov@risk5"] == pytest.approx(
        max([cover for cover, risk in pairs if risk <= 0.05], default=0)
    )
    # nobody refused: the error rate
    assert risk[-1] == pytest.approx(1 - found["acc"])


def test_a_confidence_that_knows_its_errors_has_the_least_area():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    logit = rng.normal(label * 2 - 1, 1.5)
    wrong = (logit > 0) != (label == 1)
    # ranks of 0.5 and more: all logits count whole
    knowing, blind = table(logit, label, 1 - wrong / 2), table(logit, label, (1 + wrong) / 2)

    def by_rank(predictions):
        return predictions.familiarity

    best, worst = (detection_metrics(each, confidence=by_rank)["aurc"] for each in (knowing, blind))
    plain = detection_metrics(knowing)["aurc"]
    assert best < plain < worst
    rate, size = wrong.mean(), len(wrong)
    # Geifman et al.: of the best order, r + (1 - r) log(1 - r)
    assert best == pytest.approx(rate + (1 - rate) * math.log(1 - rate), abs=2 / size)
    found = detection_metrics(knowing, confidence=by_rank)
    assert found["risk@cov50"] == 0 and 1 - rate <= found["cov@risk5"] < 1
    low, high = interval(knowing, "aurc", num=200, confidence=by_rank)
    assert low <= best <= high < plain
    assert intervals(knowing, confidence=by_rank)["aurc"][1] < plain


def test_confidence_is_the_distance_of_the_probability_from_the_thresholds():
    """With a threshold of .9, a sure "fake" is less far away than a sure "real"."""
    logit = np.array([9.0, -9.0, 2.0])
    coverage, risk = risk_coverage(table(logit, [0, 0, 1]), threshold=math.log(9))
    # the picture at 2.0 is called real by mistake, and nearest; that at 9.0 fake by mistake, and second
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 2 / 3])
    # another scale of the logit moves them: 0.9 of P(fake) is now 4.4 in logits
    halved = risk_coverage(table(logit, [0, 0, 1]), lambda raw: raw / 2, 2 * math.log(9))
    np.testing.assert_allclose(halved[1], [0, 1 / 2, 2 / 3])


def test_of_nothing_nothing_is_known():
    found = detection_metrics(table([], np.zeros(0, int)))
    for name in ("aurc", "risk@cov80", "risk@cov50", "cov@risk5", "coverage"):
        assert math.isnan(found[name]), name
    assert [len(each) for each in risk_coverage(table([], np.zeros(0, int)))] == [0, 0]
    # of one class there is a risk all the same
    assert detection_metrics(table([1.0, -1.0, 2.0], [1, 1, 1]))["aurc"] == pytest.approx(
        (0 + 1 / 4 + 1 / 3) / 3
    )


def test_what_was_not_judged_counts_in_the_coverage_alone():
    whole = table([3.0, -2.0, 1.0, -1.0], [1, 0, 0, 1])
    failed = Predictions(
        np.arange(6),
        np.append(whole.logit, [np.nan, np.nan]),
        np.append(whole.label, [0, 1]),
        *(np.full(6, "") for _ in range(2)),
        np.arange(6).astype(str),
        np.full(6, ""),
        status=np.array(["ok"] * 4 + ["no_face", "unreadable"]),
    )
    expected = detection_metrics(whole) | {"coverage": 4 / 6}
    assert detection_metrics(failed) == pytest.approx(expected, nan_ok=True)
    assert interval(failed, "acc", num=50) == interval(whole, "acc", num=50)
