"""Clopper and Pearson's bounds, against scipy's quantiles, the published figures, and by drawing pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from dfd.batch import Predictions
from dfd.calibration import (
    FEWEST,
    UNFITTED,
    allowed_errors,
    certificate,
    errors_in_words,
    fit_thresholds,
    in_words,
    independent_images,
    shortage,
    upper_bound,
)


def table(logit, label, source="a", family=None, status="ok") -> Predictions:
    size = len(label)
    return Predictions(
        row=np.arange(size),
        logit=np.asarray(logit, np.float64),
        label=np.asarray(label),
        source=np.broadcast_to(np.asarray(source, "U8"), size),
        method=np.full(size, ""),
        family=np.arange(size).astype(str) if family is None else np.asarray(family).astype(str),
        clip=np.full(size, ""),
        status=np.broadcast_to(np.asarray(status, "U8"), size),
    )


@pytest.mark.parametrize(
    ("images", "allowed"), [(0, -1), (58, -1), (59, 0), (150, 2), (170, 3), (300, 8), (1000, 38)]
)
def test_how_many_errors_certify_five_percent(images, allowed):
    assert allowed_errors(images) == allowed
    if images:
        assert allowed < 0 or upper_bound(allowed, images) <= 0.05
        assert upper_bound(allowed + 1, images) > 0.05


def test_seven_of_150_are_at_most_eight_point_six_percent():
    assert f"{upper_bound(7, 150):.1%}" == "8.6%"
    assert FEWEST == 59


@given(st.integers(0, 400), st.integers(1, 400))
@settings(deadline=None)
def test_the_bound_is_scipys(errors, images):
    errors = min(errors, images)
    quantile = beta.ppf(0.95, errors + 1, images - errors) if errors < images else 1.0
    assert upper_bound(errors, images) == pytest.approx(quantile, abs=1e-9)
    # one side at 95% is two at 90%
    exact = binomtest(errors, images).proportion_ci(0.90, method="exact").high
    assert upper_bound(errors, images) == pytest.approx(exact, abs=1e-9)


def test_allowed_errors_agree_with_the_bound_everywhere():
    for images in [*range(1, 300), 999, 5000]:
        bounds = beta.ppf(0.95, np.arange(images) + 1, images - np.arange(images))
        assert allowed_errors(images) == (bounds <= 0.05).sum() - 1


def test_of_a_hundred_calibrations_five_may_overrun_and_the_naive_half_of_them_do():
    """The threshold is chosen on the pictures that certify it, and the strictest of two sources is taken: 95
    of 100 such thresholds hold their promise on both sources.
    """
    rng = np.random.default_rng(0)
    over, naive, bounded, num = 0, 0, 0, 400
    for _ in range(num):
        real = np.r_[rng.normal(0, 1, 150), rng.normal(0.2, 1, 300)]
        source = np.repeat(["a", "b"], [150, 300])
        logit, label = np.r_[real, rng.normal(4, 1, 60)], np.repeat([0, 1], [450, 60])
        source = np.r_[source, np.full(60, "a")]
        found = fit_thresholds(logit, label, source)
        rates = [1 - _normal_cdf(found["fpr5"] - shift) for shift in (0, 0.2)]
        over += max(rates) > 0.05
        naive += 1 - _normal_cdf(np.sort(real[:150])[150 - 1 - 7]) > 0.05
        stated = certificate(table(logit, label, source), found)
        high = max(found["fpr5"], found["fnr5"])
        # of each source by itself, as each is stated
        bounded += 1 - _normal_cdf(high) <= stated["a"]["real"]["bound"]
    assert over <= 0.05 * num + 10 and bounded >= 0.95 * num - 10
    assert naive > 0.3 * num


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_bounds_hold_where_the_pictures_of_a_family_are_alike(alike):
    """80 families of 1 to 9 pictures; counted as if they were independent, the bounds break."""
    rng = np.random.default_rng(1)
    truth, held, plain, num = 1 - _normal_cdf(1.3), 0, 0, 400
    for _ in range(num):
        family = np.repeat(np.arange(80), rng.integers(1, 10, 80))
        shared = rng.normal(size=80)[family]
        logit = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=len(family))
        errors, independent = (logit > 1.3).sum(), independent_images(logit, family)
        assert 70 * (1 - alike) <= independent <= len(family)
        held += truth <= upper_bound(errors * independent / len(family), independent)
        plain += truth <= upper_bound(errors, len(family))
    assert held >= 0.95 * num - 12
    assert alike < 1 or plain < 0.9 * num


def test_how_many_independent_pictures_a_family_is():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=60)
    assert independent_images(logit, np.arange(60)) == 60
    assert independent_images(np.repeat(logit[:20], 3), np.arange(60) // 3) == pytest.approx(20)
    assert independent_images(np.zeros(60), np.arange(60) // 3) == 20  # nothing tells them from copies
    assert independent_images(logit, np.zeros(60)) == 1
    # the intra-class correlation of two pictures a family, by hand
    pairs = np.stack([logit[:30], 0.5 * logit[:30] + logit[30:]])
    between = 2 * pairs.mean(0).var(ddof=1)
    within = pairs.var(0, ddof=1).mean()
    alike = (between - within) / (between + within)
    assert alike > 0.05
    assert independent_images(pairs.T.ravel(), np.arange(60) // 2) == pytest.approx(60 / (1 + alike))


def _normal_cdf(x):
    from scipy.special import ndtr

    return float(ndtr(x))


def test_a_certificate_counts_words_and_leaves_out_what_was_not_judged():
    logit = [-3.0, 3.0, -3.0, -3.0, 0.0, 3.0, 3.0, -3.0, np.nan]
    label = [0, 0, 0, 0, 0, 1, 1, 1, 1]
    status = ["ok"] * 8 + ["no_face"]
    found = certificate(table(logit, label, status=status), {"fpr5": 1.0, "fnr5": -1.0})
    assert found == {
        "a": {
            "real": {"images": 5, "independent": 5, "errors": 1, "right": 3, "bound": upper_bound(1, 5)},
            "fake": {"images": 3, "independent": 3, "errors": 1, "right": 2, "bound": upper_bound(1, 3)},
        }
    }


def test_words_name_the_source_that_is_certain_of_the_least():
    logit = np.r_[np.full(148, -3.0), 3, 3, np.full(1000, -3.0), np.full(59, 3.0)]
    label = np.repeat([0, 1], [1150, 59])
    source = np.repeat(["small", "large", "small"], [150, 1000, 59])
    found = certificate(table(logit, label, source), {"fpr5": 2.0, "fnr5": -2.0})
    assert errors_in_words(found) == [
        '"fake" was said of 2 of 150 reals of small: at most 4.1%',
        '"no trace found" was said of 0 of 59 fakes of small: at most 5.0%',
    ]
    assert shortage(found) == []
    assert in_words(found) == ["Errors there, at 95%: " + "; ".join(errors_in_words(found)) + "."]
    assert in_words({}) == []


def test_words_say_how_many_pictures_of_which_source_are_missing():
    logit, label = np.repeat([-3.0, -3.0, 3.0], [40, 70, 59]), np.repeat([0, 0, 1], [40, 70, 59])
    source = np.repeat(["small", "large", "large"], [40, 70, 59])
    thresholds = fit_thresholds(logit, label, source)
    assert thresholds["fpr5"] == np.inf
    found = certificate(table(logit, label, source), thresholds)
    (line,) = shortage(found)
    assert line == '"fake" is never said: it takes at least 19 more reals of small'
    assert (
        in_words(found)[-1]
        == f"{line}. 59 of each source without an error certify 5%; with errors it takes more."
    )
    (errors,) = errors_in_words(found)
    assert errors.startswith('"no trace found" was said of 0 of 59 fakes of large')
    assert certificate(table([], []), UNFITTED) == {}
