"""`dfd score` on folders: many faces of another world are unfamiliar together, and no line says otherwise."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from dfd.detector import Score, load_net
from dfd.detector.consistency import redelivered
from dfd.familiarity import Familiarity, Features, Home
from dfd.inference import folders, score_files
from dfd.inference.folders import FolderAlarm
from dfd.media.crops import View


def gate_of(num=400):
    """A gate of standard normal distances, without features."""
    home = np.sort(np.random.default_rng(0).normal(size=num)).astype(np.float32)
    return Familiarity(
        Features(), {}, {}, home, np.zeros(num, np.int64), {"basis": "nothing", "split": "val"}
    )


def scores(folder, ranks):
    return [
        Score(
            f"{folder}/{number}.png",
            "ok",
            verdict="fake",
            prob=0.99,
            logit=5.0,
            familiarity=rank,
            threshold=0.5,
        )
        for number, rank in enumerate(ranks)
    ]


@pytest.fixture
def two(tmp_path):
    for name in ("home", "away"):
        (tmp_path / name).mkdir()
    return tmp_path / "home", tmp_path / "away"


def test_a_folder_of_another_world_is_unfamiliar_and_its_neighbour_is_not(two):
    home, away = two
    rng = np.random.default_rng(1)
    given = scores(home, rng.uniform(0, 1, 30)) + scores(away, rng.uniform(0.05, 0.3, 30))
    given.insert(40, Score(f"{away}/broken.png", "unreadable", reason="damaged"))
    alarm = FolderAlarm(gate_of(), [home, away])
    found = list(alarm(given))
    assert [score.path for score in found] == [score.path for score in given]
    assert found[:30] == given[:30] and list(alarm.raised) == [str(away)]
    strange = [score for score in found[30:] if score.status == "ok"]
    assert {score.verdict for score in strange} == {"unfamiliar"}
    assert all(score.prob is None and score.threshold is None for score in strange)
    assert all("a world this detector has not seen" in score.reason for score in strange)
    assert found[40] == given[40]


def test_nineteen_pictures_raise_no_alarm(two):
    _home, away = two
    given = scores(away, np.full(19, 0.06))
    assert list(FolderAlarm(gate_of(), [away])(given)) == given
    assert all(
        score.verdict == "unfamiliar" for score in FolderAlarm(gate_of(), [away])(scores(away, [0.06] * 20))
    )
    # files that are named one by one are one source
    alarm = FolderAlarm(gate_of(), [])
    assert all(score.verdict == "unfamiliar" for score in alarm(scores(away, [0.06] * 20)))
    assert list(alarm.raised) == ["the files"]


def test_a_large_folder_is_judged_in_parts_and_without_a_gate_nothing_is_held(two, monkeypatch):
    home, _ = two
    monkeypatch.setattr(folders, "HELD", 25)
    taken = []

    def coming(given):
        for score in given:
            taken.append(score)
            yield score

    first = next(FolderAlarm(gate_of(), [home])(coming(scores(home, [0.5] * 60))))
    assert first.verdict == "fake" and len(taken) == 25
    taken.clear()
    next(FolderAlarm(None, [home])(coming(scores(home, [0.5] * 60))))
    assert len(taken) == 1


@pytest.fixture(scope="module")
def knowing(save):
    """A checkpoint whose home is soft patches."""
    _net, card = load_net(save())
    view = View(**card.view)
    rng = np.random.default_rng(0)
    crops = np.stack([view.eval_crops(soft(rng))[-1] for _ in range(60)])
    features = Features()
    image = torch.from_numpy(crops).movedim(-1, 1).float() / 255
    measured = {name: value.numpy()[:, None] for name, value in features(image).items()}
    parts = [
        Home({"dct": measured["dct"][rows]}, np.full(30, "soft"), np.zeros(30, int))
        for rows in (slice(0, 30), slice(30, 60))
    ]
    gate = Familiarity.fit(features, *parts)
    return save(familiarity=gate.state())


def soft(rng):
    rough = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC)


def test_a_strange_picture_gets_no_probability_and_the_reason(knowing, tmp_path, capsys):
    rng = np.random.default_rng(5)
    cv2.imwrite(str(tmp_path / "noise.png"), rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "soft.png"), soft(rng))
    assert score_files(knowing, [tmp_path], whole=True, json=True) == 0
    captured = capsys.readouterr()
    noise, known = map(json.loads, captured.out.splitlines())
    assert noise["verdict"] == "unfamiliar" and noise["prob"] is None and noise["familiarity"] < 0.05
    assert "unlike what this detector was calibrated on" in noise["reason"]
    assert known["verdict"] != "unfamiliar" and known["familiarity"] >= 0.05
    assert "1 unfamiliar" in captured.err and "stranger than 95% of its own val" in captured.err
    assert score_files(knowing, [tmp_path / "noise.png"], whole=True, csv=tmp_path / "scores.csv") == 0
    text = capsys.readouterr().out.splitlines()[0]
    assert text.startswith("unfamiliar ") and "P(fake)" not in text and "threshold" not in text
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    assert row["verdict"] == "unfamiliar" and row["reason"] == noise["reason"]
    assert not any(row[name] for name in ("prob", "threshold", "inconclusive", "calibrated_on"))


def test_twenty_strange_files_are_said_to_be_of_another_world(knowing, tmp_path, capsys):
    rng = np.random.default_rng(5)
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
    assert score_files(knowing, [tmp_path], whole=True) == 0
    out = capsys.readouterr().out
    assert (
        "20 unfamiliar" in out
        and f"{tmp_path}: these pictures come from a world this detector has not seen" in out
    )


def test_a_verdict_that_does_not_survive_mild_redeliveries_is_not_said(save):
    from dfd.detector import Detector

    net, card = load_net(save())
    detector = Detector(net, card, consistency=True)
    (face,) = detector.crop_faces(soft(np.random.default_rng(0)), whole=True)
    assert list(face.again) == list(redelivered(soft(np.random.default_rng(0)), 64)) and len(face.again) == 3
    score = detector.decide(5.0, face.score)
    assert score.verdict == "fake"
    kept = detector._consistent(score, {"JPEG 90": 4.0, "JPEG 85": 3.0})
    assert kept == score
    lost = detector._consistent(score, {"JPEG 90": 4.0, "JPEG 85": 0.0, "JPEG 75": -4.0})
    assert lost.verdict == "inconclusive"
    assert "fake as it is, inconclusive after JPEG 85, no trace found after JPEG 75" in lost.reason
    silent = detector.decide(0.2, face.score)
    assert detector._consistent(silent, {"JPEG 90": 9.0}) == silent
    assert detector.judge([face])[0].logit == pytest.approx(detector.logits([face.crops])[0])


def test_a_redelivery_that_leaves_too_few_pixels_is_left_out():
    image = soft(np.random.default_rng(0))
    assert list(redelivered(image, 90)) == ["JPEG 90", "224 pixels and JPEG 75"]
    again = redelivered(image, 64)
    assert all(np.array_equal(again[name], each) for name, each in redelivered(image, 64).items())
