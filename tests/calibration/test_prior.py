"""Base rates: log odds moved to another share of fakes, and what a word is worth there."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from dfd.calibration import (
    Isotonic,
    Platt,
    Temperature,
    fit_platt,
    upper_bound,
    with_prior,
    worth,
    worth_in_words,
)


def counts(images=150, errors=2, right=140):
    return {
        "images": images,
        "independent": float(images),
        "errors": errors,
        "right": right,
        "bound": upper_bound(errors, images),
    }


FOUND = {"a": {"real": counts(), "fake": counts(errors=1, right=145)}}


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-20, 20))
@settings(deadline=None)
def test_a_prior_is_bayes_rule(prior, logit):
    """P'(fake | x) is P(fake | x) times the ratio of the shares, normalized (Saerens et al. 2002)."""
    found = {"a": {"real": counts(300)}, "b": {"fake": counts(100)}}
    prob, share = expit(logit), 0.25
    fake, real = prob * prior / share, (1 - prob) * (1 - prior) / (1 - share)
    assert expit(with_prior(Temperature(), prior, found)(logit)) == pytest.approx(
        fake / (fake + real), abs=1e-9
    )


@pytest.mark.parametrize(
    "fitted", [Temperature(2.0), Platt(0.5, -1.0), Isotonic((-1.0, 1.0), (-2.0, 2.0))], ids=str
)
def test_the_share_of_the_calibration_changes_nothing(fitted):
    line = np.linspace(-9, 9, 19)
    np.testing.assert_allclose(with_prior(fitted, 0.5, FOUND)(line), fitted(line), atol=1e-12)
    assert (with_prior(fitted, 0.001, FOUND)(line) < fitted(line)).all()


def test_a_prior_calibrates_where_fakes_are_rarer():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 5000)
    fitted = fit_platt(rng.normal(2 * label - 1, 1), label)
    rare = np.repeat([0, 1], [9500, 500])
    logit = rng.normal(2 * rare - 1, 1)
    found = {"a": {"real": counts(5000), "fake": counts(5000)}}
    corrected = with_prior(fitted, 0.05, found)
    assert expit(corrected(logit)).mean() == pytest.approx(0.05, abs=0.005)
    assert expit(fitted(logit)).mean() > 0.1
    # as if it had been fitted on these
    again = LogisticRegression(C=1e6).fit(logit[:, None], rare)
    np.testing.assert_allclose(corrected(0.0), again.decision_function([[0.0]])[0], atol=0.25)


@pytest.mark.parametrize("prior", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_a_prior_is_a_share(prior):
    with pytest.raises(ValueError, match=r"no share of fakes between 0 and 1. Use .5 for 1 in 2"):
        with_prior(Temperature(), prior, FOUND)


@pytest.mark.parametrize("found", [{}, {"a": {"real": counts()}}])
def test_a_card_that_knows_no_share_cannot_be_corrected(found):
    with pytest.raises(ValueError, match="does not say how many of its calibration's images"):
        with_prior(Temperature(), 0.5, found)


def test_what_a_word_is_worth():
    """At 5% false alarms and 95% of the fakes found: 95%, 68% and 2%, as docs/reading-a-verdict.md says."""
    found = {
        name: {"real": counts(10**9, 5 * 10**7, 95 * 10**7), "fake": counts(10**9, 5 * 10**7, 95 * 10**7)}
        for name in ("a", "b")
    }
    for rate, fake in ((2, 0.95), (10, 0.678), (100, 0.161), (1000, 0.0187)):
        assert worth(1 / rate, found)[0] == pytest.approx(fake, abs=1e-3)
        assert worth(1 / rate, found)[1] == pytest.approx(worth(1 - 1 / rate, found)[0])
    (line,) = worth_in_words(found)
    assert line.startswith(
        'Where 1 in 2, 10, 1000 pictures is fake, "fake" is right in at least 94%, 67%, 1%'
    )
    # 6 of 1000 in words never becomes "0%" or "100%"
    assert "100%" not in line and " 0%" not in line


def test_the_worst_source_and_the_bounds_count():
    better = {"b": {"real": counts(10_000, 0, 10_000), "fake": counts(10_000, 0, 10_000)}}
    assert worth(0.1, FOUND | better) == worth(0.1, FOUND)
    fake, no_trace = worth(0.1, FOUND)
    found = 1 - upper_bound(150 - 145, 150)
    assert fake == pytest.approx(found * 0.1 / (found * 0.1 + upper_bound(2, 150) * 0.9))
    found = 1 - upper_bound(150 - 140, 150)
    assert no_trace == pytest.approx(found * 0.9 / (found * 0.9 + upper_bound(1, 150) * 0.1))


def test_of_a_word_that_is_never_said_no_worth_is_told():
    silent = {"a": {"real": counts(40, 0, 38), "fake": counts(150, 0, 0)}}
    assert math.isnan(worth(0.5, silent)[0])
    (line,) = worth_in_words(silent)
    assert '"fake"' not in line and '"no trace found" is right in at least' in line
    assert worth_in_words({}) == []
    first, _ = worth_in_words(FOUND, 0.03)
    assert first.startswith('Where 0.03 of the pictures are fake, "fake" is right in at least 41%')
