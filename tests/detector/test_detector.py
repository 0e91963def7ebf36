"""One object from pixels to a decision, whatever file it was loaded from."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dfd
from dfd.calibration import Temperature
from dfd.detector import Card, Detector, load_net
from dfd.detector.card import AVERAGE, NET
from dfd.inference.export import export
from dfd.media.crops import View
from dfd.media.faces import Face
from dfd.media.files import MAX_BYTES
from dfd.models import SingleStream, SmallCNN, recipe

VIEW = dict(vars(View(size=32, crops=5, longest=64, margin=1.35)))
BAND = {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3}


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = SingleStream(SmallCNN(width=8))
    torch.nn.init.normal_(made.head.weight, std=2.0)  # a fresh head says .5 of everything
    return made.eval()


@pytest.fixture
def card(net):
    calibrated = {"split": "val", "images": 300, "groups": 120, "data": "faces"}
    return Card(
        recipe(net), view=VIEW, calibration=Temperature(1.7), thresholds=BAND, calibrated_on=calibrated
    )


def written(path, net, card):
    state = {f"{card.weights_in}{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": card.to_plain(), "state_dict": state}, path)
    return path


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8)


def test_a_checkpoint_its_export_and_the_net_itself_say_the_same(net, card, tmp_path):
    path = written(tmp_path / "best.ckpt", net, card)
    export(path, tmp_path / "best.safetensors")
    (mine,) = Detector(net, card).score(pixels(), whole=True)
    for file in (path, tmp_path / "best.safetensors"):
        assert dfd.load(file).score(pixels(), whole=True) == [mine]
        assert list(dfd.Predictor(file).score(pixels(), whole=True)) == [mine]
    with torch.no_grad():
        crops = torch.from_numpy(View(**VIEW).eval_crops(pixels())).movedim(-1, 1).float() / 255
        assert mine.logit == pytest.approx(float(net(crops).double().mean()), abs=1e-6)
    assert mine.prob == pytest.approx(1 / (1 + math.exp(-mine.logit / 1.7)))
    assert mine.verdict == (
        "fake" if mine.logit > 0.4 else "no_trace" if mine.logit < -0.3 else "inconclusive"
    )
    assert mine.calibrated_on == "val of faces, 300 images"


def test_crops_of_several_images_are_judged_in_one_go_as_one_by_one(net, card):
    stacks = [View(**VIEW).eval_crops(pixels(seed)) for seed in range(3)] + [pixels(9)[None, :32, :32]]
    detector = Detector(net, card, batch_size=4)
    together = detector.logits(stacks)
    assert together == pytest.approx([detector.logits([stack])[0] for stack in stacks], abs=1e-6)
    assert detector.logits([]) == []


def test_a_card_comes_back_as_it_was_stored(card):
    again = Card.from_plain(card.to_plain(), [], "it")
    assert again == card
    unfitted = Card(card.net)
    assert Card.from_plain(unfitted.to_plain(), [], "it") == unfitted and unfitted.basis == ""


def test_a_card_of_earlier_days_takes_the_average_where_there_is_one(card):
    plain = card.to_plain()
    del plain["weights_in"]
    assert Card.from_plain(plain, ["net.head.weight"], "it").weights_in == NET
    assert (
        Card.from_plain(plain, ["net.head.weight", "average.module.head.weight"], "it").weights_in == AVERAGE
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": {"balanced": 0.0}},
        {"thresholds": [0, 1, 2]},
        {"calibration": {"kind": "temperature", "temperature": "warm"}},
        {"calibration": {"kind": "temperature", "temperature": 0}},
        {"calibration": {"kind": "magic", "temperature": 1.0}},
    ],
    ids=str,
)
def test_a_card_that_dfd_did_not_write_is_refused(net, card, tmp_path, wrong):
    path = written(tmp_path / "best.ckpt", net, card)
    stored = torch.load(path, weights_only=True)
    torch.save(stored | {"dfd": stored["dfd"] | wrong}, path)
    with pytest.raises(ValueError, match=r"best\.ckpt .*dfd did not write it"):
        load_net(path)


def test_a_checkpoint_that_does_not_say_how_images_were_cut_is_refused(net, card, tmp_path):
    card.view = None
    with pytest.raises(ValueError, match="does not say how its pictures were cut"):
        dfd.load(written(tmp_path / "best.ckpt", net, card))


def test_what_is_no_file_of_a_picture_is_said_and_never_waited_for(net, card, tmp_path):
    detector = Detector(net, card)
    pipe, empty, large = tmp_path / "pipe.jpg", tmp_path / "empty.jpg", tmp_path / "large.jpg"
    os.mkfifo(pipe)
    empty.touch()
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: no room on the disk
    for path, why in (
        (pipe, "a pipe"),
        ("/dev/zero", "a device"),
        (empty, "the file is empty"),
        (large, f"{MAX_BYTES + 1} bytes, more than"),
        (tmp_path, "a folder: name the files in it"),
        (tmp_path / "none.jpg", "No such file"),
        ("https://example.org/a.jpg", "Addresses are not opened"),
    ):
        (score,) = detector.score(path, whole=True)
        assert score.status == "unreadable" and score.verdict is None and why in score.reason, path
    Image.fromarray(pixels()).save(tmp_path / "photo.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.png")
    (score,) = detector.score(tmp_path / "link.png", whole=True)
    assert score.status == "ok", "a person may name a link"


def test_the_top_of_the_package_imports_nothing_until_it_is_asked():
    code = (
        "import sys, dfd\n"
        "assert not {'torch', 'numpy', 'dfd.detector'} & set(sys.modules)\n"
        "assert dfd.load is dfd.detector.load and dfd.Detector and dfd.Predictor\n"
        "assert 'torch' not in sys.modules, 'only a loaded net needs it'\n"
        "try:\n    dfd.nothing\nexcept AttributeError as error:\n    assert 'nothing' in str(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Boxes:
    """Finds faces where it is told."""

    identity = "boxes"

    def __init__(self, *boxes):
        self.faces = [Face(box, 0.9, np.zeros((5, 2))) for box in boxes]

    def find(self, image):
        return self.faces


def with_alpha(path, clear):
    """A picture of noise 160 x 160, transparent in a region."""
    alpha = np.full((160, 160, 1), 255, np.uint8)
    alpha[clear] = 0
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(np.dstack([noise, alpha])).save(path)
    return path


def test_a_face_that_is_opaque_is_judged_in_a_picture_that_is_not(net, card, tmp_path):
    path = with_alpha(tmp_path / "cut-out.png", np.s_[:, 90:])
    inside, outside = (20, 40, 40, 50), (100, 40, 40, 50)
    detector = Detector(net, card, Boxes(inside, outside))
    judged, clear = detector.score(path)
    assert judged.status == "ok" and judged.logit is not None and judged.reason == ""
    assert clear.status == "unreadable" and clear.verdict is None and "transparent" in clear.reason
    opaque = np.asarray(Image.open(path).convert("RGB"))
    assert detector.score(opaque)[0].logit == judged.logit, "the pixels are those of the file"


def test_round_corners_leave_the_crops_that_are_opaque(net, card, tmp_path):
    corners = np.zeros((160, 160), bool)
    corners[np.ix_([0, 1, 158, 159], [0, 1, 158, 159])] = True
    path = with_alpha(tmp_path / "round.png", corners)
    detector = Detector(net, card)
    (score,) = detector.score(path, whole=True)
    assert score.status == "ok" and "judged by 1 of 5 crops" in score.reason
    opaque = np.asarray(Image.open(path).convert("RGB"))
    centre = detector.view.eval_crops(opaque)[-1:]
    assert score.logit == pytest.approx(detector.logits([centre])[0], abs=1e-6)
    (none,) = detector.score(with_alpha(tmp_path / "clear.png", np.s_[::9, ::9]), whole=True)
    assert none.status == "unreadable" and "transparent in parts" in none.reason


def test_a_jpeg_of_too_many_pixels_is_judged_at_a_part_of_its_size_and_that_is_said(
    net, card, tmp_path, monkeypatch
):
    Image.fromarray(pixels(3).repeat(4, 0).repeat(4, 1)).save(tmp_path / "phone.jpg")
    detector = Detector(net, card)
    assert detector.score(tmp_path / "phone.jpg", whole=True)[0].reason == ""
    monkeypatch.setattr(sys.modules["dfd.media.decode"], "MAX_PIXELS", 10_000)
    (score,) = detector.score(tmp_path / "phone.jpg", whole=True)
    assert score.status == "ok" and score.crop == (0, 0, 80, 96)
    assert score.reason.startswith("read at 1/2 of its width and height")
