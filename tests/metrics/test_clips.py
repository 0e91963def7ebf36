"""Clips, parts, and reals of one source against fakes of another."""

import numpy as np
import pytest

from dfd.batch import Predictions
from dfd.metrics import across_sources, by_clip, detection_metrics, interval, spoken


def table(rows) -> Predictions:
    """From (logit, label, source, method, clip, status), one a row."""
    logit, label, source, method, clip, status = (list(column) for column in zip(*rows, strict=True))
    size = len(rows)
    return Predictions(
        row=np.arange(10, 10 + size),
        logit=np.array(logit, np.float64),
        label=np.array(label),
        source=np.array(source),
        method=np.array(method),
        family=np.full(size, "one"),
        clip=np.array(clip),
        status=np.array(status),
        familiarity=np.linspace(0, 1, size),
    )


ROWS = (
    (1.0, 0, "ff", "", "000", "ok"),
    (2.0, 1, "ff", "swap", "000_003", "ok"),
    (3.0, 0, "ff", "", "000", "ok"),
    (4.0, 1, "ff", "reenact", "000_003", "ok"),
    (np.nan, 0, "ff", "", "000", "no_face"),
    (9.0, 0, "web", "", "000", "ok"),
    (np.nan, 1, "web", "swap", "7", "unreadable"),
    (np.nan, 1, "web", "swap", "7", "no_face"),
    (5.0, 1, "web", "swap", "", "ok"),
)


def test_a_clip_is_the_mean_logit_of_its_judged_frames():
    clips = by_clip(table(ROWS))
    found = list(zip(clips.source, clips.clip, clips.method, clips.label, clips.status, strict=True))
    assert found == [
        ("ff", "000", "", 0, "ok"),
        # one name, two manipulations: two clips
        ("ff", "000_003", "swap", 1, "ok"),
        ("ff", "000_003", "reenact", 1, "ok"),
        # one name, two sources: two clips
        ("web", "000", "", 0, "ok"),
        ("web", "7", "swap", 1, "unreadable"),
    ]
    np.testing.assert_array_equal(clips.logit, [2.0, 2.0, 4.0, 9.0, np.nan])
    assert clips.familiarity[0] == pytest.approx((0 + 2 / 8) / 2)
    # intervals are drawn over clips, whatever the families of the frames
    assert clips.num_families == 5
    assert detection_metrics(clips)["num_images"] == 4 and detection_metrics(clips)["coverage"] == 0.8
    assert len(by_clip(table(ROWS[8:]))) == 0


def test_frames_are_not_as_many_videos():
    """An interval over the frames of a few clips is wider than that over as many pictures."""
    rng = np.random.default_rng(0)
    of = np.arange(400) // 10
    label = (of % 2).astype(int)
    logit = rng.normal(size=40)[of] + label + 0.1 * rng.normal(size=400)
    frames = table([(logit[at], label[at], "a", "", str(of[at]), "ok") for at in range(400)])
    low, high = interval(by_clip(frames), num=300)
    assert high - low > 0.15
    single = Predictions(**{**vars(frames), "family": np.arange(400).astype(str)})
    tight = interval(single, num=300)
    assert tight[1] - tight[0] < 0.7 * (high - low)


def test_reals_of_one_source_meet_fakes_of_another():
    tables = across_sources(table(ROWS))
    assert {name: part.row.tolist() for name, part in tables.items()} == {
        "ff|web": [10, 12, 14, 16, 17, 18],
        "web|ff": [11, 13, 15],
    }
    assert detection_metrics(tables["web|ff"])["auroc"] == 0, "which the mean over sources hides"
    assert across_sources(table(ROWS[:5])) == {}


def test_words_that_may_be_wrong_are_the_spoken_ones():
    verdict = np.array(["fake", "no_trace", "inconclusive", "unfamiliar", "", "fake", "", "", "no_trace"])
    assert spoken(table(ROWS), verdict).row.tolist() == [10, 11, 15, 18]
