import csv
import hashlib
import json
import math
import os
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import fields

import pytest

from dfd.cli import main
from dfd.detector import Score, load
from dfd.detector.card import TOY
from dfd.inference import Predictor, score_files
from dfd.inference.named_files import find_files
from dfd.inference.verdict_words import closing, count, line, sentences
from dfd.serve.reader_words import for_reader

CLOSING = re.compile(
    r"(\d+) files?(?: with \d+ faces?)?: (\d+) fake, (\d+) no trace found, (\d+) inconclusive, 0 unfamiliar"
)


@pytest.fixture
def folder(tmp_path, noise, encoded):
    """Two pictures, a text that calls itself one, two other files, in folders."""
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "c.png").write_bytes(encoded(noise(100, 100, 1)))
    (tmp_path / "b" / "deep" / "a.JPG").write_bytes(encoded(noise(120, 90, 2), "JPEG"))
    (tmp_path / "b" / "z.jpg").write_text("not a picture")
    (tmp_path / "b" / "notes.txt").write_text("notes")
    (tmp_path / ".hidden").write_text("")
    return tmp_path


def test_a_folder_is_walked_in_order_and_nothing_vanishes(folder):
    files, others = find_files([folder])
    assert [str(file.relative_to(folder)) for file in files] == ["c.png", "b/z.jpg", "b/deep/a.JPG"]
    assert [path.name for path in others] == [".hidden", "notes.txt"]
    # a named file is tried whatever its name, and each file once
    files, others = find_files([folder / "b/notes.txt", folder, folder / "c.png"])
    assert [file.name for file in files] == ["notes.txt", "c.png", "z.jpg", "a.JPG"]
    assert [path.name for path in others] == [".hidden"]


def test_links_to_folders_are_followed_once(folder, tmp_path_factory, noise, encoded):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "d.png").write_bytes(encoded(noise(80, 80)))
    os.symlink(elsewhere, folder / "b" / "link")
    os.symlink(folder, folder / "b" / "deep" / "loop")
    os.symlink(folder / "gone", folder / "broken.png")
    files, others = find_files([folder])
    # a link that leads nowhere is tried, and said to be unreadable
    names = ["broken.png", "c.png", "z.jpg", "a.JPG", "d.png"]
    assert [file.name for file in files] == names and len(others) == 2


def test_a_path_that_is_not_there_and_a_folder_without_pictures_are_errors(folder, tmp_path):
    with pytest.raises(ValueError, match=r"no file or folder .*typo\.jpg"):
        find_files([folder, folder / "typo.jpg"])
    with pytest.raises(ValueError, match=r"no picture was named.*dfd score CHECKPOINT photo\.jpg"):
        find_files([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures in .*empty\. Name files.*\.jpg"):
        find_files([tmp_path / "empty"])


def test_one_line_a_file_and_a_closing_line_that_counts_all(checkpoint, folder, capsys):
    assert score_files(checkpoint, [folder], whole=True) == 0
    *lines, counts, note, strange = capsys.readouterr().out.splitlines()
    scores = list(Predictor(checkpoint).score_all(find_files([folder])[0], whole=True))
    assert lines == [line(score) for score in scores]
    told = re.compile(
        r"(fake|no trace found|inconclusive) +P\(fake\) [ <>]0\.\d\d  threshold 0\.51 \(val, 300 images, balanced\)  "
        r"(.*)"
    )
    verdicts = [told.fullmatch(text) for text in lines]
    assert verdicts[0][2].endswith("c.png") and verdicts[2][2].endswith("a.JPG") and verdicts[1] is None
    assert lines[1].startswith("unreadable ") and "z.jpg  (" in lines[1]
    num_files, *num_verdicts = map(int, CLOSING.match(counts).groups())
    assert num_files == 3 and sum(num_verdicts) == 2
    assert counts.endswith(
        "; no verdict: 1 unreadable; 2 other files not tried (no picture's suffix: none, .txt)."
    )
    assert (
        "calibrated on val, 300 images" in note
        and "no proof" in note
        and "From 0.46 to 0.56 the verdict is inconclusive" in note
        and strange.startswith("It never learnt what its own pictures are like")
    )
    assert strange.startswith("It never learnt what its own pictures are like")


def test_the_exit_code_says_whether_anything_was_judged(checkpoint, folder, capsys):
    assert score_files(checkpoint, [folder]) == 1  # no face detector
    out = capsys.readouterr().out
    assert (
        out.count("no_detector ") == 2
        and out.count("unreadable ") == 1
        and "no verdict: 2 no_detector, 1 unreadable" in out
    )
    assert score_files(checkpoint, [folder / "b" / "z.jpg"], whole=True) == 1


def read_csv(text):
    """Scores from a table, by the types of their fields."""

    def value(name, cell):
        if name in ("box", "crop", "inconclusive"):
            return tuple(map(float, cell.split())) if cell else None
        if name in ("face", "faces"):
            return int(cell)
        if name in ("prob", "logit", "familiarity", "threshold"):
            return float(cell) if cell else None
        return (cell or None) if name == "verdict" else cell

    return [
        Score(**{name: value(name, cell) for name, cell in row.items()})
        for row in csv.DictReader(text.splitlines())
    ]


def test_no_file_is_lost_to_a_table(checkpoint, folder):
    judged, list_of_mine = folder / "c.png", folder / "mine.csv"
    list_of_mine.write_text("path,label\na.jpg,real\n")
    before = judged.read_bytes(), list_of_mine.read_text()
    for target, words in (
        (judged, "has the name of a picture|is there already"),
        (list_of_mine, "is there already, and dfd did not write it"),
    ):
        with pytest.raises(ValueError, match=words):
            score_files(checkpoint, [judged], whole=True, csv=target)
    assert (judged.read_bytes(), list_of_mine.read_text()) == before
    for _ in range(2):  # its own table is written anew
        assert score_files(checkpoint, [judged], whole=True, csv=folder / "scores.csv") == 0


@pytest.mark.parametrize("added", [",examiner", "_old", ""])
def test_a_table_with_a_column_of_somebody_is_not_replaced(checkpoint, folder, added):
    table = folder / "keep.csv"
    assert score_files(checkpoint, [folder / "c.png"], whole=True, csv=table) == 0
    head, _, rest = table.read_bytes().partition(b"\r\n")
    edited = head + added.encode() if added else head.rpartition(b",")[0]
    table.write_bytes(edited + b"\r\n" + rest)
    before = table.read_bytes()
    with pytest.raises(ValueError, match="somebody changed its first line"):
        score_files(checkpoint, [folder / "c.png"], whole=True, csv=table)
    assert table.read_bytes() == before
    table.write_bytes(head + b"\n")  # as it is printed
    assert score_files(checkpoint, [folder / "c.png"], whole=True, csv=table) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(checkpoint, folder, monkeypatch, capsys, number):
    table, before = folder / "sig.csv", signal.getsignal(number)
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have ignored it

    def judged(self, files, whole, threads):
        assert list(folder.glob("sig.csv.part-*")), "it is being written"
        os.kill(os.getpid(), number)
        time.sleep(5)
        pytest.fail("not heard")

    monkeypatch.setattr(Predictor, "score_all", judged)
    try:
        code = main(["score", str(checkpoint), str(folder / "c.png"), "--whole", "--csv", str(table)])
        assert number == signal.SIGTERM or signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, old)
    assert code == 128 + number and capsys.readouterr().err == f"ended by {number.name}\n"
    assert not list(folder.glob("sig.csv*")) and signal.getsignal(number) == before


def test_what_nohup_protects_goes_on(checkpoint, folder, monkeypatch):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    judge = Predictor.score_all

    def judged(self, *args):
        os.kill(os.getpid(), signal.SIGHUP)
        return judge(self, *args)

    monkeypatch.setattr(Predictor, "score_all", judged)
    try:
        assert main(["score", str(checkpoint), str(folder / "c.png"), "--whole"]) == 0
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_verdict_says_of_which_pictures_its_errors_are_known(save, folder, capsys):
    known = {"split": "val", "images": 240, "groups": 40, "data": "faces"}
    assert score_files(save(calibrated_on=known), [folder / "c.png"], whole=True) == 0
    out = capsys.readouterr().out
    assert "threshold 0.51 (val of faces, 240 images, balanced)" in out
    few = save(thresholds={"balanced": 0.1, "fpr5": float("inf"), "fnr5": float("-inf")})
    assert score_files(few, [folder / "c.png"], whole=True) == 0
    assert (
        "inconclusive " in (out := capsys.readouterr().out)
        and "too few real or fake images to certify" in out
    )


def test_a_detector_that_was_calibrated_on_test_says_so(save, folder, capsys):
    for split, said in (("val", False), ("test", True)):
        chosen = {"split": split, "images": 240, "groups": 40, "data": "faces"}
        assert score_files(save(calibrated_on=chosen), [folder / "c.png"], whole=True) == 0
        words = "CHOSEN ON TEST: calibration and thresholds come from the test split of faces."
        assert (words in capsys.readouterr().out) is said


@pytest.mark.parametrize(
    "toy",
    [
        {"calibrated_on": {"split": "val", "images": 240, "groups": 40, "data": TOY}},
        {"data": {"class_path": "dfd.data.ToyDataModule", "init_args": {}}},
    ],
)
def test_a_detector_of_drawings_has_no_verdict_on_photographs(toy, save, folder, capsys):
    checkpoint = save(**toy)
    assert score_files(checkpoint, [folder / "c.png"], whole=True) == 0
    out = capsys.readouterr().out
    assert out.startswith("inconclusive ") and "P(fake)" not in out and "has seen drawings only" in out
    assert "no verdict on them" in out and "--drawings" in out
    assert score_files(checkpoint, [folder / "c.png"], whole=True, drawings=True) == 0
    assert "P(fake) " in (out := capsys.readouterr().out) and "drawings only" not in out
    (score,) = Predictor(checkpoint).score(folder / "c.png", whole=True)
    assert (score.status, score.verdict, score.prob) == ("ok", "inconclusive", None)


def test_json_and_csv_give_back_the_scores(checkpoint, folder, capsys):
    scores = list(Predictor(checkpoint).score_all(find_files([folder])[0], whole=True))
    table = folder / "scores.csv"
    assert score_files(checkpoint, [folder], whole=True, json=True, csv=table) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(text) for text in out.splitlines()]
    back = [
        Score(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in rows
    ]
    assert back == scores and list(rows[0]) == [field.name for field in fields(Score)]
    assert CLOSING.match(err)
    assert read_csv(table.read_text()) == scores
    assert score_files(checkpoint, [folder], whole=True, csv="-") == 0
    out, err = capsys.readouterr()
    assert read_csv(out) == scores and CLOSING.match(err)


def test_text_is_printed_beside_a_table_in_a_file(checkpoint, folder, capsys):
    score_files(checkpoint, [folder / "c.png"], whole=True, csv=folder / "scores.csv")
    assert "P(fake)" in capsys.readouterr().out and len(read_csv((folder / "scores.csv").read_text())) == 1


def test_a_table_that_cannot_be_written_or_finished_leaves_nothing(checkpoint, folder):
    before = sorted(folder.rglob("*"))
    for target in (folder / "no-folder" / "scores.csv", folder, folder / "c.png" / "scores.csv"):
        with pytest.raises(ValueError, match="cannot write"):
            score_files(checkpoint, [folder], whole=True, csv=target)
    with pytest.raises(ValueError, match="checkpoint"):
        score_files(folder / "c.png", [folder], csv=folder / "scores.csv")
    with pytest.raises(ValueError, match="both want the standard output"):
        score_files(checkpoint, [folder], json=True, csv="-")
    assert sorted(folder.rglob("*")) == before


def test_the_last_lines_say_how_often_a_word_is_wrong_and_what_it_is_worth(save, folder, capsys):
    counts = {"images": 150, "independent": 150.0, "errors": 7, "right": 140, "bound": 0.0859}
    sources = {"here": {"real": counts, "fake": counts | {"errors": 0, "bound": 0.0198}}}
    path = save(calibrated_on={"split": "val", "images": 300, "groups": 300, "sources": sources})
    assert score_files(path, [folder], whole=True, prior=0.01) == 0
    shown = capsys.readouterr().out
    assert '"fake" was said of 7 of 150 reals of here: at most 8.6%' in shown
    assert '"no trace found" was said of 0 of 150 fakes of here: at most 2.0%' in shown
    assert score_files(path, [folder], whole=True, prior=1e-4) == 0
    rare = capsys.readouterr()
    assert "threshold <0.01 " in rare.out and "0.00 " not in rare.out + rare.err  # never certain
    assert "at 0.01 fakes" in shown and "Where 0.01 of the pictures are fake" in shown
    assert "Where 1 in 2, 10, 1000 pictures is fake" in shown
    few = {"real": counts | {"images": 40, "independent": 40.0, "errors": 0, "right": 40}, "fake": counts}
    path = save(
        calibrated_on={"split": "val", "images": 190, "groups": 190, "sources": {"here": few}},
        thresholds={"balanced": 0.0, "fpr5": math.inf, "fnr5": -9.0},
    )
    score_files(path, [folder], whole=True)
    shown = capsys.readouterr().out
    assert '"fake" is never said' in shown and "19 more reals of here" in shown


def test_a_line_stays_a_line_and_certainty_is_never_printed():
    score = Score(
        "a\n\x1b[31mfake\udcff.jpg",
        "ok",
        verdict="fake",
        prob=0.9999,
        logit=9.0,
        threshold=0.5,
        calibrated_on="val, 9 images",
    )
    assert (
        line(score)
        == r"fake            P(fake) >0.99  threshold 0.50 (val, 9 images, balanced)  a\n\x1b[31mfake\udcff.jpg"
    )
    low = line(
        Score("a.jpg", "ok", 1, 2, (1.2, 3.6, 50.0, 60.0), verdict="no_trace", prob=1e-5, threshold=0.5)
    )
    assert "P(fake) <0.01" in low and low.endswith("a.jpg  face 1/2 at x=1 y=4 width=50 height=60")
    assert line(Score("a.jpg", "no_face", reason="why")) == "no_face         a.jpg  (why)"


def test_colour_is_for_terminals_only(checkpoint, folder, capsys, monkeypatch):
    score_files(checkpoint, [folder], whole=True)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    score_files(checkpoint, [folder], whole=True)
    assert "\x1b[90munreadable" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    score_files(checkpoint, [folder], whole=True)
    assert "\x1b" not in capsys.readouterr().out


def test_an_uncalibrated_checkpoint_says_so(save, folder, capsys):
    assert score_files(save(calibrated_on=None), [folder / "c.png"], whole=True) == 0
    out = capsys.readouterr().out
    assert out.startswith("inconclusive  ") and "P(fake)" not in out and "never calibrated" in out


def test_faces_are_scored_from_a_folder(checkpoint, yunet, faces_140k, capsys):
    assert score_files(checkpoint, faces_140k[:6], faces=yunet, json=True) == 0
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows if row["face"] == 1] == [str(file) for file in faces_140k[:6]]
    assert all(row["status"] == "ok" and row["prob"] is not None for row in rows)


def test_which_file_looked_for_faces_is_said(checkpoint, yunet, folder, tmp_path, capsys):
    other = tmp_path / "another.onnx"
    other.write_bytes(yunet.read_bytes())
    digits = hashlib.sha256(yunet.read_bytes()).hexdigest()[:12]
    for weights in (yunet, other):
        score_files(checkpoint, [folder / "c.png"], faces=weights, json=True)
        printed = capsys.readouterr()
        said = f"{weights.name} sha256:{digits}"
        assert json.loads(printed.out)["face_detector"] == said
        assert f"What looks for faces here: {said}. Compare only numbers of one face detector." in printed.err
    score_files(checkpoint, [folder / "c.png"], faces=yunet, json=True, whole=True)
    assert json.loads(capsys.readouterr().out)["face_detector"] == "", "nothing looked for a face"


def test_another_face_detector_than_that_of_the_calibration_is_said(checkpoint, yunet):
    detector = load(checkpoint, yunet)
    here = detector.faces.identity
    detector.card.calibrated_on |= {"face_detector": f"renamed.onnx {here.rpartition(' ')[2]}"}
    assert f"{here}, as for the calibration. Compare only" in closing(detector)
    detector.card.calibrated_on |= {"face_detector": "n640.onnx sha256:0123456789ab"}
    assert "were found by n640.onnx sha256:0123456789ab. Two frame" in closing(detector)
    assert "Name that file with --faces." in closing(detector)
    assert "--faces" not in for_reader(closing(detector))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "https://example.org/photo.jpg",
            "no file or folder https://example.org/photo.jpg. .*download it first",
        ),
        ("s3://bucket/photo.jpg", "download it first"),
        (r"C:\Users\ada\photo.jpg", "a path of Windows"),
        (r"\\server\share\photo.jpg", "a path of Windows"),
    ],
)
def test_a_path_of_another_kind_says_what_to_do(path, words):
    with pytest.raises(ValueError, match=words):
        find_files([path])


def test_the_home_folder_is_known_where_the_shell_did_not_see_it(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert find_files(["~/c.png"])[0] == [folder / "c.png"]


def test_a_lone_dash_is_no_picture(capsys):
    assert main(["score", "best.ckpt", "-"]) == 2
    assert "standard input is not read" in capsys.readouterr().err


def test_videos_and_other_files_are_told_apart(checkpoint, folder, capsys):
    for name in ("a.mp4", "b.MOV", "c.csv"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypmp42")
    assert score_files(checkpoint, [folder, folder / "a.mp4"], whole=True) == 0
    said = capsys.readouterr().out
    assert "1 video not tried (name a video itself)" in said
    assert "3 other files not tried (no picture's suffix: none, .csv, .txt)" in said
    assert re.search(r"unreadable .*a\.mp4  \(damaged video", said)
    shutil.rmtree(folder / "b")
    (folder / "c.png").unlink()
    with pytest.raises(ValueError, match=r"no pictures in .*2 videos not tried.*name a video itself"):
        find_files([folder])


def test_faces_are_counted_as_faces_and_files_as_files():
    seen = Counter(fake=4, no_trace=10, inconclusive=17, too_small=2)
    assert (
        count(2, 33, [], seen)
        == "2 files with 33 faces: 4 fake, 10 no trace found, 17 inconclusive, 0 unfamiliar; no verdict: 2 too_small"
    )
    assert count(1, 0, [], Counter(no_trace=1)).startswith("1 file: 0 fake, 1 no trace found")


@pytest.mark.parametrize(
    ("prob", "shown"), [(0.8833, "0.883"), (0.8788, "0.879"), (0.91, "0.91"), (0.9999, ">0.99")]
)
def test_a_probability_never_looks_like_the_end_of_the_band_beside_it(prob, shown):
    score = Score("a.jpg", "ok", prob=prob, verdict="fake", threshold=0.5, inconclusive=(0.13, 0.8794))
    assert re.search(r"P\(fake\) +(\S+)", line(score))[1] == shown
    assert f"P(fake) is {shown}, on" in sentences(score)[0]
