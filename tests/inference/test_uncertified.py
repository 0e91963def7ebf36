"""A detector whose validation set certifies no error rate: text, JSON and CSV say so, and what is missing."""

import csv
import json
import math

import pytest
from clips import film
from PIL import Image

from dfd.detector import load
from dfd.detector.card import TOY
from dfd.inference import score_files
from dfd.inference.clip import score_clip
from dfd.inference.explain_page import in_words
from dfd.inference.frame_queue import Frame
from dfd.inference.verdict_words import line
from dfd.inference.watched_faces import WatchedFaces
from dfd.media.decode import decode

NEVER = {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}
MISSING = '"fake" is never said: it takes at least 49 more reals of ciplab'
ASK = '"no trace found" is never said: it takes at least 47 more fakes of ciplab'


def counts(images):
    return {"images": images, "independent": float(images), "errors": 0, "right": 0, "bound": 0.3}


CARD = {
    "split": "val",
    "images": 22,
    "groups": 22,
    "data": "faces",
    "sources": {"ciplab": {"real": counts(10), "fake": counts(12)}},
}


@pytest.fixture
def picture(tmp_path, noise, encoded):
    path = tmp_path / "c.png"
    path.write_bytes(encoded(noise(100, 100, 1)))
    return path


def three_forms(checkpoint, picture, capsys):
    """The text, the object of JSON, the row of CSV, and the closing lines."""
    assert score_files(checkpoint, [picture], whole=True) == 0
    text, _, closing = capsys.readouterr().out.partition("\n")
    assert score_files(checkpoint, [picture], whole=True, json=True) == 0
    row = json.loads(capsys.readouterr().out)
    assert score_files(checkpoint, [picture], whole=True, csv="-") == 0
    (table,) = csv.DictReader(capsys.readouterr().out.splitlines())
    return text, row, table, closing


def test_no_verdict_is_possible_and_how_many_pictures_are_missing(save, picture, capsys):
    text, row, table, closing = three_forms(save(calibrated_on=CARD, thresholds=NEVER), picture, capsys)
    reason = f"no verdict is possible: {MISSING}; {ASK}"
    assert text.startswith("inconclusive ") and "P(fake)" in text and text.endswith(f"({reason})")
    assert "threshold" not in text, "beside one, P(fake) would read as a verdict"
    assert row["verdict"] == table["verdict"] == "inconclusive"
    assert row["reason"] == table["reason"] == reason and row["prob"] == float(table["prob"])
    assert "No verdict is possible: every picture is inconclusive" in closing and MISSING in closing
    assert "From 0.00 to 1.00" not in closing


def test_what_is_missing_is_said_beside_other_reasons(save, picture, tmp_path, noise):
    detector = load(save(calibrated_on=CARD, thresholds=NEVER))
    pixels = Image.fromarray(noise(64, 128))
    pixels.putalpha(255)
    pixels.paste((0, 0, 0, 0), (100, 0, 128, 64))
    (score,) = detector.score(pixels, whole=True)
    missing = f"no verdict is possible: {MISSING}; {ASK}; "
    assert score.reason.startswith(missing) and "transparent" in score.reason.removeprefix(missing)


def test_each_moment_of_a_clip_and_each_frame_that_is_watched_says_it(save, picture):
    detector = load(save(calibrated_on=CARD, thresholds=NEVER))
    frame = decode(picture.read_bytes())
    reason = f"no verdict is possible: {MISSING}; {ASK}"
    (seen,) = WatchedFaces(detector, 0.0, whole=True).see(Frame(0, 0.0, 0.0, frame))
    assert seen.score.reason == seen.smoothed.reason == reason
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    (score,) = score_clip(detector, film(picture.with_suffix(".mp4"), [frame] * 12), whole=True)
    assert score.reason == reason and {moment.reason for moment in score.moments} == {reason}


def test_an_earlier_card_without_sources_says_that_they_were_too_few(save, picture, capsys):
    few = save(thresholds=NEVER)
    text, row, _, _ = three_forms(few, picture, capsys)
    assert row["reason"].startswith(
        "no verdict is possible: the validation set had too few real or fake images"
    )
    assert text.count("too few") == 1


def test_where_one_word_alone_is_missing_a_verdict_is_possible(save, picture, capsys):
    half = save(calibrated_on=CARD, thresholds={"balanced": 0.0, "fpr5": math.inf, "fnr5": -99.0})
    text, row, _, closing = three_forms(half, picture, capsys)
    assert (
        MISSING in row["reason"] and "no verdict is possible" not in (row["reason"] + text + closing).lower()
    )


def test_what_is_certified_is_told_as_before(save, picture):
    (score,) = load(save()).score(picture, whole=True)
    assert "never said" not in score.reason and "threshold 0.51" in line(score)


def test_the_page_of_maps_says_it_too(save, picture):
    detector = load(save(calibrated_on=CARD, thresholds=NEVER))
    (score,) = detector.score(picture, whole=True)
    said = in_words(score, 1.0)
    assert "No verdict is possible, whatever P(fake) is" in said[0] and MISSING in said[1]


def test_a_detector_of_drawings_gives_no_number_in_any_form(save, picture, capsys):
    toy = save(calibrated_on={"split": "val", "images": 240, "groups": 40, "data": TOY})
    text, row, table, closing = three_forms(toy, picture, capsys)
    assert text.startswith("inconclusive ") and "no verdict" in text and "P(fake)" not in text + closing
    for name in ("prob", "logit", "threshold", "inconclusive"):
        assert row[name] is None and table[name] == ""
    assert row["reason"] == table["reason"] and "drawings only" in row["reason"]
