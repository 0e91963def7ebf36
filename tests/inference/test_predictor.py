import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dfd.detector import load_net
from dfd.detector.score import Score
from dfd.inference import Predictor
from dfd.media.crops import View
from dfd.media.decode import decode
from dfd.media.faces import Face

SILENT = {"verdict": None, "prob": None, "logit": None, "threshold": None, "calibrated_on": ""}


@pytest.fixture(scope="module")
def whole(checkpoint):
    """A predictor without a face detector."""
    return Predictor(checkpoint)


@pytest.fixture(scope="module")
def finding(checkpoint, yunet):
    return Predictor(checkpoint, faces=yunet)


class Pointer:
    """Stands where the face detector stands, and points at given boxes."""

    identity = "pointer"

    def __init__(self, *boxes):
        self.boxes = boxes

    def find(self, image):
        return [Face(box, 0.9, np.zeros((5, 2))) for box in self.boxes]


def pointing(checkpoint, *boxes):
    predictor = Predictor(checkpoint)
    predictor.detector.faces = Pointer(*boxes)
    return predictor


def expected_logit(checkpoint, image):
    """The same by hand: the view's crops through the net one by one, and their mean."""
    net, card = load_net(checkpoint)
    crops = View(**card.view).eval_crops(np.ascontiguousarray(image))
    with torch.no_grad():
        return np.mean(
            [
                net(torch.tensor(crop / 255, dtype=torch.float32).permute(2, 0, 1)[None]).item()
                for crop in crops
            ]
        )


def stripped(score):
    """Without what the batch may change in the last digit."""
    return replace(score, logit=None, prob=None)


def same(one, other):
    assert [stripped(score) for score in one] == [stripped(score) for score in other]
    for mine, theirs in zip(one, other, strict=True):
        assert (mine.logit is None) == (theirs.logit is None)
        if mine.logit is not None:
            assert mine.logit == pytest.approx(theirs.logit, abs=1e-4) and mine.prob == pytest.approx(
                theirs.prob, abs=1e-4
            )


def test_a_whole_picture_gets_the_net_s_logit_and_the_checkpoint_s_calibration(
    whole, checkpoint, noise, encoded, tmp_path
):
    file = tmp_path / "crop.png"
    for seed in range(4):
        image = noise(300, 400, seed)  # is shrunk to 192 x 256
        file.write_bytes(encoded(image))
        (score,) = whole.score(file, whole=True)
        logit = expected_logit(checkpoint, image)
        assert score.logit == pytest.approx(logit, abs=1e-4)
        assert score.prob == pytest.approx(1 / (1 + np.exp(-logit / 1.7)), abs=1e-4)
        assert score.threshold == pytest.approx(1 / (1 + np.exp(-0.1 / 1.7)))
        assert score.calibrated_on == "val, 300 images"
        assert (score.status, score.path, score.face, score.box, score.crop) == (
            "ok",
            str(file),
            0,
            None,
            (0, 0, 400, 300),
        )
        same(whole.score(image, whole=True), [replace(score, path="")])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1, 2, "no_trace"), (-2, -1, "fake"), (-1, 1, "inconclusive"), (1, -1, "inconclusive")],
)
def test_the_band_between_the_thresholds_decides(save, noise, low, high, verdict):
    image = noise(128, 128)
    logit = Predictor(save()).score(image, whole=True)[0].logit
    middle = logit + (low + high) / 2
    predictor = Predictor(save(thresholds={"balanced": middle, "fnr5": logit + low, "fpr5": logit + high}))
    (score,) = predictor.score(image, whole=True)
    assert score.verdict == verdict
    low, high = predictor.detector.band
    assert low < high and (score.prob < low, score.prob > high) == (verdict == "no_trace", verdict == "fake")


def test_a_strange_picture_needs_a_larger_logit_and_the_reason_names_no_word(save):
    detector = Predictor(save(thresholds={"balanced": 0.0, "fnr5": -1.0, "fpr5": 1.0})).detector
    known, strange = (detector.decide(3.0, Score("photo.jpg", "ok"), rank) for rank in (0.5, 0.125))
    assert known.verdict == "fake" and known.reason == "" and known.prob == detector.prob(3.0)
    assert strange.verdict == "inconclusive" and 0.5 < strange.prob == detector.prob(0.75) < known.prob
    assert strange.reason.startswith("somewhat strange: 12% ") and "counts for 25%" in strange.reason
    assert not {"fake", "trace"} & set(strange.reason.split())
    assert detector.decide(0.5, Score("photo.jpg", "ok"), 0.125).reason == ""  # in the band in any case


SOURCES = {
    "here": {
        name: {"images": 300, "independent": 300.0, "errors": 2, "right": 280, "bound": 0.021}
        for name in ("real", "fake")
    }
}


def test_a_prior_corrects_the_probability_and_no_verdict(save, noise):
    path = save(calibrated_on={"split": "val", "images": 600, "groups": 600, "sources": SOURCES})
    (plain,) = Predictor(path).score(noise(128, 128), whole=True)
    (rare,) = Predictor(path, prior=0.001).score(noise(128, 128), whole=True)
    odds = plain.prob / (1 - plain.prob) / 999
    assert rare.prob == pytest.approx(odds / (1 + odds))
    assert (rare.verdict, rare.logit) == (plain.verdict, plain.logit) and rare.threshold < plain.threshold
    assert (rare.prob < rare.inconclusive[0]) == (plain.prob < plain.inconclusive[0])
    assert rare.calibrated_on == "val, 600 images, at 0.001 fakes"


def test_a_prior_that_is_none_is_said_before_anything_is_read(save):
    for prior in (0, 1, -1, 2, np.nan):
        with pytest.raises(ValueError, match="no share of fakes between 0 and 1"):
            Predictor("no such file", prior=prior)
    with pytest.raises(ValueError, match="does not say how many of its calibration's images were real"):
        Predictor(save(), prior=0.1)


def test_no_calibration_no_verdict(save, noise):
    for calibrated_on in (None, {}):
        predictor = Predictor(
            save(calibrated_on=calibrated_on, thresholds={"balanced": 0.0, "fpr5": 0.0, "fnr5": 0.0})
        )
        (score,) = predictor.score(noise(128, 128), whole=True)
        assert score.verdict == "inconclusive" and score.prob is None and "never calibrated" in score.reason
    never = {"balanced": 0.0, "fpr5": np.inf, "fnr5": -np.inf}
    (score,) = Predictor(save(thresholds=never)).score(noise(128, 128), whole=True)
    assert score.verdict == "inconclusive" and "too few real or fake images to certify" in score.reason


@pytest.mark.parametrize("content", [b"", b"this is a text, not a picture\n" * 40])
def test_what_cannot_be_decoded_is_unreadable(whole, tmp_path, content):
    file = tmp_path / "holiday.jpg"
    file.write_bytes(content)
    for taken_whole in (False, True):
        (score,) = whole.score(file, whole=taken_whole)
        assert (
            score.status == "unreadable"
            and score.reason
            and {name: getattr(score, name) for name in SILENT} == SILENT
        )


def test_a_truncated_or_vanished_file_is_unreadable(whole, tmp_path, noise, encoded):
    file = tmp_path / "cut.jpg"
    data = encoded(noise(200, 200), "JPEG")
    file.write_bytes(data[: len(data) // 2])
    assert whole.score(file, whole=True)[0].status == "unreadable"
    assert whole.score(tmp_path / "gone.jpg", whole=True)[0].status == "unreadable"
    assert whole.score(tmp_path, whole=True)[0].status == "unreadable"


def test_without_weights_there_is_no_verdict_but_a_way(whole, noise):
    (score,) = whole.score(noise(200, 200))
    assert score.status == "no_detector" and {name: getattr(score, name) for name in SILENT} == SILENT
    assert all(way in score.reason for way in ("dfd[faces]", "DFD_YUNET", "--faces", "--whole"))


def test_without_a_face_there_is_no_verdict(checkpoint, noise):
    (score,) = pointing(checkpoint).score(noise(400, 400))
    assert score.status == "no_face" and {name: getattr(score, name) for name in SILENT} == SILENT


def test_what_is_smaller_than_the_net_s_input_is_too_small(checkpoint, whole, noise):
    predictor = pointing(checkpoint, (300, 200, 30, 46), (100, 100, 40, 48))
    tiny, fair = predictor.score(noise(600, 900))  # 46 * 1.35 = 62 < 64 <= 65 = 48 * 1.35
    assert (tiny.status, tiny.verdict, fair.status) == ("too_small", None, "ok") and "62" in tiny.reason
    assert whole.score(noise(63, 200), whole=True)[0].status == "too_small"
    assert whole.score(noise(64, 64), whole=True)[0].status == "ok"
    assert whole.score(noise(100, 1000), whole=True)[0].status == "too_small"  # 26 x 256 when shrunk
    assert pointing(checkpoint, (0, 0, 50, 60)).score(noise(60, 60))[0].status == "too_small"


def test_faces_are_cut_from_native_pixels_at_the_stored_margin(checkpoint, noise):
    image = noise(900, 1500)
    boxes = [(100.0, 100.0, 70.0, 100.0), (700.0, 300.0, 120.0, 160.0), (1300.0, 650.0, 180.0, 240.0)]
    scores = pointing(checkpoint, *boxes).score(image)
    assert [(score.face, score.faces, score.box) for score in scores] == [
        (n, 3, box) for n, box in enumerate(boxes, 1)
    ]
    assert [score.crop[2] for score in scores] == [135, 216, 324]
    for score in scores:
        x, y, w, h = score.crop
        assert score.logit == pytest.approx(expected_logit(checkpoint, image[y : y + h, x : x + w]), abs=1e-4)
        assert score.reason == ""


@pytest.mark.parametrize(
    ("width", "height", "boxes", "crops"),
    [
        (256, 256, [(30, 20, 140, 190)], [(0, 0, 256, 256)]),  # as in training: 1.35 faces
        (256, 256, [(30, 20, 120, 160)], [(0, 0, 256, 256)]),  # 1.6 faces
        (256, 300, [(30, 20, 140, 190)], [(0, 0, 256, 300)]),  # not square, as it came
        (256, 256, [(60, 60, 110, 140)], [(20, 36, 189, 189)]),  # 1.83 faces: cut at 1.35
        (400, 256, [(60, 30, 140, 190)], [(2, 0, 256, 256)]),  # 2.1 faces
        (
            256,
            256,
            [(0, 20, 140, 190), (150, 20, 106, 180)],
            [(0, 0, 256, 256), (13, 0, 243, 243)],
        ),  # two fill it: neither does
        (
            256,
            256,
            [(30, 20, 140, 190), (5, 5, 50, 60)],
            [(0, 0, 256, 256), (0, 0, 81, 81)],
        ),  # a small one in the corner
    ],
)
def test_a_picture_that_one_face_fills_is_taken_whole(checkpoint, noise, width, height, boxes, crops):
    scores = pointing(checkpoint, *[tuple(map(float, box)) for box in boxes]).score(noise(height, width))
    assert [score.crop for score in scores] == crops


def test_a_crop_that_shows_another_face_says_so(checkpoint, noise):
    scores = pointing(checkpoint, (100.0, 100.0, 80.0, 100.0), (160.0, 110.0, 60.0, 90.0)).score(
        noise(600, 600)
    )
    assert all("1 other face" in score.reason for score in scores)


def test_a_broken_net_answers_nobody(checkpoint, noise):
    predictor = Predictor(checkpoint)
    torch.nn.init.constant_(predictor.detector.net.head.weight, torch.nan)
    with pytest.raises(ValueError, match="weights are broken"):
        predictor.score(noise(100, 100), whole=True)


def test_a_checkpoint_without_a_view_and_weights_that_are_not_there_are_errors(save, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="how its pictures were cut"):
        Predictor(save(view=None))
    with pytest.raises(ValueError, match=r"no-such\.onnx"):
        Predictor(checkpoint, faces=tmp_path / "no-such.onnx")
    with pytest.raises(ValueError, match=r"no-such\.ckpt"):
        Predictor(tmp_path / "no-such.ckpt")


def test_many_files_are_read_only_as_far_ahead_as_needed(checkpoint, noise, encoded, tmp_path):
    file = tmp_path / "one.png"
    file.write_bytes(encoded(noise(80, 80)))
    read = []

    def endless():
        while True:
            read.append(file)
            yield file

    scores = Predictor(checkpoint, batch_size=10).score_all(endless(), whole=True, threads=2)
    for _ in range(50):
        next(scores)
    scores.close()
    assert len(read) <= 50 + 2 + 2 * 2 + 2  # two batches, the queue, and one in hand


def test_importing_is_light():
    heavy = ["torch", "lightning", "timm", "albumentations", "sklearn", "matplotlib", "pyarrow"]
    code = f"import sys, dfd.inference; sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stderr.strip() == "[]"


# with real faces


def test_face_pictures_are_taken_whole_and_judged(finding, faces_140k):
    files = faces_140k[:: len(faces_140k) // 40][:40]
    scores = list(finding.score_all(files, threads=2))
    ok = {score.path for score in scores if score.status == "ok" and score.crop == (0, 0, 256, 256)}
    assert len(ok) >= 0.95 * len(files)


def test_two_faces_on_one_canvas_are_two_scores(finding, checkpoint, faces_140k, tmp_path, encoded):
    canvas = np.full((700, 1100, 3), 90, np.uint8)
    for left, file in ((60, faces_140k[0]), (640, faces_140k[-1])):
        canvas[200:600, left : left + 400] = cv2.resize(
            decode(file.read_bytes()), (400, 400), interpolation=cv2.INTER_CUBIC
        )
    file = tmp_path / "group.png"
    file.write_bytes(encoded(canvas))
    one, two = finding.score(file)
    assert (one.face, two.face, one.faces) == (1, 2, 2) and one.status == two.status == "ok"
    for score, left in ((one, 60), (two, 640)):
        x, y, w, h = score.box
        assert left < x + w / 2 < left + 400 and 200 < y + h / 2 < 600
        x, y, w, h = score.crop
        assert score.logit == pytest.approx(
            expected_logit(checkpoint, canvas[y : y + h, x : x + w]), abs=1e-4
        )


def test_a_picture_turned_by_exif_is_judged_upright(finding, faces_140k, tmp_path, encoded):
    from PIL import Image

    photo = cv2.copyMakeBorder(
        decode(faces_140k[5].read_bytes()), 200, 100, 150, 300, cv2.BORDER_CONSTANT, value=(200, 200, 200)
    )
    lying = np.ascontiguousarray(np.rot90(photo))  # as a camera held upright stores it
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    (upright, tagged) = (tmp_path / name for name in ("upright.jpg", "tagged.jpg"))
    upright.write_bytes(encoded(photo, "JPEG", quality=97, subsampling=0))
    tagged.write_bytes(encoded(lying, "JPEG", quality=97, subsampling=0, exif=exif))
    (one,), (two,) = finding.score(upright), finding.score(tagged)
    assert one.status == two.status == "ok"
    assert np.allclose(one.box, two.box, atol=3) and one.crop[2] == pytest.approx(two.crop[2], abs=4)
    assert one.logit == pytest.approx(two.logit, abs=0.3)


def test_pictures_without_faces_accuse_nobody(finding, real_data, noise):
    assert finding.score(noise(500, 500))[0].status == "no_face"
    # splices of buildings and plants; faces in them, if any, are tiny
    files = [
        file
        for file in sorted((real_data / "casia1").rglob("*.jpg"))
        if "_arc" in file.name or "_pla" in file.name
    ]
    assert len(files) > 5
    scores = list(finding.score_all(files))
    assert {score.status for score in scores} <= {"no_face", "too_small"}


def test_many_files_at_once_equal_one_by_one(finding, faces_140k, tmp_path, noise, encoded):
    text, big = tmp_path / "text.jpg", tmp_path / "big.jpg"
    text.write_text("not a picture")
    big.write_bytes(encoded(noise(1500, 2000), "JPEG"))
    files = [faces_140k[0], text, *faces_140k[1:12], big, *faces_140k[12:16]]
    alone = [score for file in files for score in finding.score(file)]
    for threads in (1, 3):
        same(list(finding.score_all(files, threads=threads)), alone)


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(checkpoint, device):
    with pytest.raises(ValueError, match=rf"device='{device}': .*no such device.* Use .*cpu\."):
        Predictor(checkpoint, device=device)
