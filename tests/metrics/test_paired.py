"""DeLong's test against its definition, and Holm's procedure against statements of his paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dfd.batch import Predictions
from dfd.metrics import delong, detection_metrics, holm, paired, paired_sides, resamples


def table(logit, label, status=None) -> Predictions:
    size = len(label)
    same = np.full(size, "")
    return Predictions(
        np.arange(size),
        np.asarray(logit, np.float64),
        np.asarray(label),
        same,
        same,
        np.arange(size).astype(str),
        same,
        status=None if status is None else np.asarray(status),
    )


def naive_delong(first, second, label) -> tuple[float, float]:
    """Difference and variance by the definition: every fake against every real, O(n^2)."""
    aucs, below, above = [], [], []
    for logit in (first, second):
        fake, real = logit[label == 1], logit[label == 0]
        wins = (fake[:, None] > real[None]) + 0.5 * (fake[:, None] == real[None])
        aucs.append(wins.mean())
        below.append(wins.mean(axis=1))
        above.append(wins.mean(axis=0))
    covariance = np.cov(below) / len(below[0]) + np.cov(above) / len(above[0])
    contrast = np.array([1, -1])
    return aucs[0] - aucs[1], contrast @ covariance @ contrast


PAIRS = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 1)), min_size=4, max_size=40
).filter(lambda rows: 2 <= sum(label for *_, label in rows) <= len(rows) - 2)


@given(PAIRS)
@settings(max_examples=80, deadline=None)
def test_delong_is_its_definition_with_ties(rows):
    first, second, label = (np.array(column) for column in zip(*rows, strict=True))
    value, variance = naive_delong(first, second, label)
    found = delong(table(first, label), table(second, label))
    assert found.value == pytest.approx(value, abs=1e-12)
    if variance > 1e-12:
        error = math.sqrt(variance)
        assert found.p == pytest.approx(2 * norm.sf(abs(value) / error), abs=1e-9)
        assert (found.low, found.high) == pytest.approx(norm.interval(0.95, value, error), abs=1e-9)


def test_delong_and_the_bootstrap_agree():
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    hard = rng.normal(size=400)
    good, bad = table(hard + 2 * label, label), table(hard + 1.6 * label + 0.3 * rng.normal(size=400), label)
    fast, drawn = delong(good, bad), paired(good, bad, num=1000)
    assert fast.value == pytest.approx(drawn.value, abs=1e-12)
    assert (fast.low, fast.high) == pytest.approx((drawn.low, drawn.high), abs=0.01)
    assert fast.p < 0.05 and delong(bad, good).p == pytest.approx(fast.p)
    shuffled = bad.where(rng.permutation(400))
    assert delong(good, shuffled) == fast


def test_many_sides_at_once_are_each_pair_alone():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    sides = [[table(rng.normal(size=60) + label, label) for _ in range(seeds)] for seeds in (2, 1, 3)]
    pairs = [(0, 1), (0, 2), (2, 1)]
    together = paired_sides(sides, pairs, num=300)
    assert together == [paired(sides[a], sides[b], num=300) for a, b in pairs]


def test_where_there_is_no_difference_p_is_uniform():
    """The promise of a test: at a level of 10% it is wrong in a tenth of the trials."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 60)
    rejected = 0
    for _ in range(400):
        shared = rng.normal(size=120) + label
        both = (table(shared + 0.5 * rng.normal(size=120), label) for _ in range(2))
        rejected += delong(*both).p < 0.1
    assert 0.06 <= rejected / 400 <= 0.14


def test_delong_of_too_little_is_undefined_and_of_the_same_is_certain():
    same = table([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1])
    assert delong(same, same) == (0, 0, 0, 1)
    for label in ([0, 0, 0, 0], [0, 0, 0, 1], [-1, -1, 0, 1]):
        assert np.isnan(delong(table([0, 1, 2, 3], label), table([0, 1, 2, 3], label))).all()
    with pytest.raises(ValueError, match="different data sets"):
        delong(same, table([0.0, 1.0, 2.0, 3.0], [1, 0, 0, 1]))


def test_only_what_both_have_judged_is_compared():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    a, b = (rng.normal(size=60) + label for _ in range(2))
    failed = np.full(60, "ok", "U8")
    failed[:6] = "no_face"
    broken = table(np.where(failed == "ok", b, np.nan), label, failed)
    left = delong(table(a[6:], label[6:]), table(b[6:], label[6:]))
    assert delong(table(a, label), broken) == left
    assert paired(table(a, label), broken, num=50).value == pytest.approx(left.value)
    assert detection_metrics(broken)["coverage"] == 0.9


def test_holm_steps_down():
    # Holm 1979: the smallest against alpha / n, the next against alpha / (n - 1), and so on
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).shape == (0,)
    np.testing.assert_allclose(holm([0.2, math.nan, 0.6]), [0.4, math.nan, 0.6])


@pytest.mark.parametrize("comparisons", [1, 3, 72, 400])
def test_as_many_comparisons_as_are_made_can_all_be_shown(comparisons):
    label = np.arange(60) % 2
    perfect, useless = table(label, label), table(np.zeros(60), label)
    p = paired(perfect, useless, num=resamples(comparisons)).p
    assert holm([p] * comparisons).max() <= 0.011


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert adjusted.min() == pytest.approx(min(1, len(p) * min(p)))
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all(), "never stricter than Bonferroni"
