import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from dfd.batch import FAKE, REAL
from dfd.calibration import UNFAMILIAR, WORDS, allowed_errors, band, decide, fit_thresholds
from dfd.weighing import weighed

ROWS = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=80).filter(
    lambda rows: {label for _, label in rows} == {0, 1}
)


def columns(rows) -> tuple[np.ndarray, np.ndarray]:
    level, label = zip(*rows, strict=True)
    return np.array(level) * 0.5, np.array(label)


@pytest.mark.slow
@given(ROWS)
@settings(deadline=None)
def test_thresholds_keep_the_errors_that_are_allowed_on_ties(rows):
    logit, label = (np.tile(column, 60) for column in columns(rows))  # enough of each class to certify 5%
    real, fake = logit[label == REAL], logit[label == FAKE]
    found = fit_thresholds(logit, label)
    errors = (real > found["fpr5"]).sum(), (fake < found["fnr5"]).sum()
    allowed = allowed_errors(len(real)), allowed_errors(len(fake))
    assert errors[0] <= allowed[0] and errors[1] <= allowed[1]
    lower, higher = logit[logit < found["fpr5"]], logit[logit > found["fnr5"]]
    # the next lower one would allow too many
    assert not len(lower) or (real > lower.max()).sum() > allowed[0]
    assert not len(higher) or (fake < higher.min()).sum() > allowed[1]
    best = max(
        balanced_accuracy_score(label, logit > t) for t in np.append(np.unique(logit), logit.min() - 1)
    )
    assert balanced_accuracy_score(label, logit > found["balanced"]) == pytest.approx(best)


@given(ROWS, st.lists(st.integers(0, 2), min_size=80, max_size=80))
@settings(deadline=None, max_examples=50)
def test_no_source_gets_more_wrong_words_than_certify_five_percent(rows, sources):
    logit, label = (np.tile(column, 60) for column in columns(rows))
    source = np.tile(np.array(sources[: len(rows)]), 60).astype(str)
    found = fit_thresholds(logit, label, source)
    words = np.array([decide(value, found) for value in logit])
    for kind, wrong in ((REAL, "fake"), (FAKE, "no_trace")):
        for name in np.unique(source):
            of = (label == kind) & (source == name)
            assert (words[of] == wrong).sum() <= max(allowed_errors(of.sum()), 0)


def test_the_band_lies_between_the_thresholds_in_either_order():
    overlapping = fit_thresholds(
        np.tile([-3.0, -1.0, 1.0, -1.5, 2.0, 3.0], 60), np.tile([0, 0, 0, 1, 1, 1], 60)
    )
    assert overlapping == {"balanced": 1.5, "fpr5": 1.0, "fnr5": -1.5}
    separating = fit_thresholds(np.tile([-3.0, -2.0, 2.0, 5.0], 60), np.tile([0, 0, 1, 1], 60))
    assert separating == {"balanced": 0.0, "fpr5": -2.0, "fnr5": 2.0}
    # the balanced threshold is within: nothing is "fake" that it calls real
    for found, low, high in ((overlapping, -1.5, 1.5), (separating, -2.0, 2.0)):
        assert band(found) == (low, high)
        words = [decide(value, found) for value in (low - 0.1, low, 0.0, high, high + 0.1)]
        assert words == ["no_trace", "inconclusive", "inconclusive", "inconclusive", "fake"]


def test_the_strictest_source_sets_each_threshold():
    logit = np.r_[np.linspace(-4, -1, 60), np.linspace(-4, 1, 60), np.linspace(0, 4, 60)]
    label = np.repeat([0, 0, 1], 60)
    source = np.repeat(["calm", "noisy", "noisy"], 60)
    found = fit_thresholds(logit, label, source)
    assert found["fpr5"] == 1 and found["fnr5"] == 0
    # a source that lacks a class counts for the class that it has
    assert fit_thresholds(logit, label, np.repeat(["a", "b", "c"], 60)) == found
    # pooled, three of 120 reals may be called fake
    assert fit_thresholds(logit, label)["fpr5"] < 1


def test_frames_of_a_video_are_not_as_many_pictures():
    videos = np.arange(480) // 4
    logit = np.linspace(-5, 5, 120)[videos] + np.repeat([0, 20], 240)
    label = np.repeat([0, 1], 240)
    allowed = allowed_errors(240)
    assert allowed == 6 and fit_thresholds(logit, label)["fpr5"] == np.sort(logit[:240])[-1 - allowed]
    # 60 videos of 4 frames that are alike: not one may be wrong
    assert fit_thresholds(logit, label, family=videos)["fpr5"] == logit[:240].max()
    assert fit_thresholds(logit, label, family=videos // 2)["fpr5"] == math.inf


@pytest.mark.parametrize("label", [REAL, FAKE, -1])
def test_with_one_class_every_verdict_is_inconclusive(label):
    found = fit_thresholds(np.tile([-9.0, 9.0], 100), np.full(200, label))
    assert found["balanced"] == 0
    assert {decide(value, found) for value in (-1e9, -9.0, 0.0, 9.0, 1e9)} == {"inconclusive"}


def test_the_word_that_too_few_images_certify_is_never_said():
    """58 reals certify nothing, 59 do; the other side speaks all the same."""
    logit, label = np.r_[np.full(58, -5.0), np.full(60, 5.0)], np.repeat([0, 1], [58, 60])
    found = fit_thresholds(logit, label)
    assert found == {"balanced": 0.0, "fpr5": math.inf, "fnr5": 5.0}
    assert {decide(value, found) for value in (5.0, 1e9)} == {"inconclusive"}
    assert decide(-1e9, found) == "no_trace"
    assert fit_thresholds(np.r_[logit, -5.0], np.r_[label, 0]) == {"balanced": 0.0, "fpr5": -5.0, "fnr5": 5.0}
    assert fit_thresholds(-logit, 1 - label) == {"balanced": 0.0, "fpr5": -5.0, "fnr5": -math.inf}


def test_adjacent_floats_are_parted():
    low = 1.0
    high = math.nextafter(low, 2)
    assert fit_thresholds(np.array([low, high]), np.array([0, 1]))["balanced"] == low


def test_what_is_strange_is_not_judged_however_sure_the_net_is():
    sure = {"fpr5": 0.0, "fnr5": 0.0, "balanced": 0.0}
    assert [decide(value, sure, UNFAMILIAR - 1e-9) for value in (-9.0, 0.0, 9.0)] == ["unfamiliar"] * 3
    for known in (UNFAMILIAR, 1.0, math.nan, None):
        assert [decide(value, sure, known) for value in (-9.0, 0.0, 9.0)] == [
            "no_trace",
            "inconclusive",
            "fake",
        ]


def test_a_verdict_on_a_strange_picture_needs_more():
    found = {"balanced": 1.0, "fpr5": 2.0, "fnr5": -1.0}
    # of the distance from the balanced threshold familiarity / 0.5 is left
    for logit, word in ((5.1, "fake"), (4.9, "inconclusive"), (-6.9, "inconclusive"), (-7.1, "no_trace")):
        assert decide(logit, found, 0.125) == word
        assert decide(logit, found, 0.5) == decide(logit, found) != "inconclusive"


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=1), st.floats(-3, 3))
def test_weighing_moves_no_picture_across_the_threshold_or_away_from_it(rows, balanced):
    logit, rank = (np.array(column) for column in zip(*rows, strict=True))
    found = weighed(logit, rank, balanced)
    assert (np.abs(found - balanced) <= np.abs(logit - balanced) + 1e-12).all()
    assert ((found - balanced) * (logit - balanced) >= 0).all()
    whole = rank >= 0.5
    np.testing.assert_array_equal(found[whole], logit[whole])
    np.testing.assert_array_equal(weighed(logit, np.full(len(logit), np.nan), balanced), logit)


def test_nobody_reads_that_a_picture_is_real():
    assert set(WORDS) == {"no_trace", "fake", "inconclusive", "unfamiliar"}
    assert WORDS["no_trace"] == "no trace found" and "real" not in " ".join(WORDS.values())


def test_a_failure_is_no_verdict():
    with pytest.raises(ValueError, match="NaN"):
        decide(math.nan, {"fpr5": 0.0, "fnr5": 0.0}, familiarity=0.0)
    with pytest.raises(ValueError, match=r"1 of 2 logits .* position 1"):
        fit_thresholds(np.array([0.0, np.nan]), np.array([0, 1]))
