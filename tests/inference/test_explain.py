"""`dfd explain`: a page that says where verdicts come from, and lists what could not be judged."""

import json
from dataclasses import replace

import browser
import numpy as np
import pytest
import torch
from PIL import Image
from small_nets import num_hooks

from dfd.cli import main
from dfd.detector import Detector, Score, load
from dfd.detector.score import FaceCrops
from dfd.explain import METHODS
from dfd.inference.explain import explain, explain_files
from dfd.inference.explain_page import _facts, _one_stream, _shown, in_words, word
from dfd.inference.verdict_words import no_verdict
from dfd.media.crops import View
from dfd.models import DualStream, LocalSpectrum, SmallCNN, recipe

# what every net has a map for
ATTRIBUTIONS = [name for name in METHODS if name != "mask_head"]


@pytest.fixture
def few(monkeypatch):
    """Few windows, copies, and random orders: what is measured is for other tests."""
    from dfd.explain import attribution, deletion

    monkeypatch.setattr(attribution, "WINDOWS", 2)
    monkeypatch.setattr(attribution, "SAMPLES", 2)
    monkeypatch.setattr(deletion, "ORDERS", 2)


@pytest.fixture(scope="module")
def detector_file(save):
    return save(view=vars(View(size=32, crops=5, longest=256, margin=1.35)))


@pytest.fixture
def detector(detector_file):
    return load(detector_file)


def crops(detector, noise, height=50, width=40):
    (face,) = detector.crop_faces(noise(height, width), whole=True)
    return face


@pytest.mark.slow
def test_what_is_explained_is_the_decision(detector, noise, few):
    face = crops(detector, noise)
    with torch.inference_mode():
        found = explain(detector, face)
    (score,) = detector.judge([face])
    assert found.score == score and found.logit == pytest.approx(score.logit, abs=1e-4)
    assert found.seen.shape == (50, 40, 3), "corners and centre show all of it"
    np.testing.assert_array_equal(found.seen, noise(50, 40))
    assert [each.method for each in found.maps] == ATTRIBUTIONS and not found.refused
    shares = next(each for each in found.maps if each.method == "integrated_gradients")
    black = FaceCrops(face.score, np.zeros_like(face.crops), face.corners)
    distance = score.logit - detector.logits([black.crops])[0]
    assert shares.values.sum() == pytest.approx(distance, rel=shares.measured.completeness + 0.01, abs=0.02)
    for each in found.maps:
        assert each.values.shape == (50, 40)
        if not each.measured.empty:
            assert each.measured.deletion_curve[0] == pytest.approx(score.logit, abs=1e-4)
            assert each.measured.survival is not None and each.measured.sensitivity is not None
    assert found.falls.shape == (16,) and found.frequencies.spectrum.shape == (32, 32)
    assert found.streams is None and found.activations.layer == "rgb"
    assert num_hooks(detector.net) == 0 and not any(m.training for m in detector.net.modules())


@pytest.mark.slow
def test_two_streams_are_compared(detector, noise, few):
    torch.manual_seed(0)
    two = Detector(DualStream(SmallCNN(4), SmallCNN(4)), detector.card)
    found = explain(two, crops(two, noise), ["gradcam", "occlusion"])
    assert set(found.streams.replaced) == {"rgb", "fft"} and "5 reference images" in found.streams.reference
    # LogSpectrum keeps no places, so Grad-CAM is of the pixels
    assert found.layer == "rgb" and "rgb alone" in _one_stream(found, "gradcam")
    assert "beside it: fft" in _one_stream(found, "gradcam") and not _one_stream(found, "occlusion")
    # each map of a face without a verdict begins with that, and is not marked as one that may be read
    for verdict in ("fake", "unfamiliar"):
        drawn = replace(found, score=replace(found.score, verdict=verdict))
        for measured, (_, _, holds, sentence, _) in zip(
            drawn.maps, _shown(two, drawn, None).maps, strict=True
        ):
            assert sentence.startswith("This map explains no verdict") == (verdict == "unfamiliar")
            assert holds == (measured.measured.holds and verdict == "fake")


@pytest.mark.slow
@pytest.mark.parametrize("strong", ["rgb", "fft"])
def test_gradcam_looks_at_the_stream_that_moves_the_logit_most(detector, noise, few, strong):
    torch.manual_seed(0)
    net = DualStream(SmallCNN(4), SmallCNN(4, 64), LocalSpectrum())
    torch.nn.init.normal_(net.head.weight)
    with torch.no_grad():
        net.head.weight[:, slice(16, 32) if strong == "rgb" else slice(16)] *= 1e-3
    two = Detector(net, detector.card)
    found = explain(two, crops(two, noise), ["gradcam"])
    assert found.layer == strong and f"of the stream {strong} alone" in _one_stream(found, "gradcam")
    named = explain(two, crops(two, noise), ["gradcam"], layer="rgb.stages.1")
    assert named.layer == "rgb.stages.1" and "of the stream rgb alone" in _one_stream(named, "gradcam")
    assert _facts(named)["streams"]["decided"] == strong


def test_a_detector_without_gradients_gets_occlusion_and_bands(detector, noise, few, monkeypatch):
    class Exported(torch.nn.Module):
        """A net whose numbers leave torch on the way."""

        def __init__(self, net):
            super().__init__()
            self.inside = [net]

        def forward(self, image):
            image = torch.from_numpy(image.numpy())
            with torch.no_grad():
                return torch.from_numpy(self.inside[0](image).numpy())

    exported = Detector(Exported(detector.net), detector.card)
    found = explain(exported, crops(exported, noise))
    assert [each.method for each in found.maps] == ["occlusion"]
    assert found.maps[0].measured.survival is None, "there are no weights to shuffle"
    assert set(found.refused) == set(ATTRIBUTIONS) - {"occlusion"}
    assert all("Use 'occlusion'" in why for why in found.refused.values())
    assert found.falls is not None and found.frequencies is None
    face = crops(exported, noise)
    # refused before anything is judged or measured
    monkeypatch.setattr(Detector, "judge", None)
    monkeypatch.setattr("dfd.explain.random_orders", None)
    with pytest.raises(ValueError, match="gradcam needs gradients"):
        explain(exported, face, ["gradcam"])


def test_transparent_crops_are_not_explained(detector, noise, few):
    pixels = np.dstack([noise(32, 64), np.full((32, 64), 255, np.uint8)])
    pixels[:, 50:, 3] = 0
    (face,) = detector.crop_faces(Image.fromarray(pixels), whole=True)
    found = explain(detector, face, ["occlusion"])
    assert len(face.crops) == len(face.corners) == 3 and found.seen.shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("verdict", "prob", "starts", "warned"),
    [
        ("fake", 0.999, "Fake: P(fake) is >0.99, on data like val, 300 images.", False),
        ("no_trace", 0.004, "No trace found: P(fake) is <0.01", False),
        ("inconclusive", 0.5, "Inconclusive: P(fake) is 0.50", True),
        ("inconclusive", None, "Inconclusive: there is no P(fake).", True),
        ("unfamiliar", None, "Unfamiliar: this picture is unlike those", True),
    ],
)
def test_a_verdict_is_said_with_its_uncertainty(verdict, prob, starts, warned):
    score = Score(
        "a.jpg", "ok", verdict=verdict, prob=prob, inconclusive=(0.4, 0.6), calibrated_on="val, 300 images"
    )
    said = in_words(score, 1.5)
    assert said[0].startswith(starts) and any("not where a forgery is" in sentence for sentence in said)
    why = no_verdict(score)
    assert why.startswith("This map explains no verdict, since there is none: ") == warned == bool(why)
    assert "real" not in word(score)
    assert prob is None or "Between 0.40 and 0.60 the word would be inconclusive" in said[0]


@pytest.mark.slow
def test_the_page_names_every_file_and_escapes_it(detector_file, noise, encoded, tmp_path, few, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a<script>.png").write_bytes(encoded(noise(100, 90)))
    (pictures / "broken.jpg").write_text("no picture")
    (pictures / "small.png").write_bytes(encoded(noise(20, 20)))
    (pictures / "notes.txt").write_text("notes")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypisom" + bytes(50))
    out = tmp_path / "out"
    assert explain_files(detector_file, [pictures, film], out, ["occlusion", "gradcam"], whole=True) == 0
    page = (out / "explain.html").read_text(encoding="utf-8")
    assert "<script" not in page and "a&lt;script&gt;.png" in page
    for text in (
        "broken.jpg",
        "unreadable",
        "too small",
        "the net needs 32",
        "notes.txt",
        "videos have no map",
    ):
        assert text in page
    facts = json.loads((out / "explain.json").read_text(encoding="utf-8"))
    assert [face["score"]["status"] for face in facts["faces"]] == [
        "ok",
        "unreadable",
        "too_small",
        "unreadable",
    ]
    judged = facts["faces"][0]
    assert set(judged["methods"]) == {"occlusion", "gradcam"} and len(judged["bands"]["shares"]) == 16
    names = sorted(path.name for path in out.glob("*.png"))
    assert "001-a-script-occlusion.png" in names and len(names) >= 6
    printed = capsys.readouterr().out
    assert "4 files" in printed and str(out / "explain.html") in printed and "unreadable" in printed
    with pytest.raises(ValueError, match="exists and is not empty"):
        explain_files(detector_file, [pictures], out, whole=True)


def test_when_nothing_could_be_judged_the_page_says_so(checkpoint, tmp_path, noise, encoded):
    (tmp_path / "a.png").write_bytes(encoded(noise(100, 100)))
    assert explain_files(checkpoint, [tmp_path / "a.png"], tmp_path / "out") == 1
    page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    assert "no detector" in page and "How to read a map" not in page


def test_an_interrupt_before_the_first_face_leaves_nothing(checkpoint, tmp_path, noise, encoded, monkeypatch):
    import dfd.inference.explain as engine

    def interrupt(*_):
        raise KeyboardInterrupt

    (tmp_path / "a.png").write_bytes(encoded(noise(100, 100)))
    monkeypatch.setattr(engine, "explain", interrupt)
    with pytest.raises(KeyboardInterrupt):
        explain_files(checkpoint, [tmp_path / "a.png"], tmp_path / "out", whole=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupt_keeps_what_was_explained(checkpoint, tmp_path, noise, encoded, monkeypatch, capsys):
    import dfd.inference.explain as engine

    explained = []

    def interrupt_at_the_third(*given):
        if len(explained) == 2:
            raise KeyboardInterrupt
        explained.append(engine.Explained(Score("x", "no_face")))
        return explained[-1]

    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(encoded(noise(100, 100)))
    monkeypatch.setattr(engine, "explain", interrupt_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        explain_files(checkpoint, [tmp_path], tmp_path / "out", whole=True)
    said = "Interrupted after 2 of 3 files."
    assert said in (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "out" / "explain.json").read_text())["faces"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_bad_options_are_said_before_any_work(checkpoint, tmp_path, noise, encoded, capsys):
    (tmp_path / "a.png").write_bytes(encoded(noise(100, 100)))
    given = ["explain", str(checkpoint), str(tmp_path / "a.png"), "--whole", "--out", str(tmp_path / "out")]
    for options, words in (
        (["--methods", "lime"], "there is no method 'lime'. Use some of gradcam"),
        (["--layer", "nowhere"], "has maps of the picture in rgb, and no module of that name"),
        (["--methods", "gradcam", "--layer", "head"], "keeps no places of the picture"),
        (["--device", "tpu"], "finds no such device"),
    ):
        assert main([*given, *options]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["explain", str(checkpoint), "--out", str(tmp_path / "out")]) == 1
    assert "dfd explain CHECKPOINT photo.jpg" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_the_page_stands_in_a_browser(tmp_path, yunet, faces_140k):
    torch.manual_seed(0)
    net = DualStream(SmallCNN(8), SmallCNN(8))
    torch.nn.init.normal_(net.head.weight)
    facts = {
        "version": "0",
        "net": recipe(net),
        "view": vars(View(size=96, crops=1, longest=256, margin=1.35)),
        "temperature": 1.0,
        "thresholds": {"balanced": 0.0, "fpr5": 0.5, "fnr5": -0.5},
        "calibrated_on": {"split": "val", "images": 300, "groups": 300},
    }
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": facts, "state_dict": state}, tmp_path / "two.ckpt")
    (tmp_path / "broken.jpg").write_text("no picture")
    files = [*map(str, faces_140k[:1]), str(tmp_path / "broken.jpg")]
    command = ["explain", str(tmp_path / "two.ckpt"), *files, "--faces", str(yunet)]
    assert main([*command, "--layer", "rgb.stages.0", "--out", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "explain.html"
    for width in (390, 1400):
        seen = browser.look_at(page, tmp_path / f"profile{width}", width)
        assert seen.requests == [page.as_uri()] and not seen.complaints and seen.overflow <= 0
        for text in (
            "broken.jpg",
            "unreadable",
            "occlusion",
            "How to read a map",
            "What each stream adds",
            "of the stream rgb alone",
        ):
            assert text in seen.text
        assert all(caption and pixels > 0 for caption, pixels in seen.images)
        assert len(seen.images) == len(list(page.parent.glob("*.png"))) == 12
