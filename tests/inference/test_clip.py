"""Videos: a face is followed and gets one verdict; what is odd about a file is said."""

import json
import math
import os
import sys

import numpy as np
import pytest
from clips import GRAY, PALE, REDDISH, film, frame, red_detector

from dfd.cli import main
from dfd.detector import Detector
from dfd.inference.clip import LEAST, MOST, ClipScore, is_clip, score_clip
from dfd.inference.clip_page import write_clip_page
from dfd.inference.verdict_words import line

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")


@pytest.fixture
def detector() -> Detector:
    return red_detector()


def two_people(num=100):
    """One is there all the time and moves; the other, redder, comes later."""
    return [
        frame((20 + at // 4, 40, PALE), *([(150, 60 + at // 10, REDDISH)] if at >= 40 else []))
        for at in range(num)
    ]


def test_each_face_gets_one_verdict_however_often_it_is_seen(detector, tmp_path):
    one, other = score_clip(detector, film(tmp_path / "two.mp4", two_people()))
    assert (one.face, other.face, one.faces) == (1, 2, 2) and one.path.endswith("two.mp4")
    assert one.verdict == "no_trace" and other.verdict == "fake"
    assert one.looked == LEAST + 1 == len(one.moments) > len(other.moments)
    assert one.start == 0 and other.start > 1.5 and other.end == pytest.approx(one.end)
    assert other.logit == pytest.approx(np.mean([moment.logit for moment in other.moments]))
    low, high = other.interval
    assert low <= other.prob <= high and other.inconclusive == detector.band
    assert "seen 0:0" in (said := line(other)) and "P(fake)" in said and "face 2/2" in said


def test_moments_that_disagree_give_no_word(detector, tmp_path):
    frames = [frame((20, 40, 255 if at % 50 < 22 else 0)) for at in range(100)]
    (score,) = score_clip(detector, film(tmp_path / "it.mp4", frames))
    verdicts = {moment.verdict for moment in score.moments}
    assert {"fake", "no_trace"} <= verdicts
    assert score.verdict == "inconclusive"
    assert score.interval[1] - score.interval[0] > 0.3


def test_a_mean_beyond_the_band_with_an_interval_in_it_says_why(detector, tmp_path):
    frames = [frame((20, 40, 255 if at < 25 else 120)) for at in range(100)]
    (score,) = score_clip(detector, film(tmp_path / "it.mp4", frames))
    assert detector.decide(score.logit, ClipScore("", "ok")).verdict == "fake"
    assert score.verdict == "inconclusive" and "its moments do not agree (" in score.reason


def test_time_counts_and_not_frames(detector, tmp_path):
    """A variable rate: fifty frames in the first second, ten in the nine after it."""
    times = [at / 50 for at in range(50)] + [1 + 0.9 * at for at in range(10)]
    frames = [frame((20, 40, PALE))] * 50 + [frame((20, 40, REDDISH))] * 10
    (score,) = score_clip(detector, film(tmp_path / "it.mp4", frames, times=times))
    seconds = [moment.seconds for moment in score.moments]
    assert sum(second < 1 for second in seconds) <= 3 and score.end == pytest.approx(times[-1], abs=0.02)
    assert score.logit > 0.5 * detector.logits([np.full((1, 32, 32, 3), (REDDISH, 0, 255), np.uint8)])[0]


def test_ten_bits_and_a_turned_clip_are_shown_as_players_do(detector, tmp_path):
    frames = [frame((20, 40, REDDISH))] * 30
    (ten,) = score_clip(detector, film(tmp_path / "ten.mp4", frames, fmt="yuv420p10le"))
    (eight,) = score_clip(detector, film(tmp_path / "eight.mp4", frames))
    assert ten.logit == pytest.approx(eight.logit, abs=0.3) and ten.verdict == "fake"


@pytest.mark.slow
def test_of_a_long_clip_few_moments_are_kept_over_all_of_it(detector, tmp_path):
    frames = [frame((8, 8, PALE), size=(64, 64))] * 1400
    times = [2.5 * at for at in range(1400)]  # close to an hour
    (score,) = score_clip(detector, film(tmp_path / "long.mp4", frames, times=times))
    assert MOST * 0.9 <= score.looked <= MOST and score.end > 0.95 * times[-1]
    assert len(score.moments) == score.looked, "a face that stays where it is is one face"


def test_after_a_gap_a_face_elsewhere_is_another_s(detector, tmp_path):
    frames = [frame((20, 40, PALE))] * 12 + [frame((90, 40, REDDISH))] * 12
    near = [at / 2 for at in range(24)]
    far = [at / 2 if at < 12 else 60 + at / 2 for at in range(24)]
    assert len(score_clip(detector, film(tmp_path / "near.mp4", frames, times=near))) == 1
    assert len(score_clip(detector, film(tmp_path / "far.mp4", frames, times=far))) == 2


@pytest.mark.slow
def test_what_cannot_be_judged_says_why(detector, tmp_path, monkeypatch):
    (none,) = score_clip(detector, film(tmp_path / "none.mp4", [frame()] * 20))
    assert none.status == "no_face" and none.verdict is None and "in 13 frames" in none.reason
    small = np.full((64, 64, 3), GRAY, np.uint8)
    small[10:38, 10:38] = (REDDISH, 0, 255)
    (tiny,) = score_clip(detector, film(tmp_path / "tiny.mp4", [small] * 20))
    assert tiny.status == "too_small" and tiny.reason == "too small in every frame"
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (cut,) = score_clip(detector, tmp_path / "cut.mp4")
    assert cut.status == "unreadable" and "damaged video" in cut.reason
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(each + rng.normal(0, 12, each.shape), 0, 255).astype(np.uint8) for each in two_people()
    ]  # enough bytes that damage lies in a frame
    whole = film(tmp_path / "whole.mkv", noisy)
    data = whole.read_bytes()
    (tmp_path / "short.mkv").write_bytes(data[: len(data) * 3 // 4])
    # in an mp4 a table says where each frame lies, so that damage stays in frames
    data = bytearray(film(tmp_path / "whole.mp4", noisy).read_bytes())
    half = slice(len(data) // 2, len(data) * 2 // 3)
    data[half] = bytes(byte ^ 0x5A for byte in data[half])
    (tmp_path / "broken.mp4").write_bytes(data)
    for name, why in (
        ("short.mkv", "a video that was cut off: it ends after "),
        ("broken.mp4", "damaged video: "),
    ):
        scores = score_clip(detector, tmp_path / name)
        assert scores and all(why in score.reason and score.verdict for score in scores), scores
    assert "judged by what comes before it" in scores[0].reason
    detector.faces = None
    (blind,) = score_clip(detector, whole)
    assert blind.status == "no_detector"
    (crop,) = score_clip(detector, whole, whole=True)
    assert crop.status == "ok" and crop.box == (0.0, 0.0, 240.0, 160.0) and crop.logit is not None
    with pytest.raises(ValueError, match="rate=0"):
        score_clip(detector, whole, rate=0)


def test_a_pipe_is_not_waited_for(detector, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert not is_clip(tmp_path / "pipe.mp4")
    (score,) = score_clip(detector, tmp_path / "pipe.mp4")
    assert score.status == "unreadable"


def test_without_pyav_a_clip_says_what_to_install(detector, tmp_path, monkeypatch):
    path = film(tmp_path / "it.mp4", [frame()] * 5)
    monkeypatch.setitem(sys.modules, "av", None)
    (score,) = score_clip(detector, path)
    assert score.status == "unreadable" and "pip install 'dfd[video]'" in score.reason


def test_an_uncalibrated_detector_says_no_word_of_a_clip(detector, tmp_path):
    detector.card.calibrated_on = None
    (score,) = score_clip(detector, film(tmp_path / "it.mp4", [frame((20, 40, REDDISH))] * 20))
    assert score.verdict == "inconclusive" and score.prob is None and score.interval is None


def test_a_detector_of_drawings_says_why_it_has_no_verdict(detector, tmp_path):
    detector.speaks = False
    (score,) = score_clip(detector, film(tmp_path / "it.mp4", [frame((20, 40, REDDISH))] * 20))
    assert score.verdict == "inconclusive" and score.logit is None
    assert "has seen drawings only" in score.reason and len(score.moments) == score.looked


def test_the_page_shows_curve_and_moments(detector, tmp_path):
    scores = score_clip(detector, film(tmp_path / "<b>two.mp4", two_people()))
    write_clip_page(detector, scores, tmp_path / "it.html", ["P(fake) is no proof."])
    page = (tmp_path / "it.html").read_text()
    assert "&lt;b&gt;two.mp4" in page and "<b>two" not in page
    assert page.count("data:image/png") == 1 + 3 + 3 and "Of its 13 moments: 13 no trace found." in page
    assert "P(fake) is no proof." in page and "not the sound" in page
    (none,) = score_clip(detector, film(tmp_path / "none.mp4", [frame()] * 20))
    write_clip_page(detector, [none], tmp_path / "none.html", [])
    assert "no face was found in 13 frames" in (tmp_path / "none.html").read_text()


def test_the_command_takes_pictures_and_clips(checkpoint, noise, encoded, tmp_path, capsys):
    clip = film(tmp_path / "it.mp4", [noise(96, 96, at // 10) for at in range(40)])
    (tmp_path / "it.png").write_bytes(encoded(noise(96, 96, 1)))
    words = [str(checkpoint), str(clip), str(tmp_path / "it.png"), "--whole", "--rate", "1"]
    pages, table = tmp_path / "pages", tmp_path / "scores.csv"
    assert main(["score", *words, "--json", "--csv", str(table), "--pages", str(pages)]) == 0
    captured = capsys.readouterr()
    of_clip, of_picture = map(json.loads, captured.out.splitlines())
    assert len(of_clip["moments"]) == of_clip["looked"] == 13 and "moments" not in of_picture
    assert math.isfinite(of_clip["logit"]) and "Of clips the sound was not looked at." in captured.err
    assert [file.name for file in pages.iterdir()] == ["001-it.html"]
    assert f"\npage: {pages / '001-it.html'}\n" in captured.err
    assert (
        "\nPages are of videos, and 1 picture has none: dfd explain makes one of pictures.\n" in captured.err
    )
    assert len(table.read_text().splitlines()) == 3
    assert main(["score", *words, "--pages", str(pages)]) == 1
    assert "not empty" in capsys.readouterr().err
    folder = tmp_path / "folder"
    folder.mkdir()
    clip.rename(folder / "it.mp4")
    (tmp_path / "it.png").rename(folder / "it.png")
    assert main(["score", str(checkpoint), str(folder), "--whole"]) == 0
    assert "1 video not tried (name a video itself)" in capsys.readouterr().out
