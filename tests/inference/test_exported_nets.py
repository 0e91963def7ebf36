"""An export to ONNX or OpenVINO says what its checkpoint says, of every kind of detector; a strange file says why not."""

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dfd
from dfd.cli import main
from dfd.detector import Card, Detector
from dfd.detector.exported_net import ExportedNet
from dfd.detector.onnx_net import DIGEST, END, HEX
from dfd.detector.torch_net import TorchNet
from dfd.familiarity import Familiarity, Features, Home
from dfd.forensics.cues import CUES
from dfd.inference.export import export
from dfd.inference.onnx_export import facts_of, graph_of, write_model, write_onnx
from dfd.media.crops import View
from dfd.models import (
    CueFusion,
    DualStream,
    Ensemble,
    FaceContext,
    Generator,
    SingleStream,
    SmallCNN,
    recipe,
)
from dfd.shards.samples import NewSample, write_samples

pytest.importorskip("onnx", reason="pip install 'dfd[export]'")
VIEW = View(size=64, crops=5, longest=256, margin=1.35)
# OpenVINO rounds a little more: what is promised of it is 1e-4
FORMATS = {".onnx": 1e-5, ".xml": 5e-5}
BAND = {"balanced": 0.0, "fpr5": 0.3, "fnr5": -0.3}


def gate_of(net, noise) -> Familiarity:
    """Home: soft patches, measured by block DCT and by the net's own maps."""
    crops = np.stack([VIEW.eval_crops(noise(96, 96, seed))[-1] for seed in range(60)])
    features = Features(own=net)
    measured = features(torch.from_numpy(crops).movedim(-1, 1).float() / 255)
    homes = [
        Home(
            {name: value[rows].numpy()[:, None] for name, value in measured.items()},
            np.full(30, "soft"),
            np.zeros(30, int),
        )
        for rows in (slice(0, 30), slice(30, 60))
    ]
    return Familiarity.fit(features, *homes)


def card_of(net, **changes) -> Card:
    calibrated = {"split": "val", "images": 300, "groups": 120}
    card = Card(recipe(net), view=dict(vars(VIEW)), thresholds=BAND, calibrated_on=calibrated)
    return replace(card, **changes)


def write(net, card, path):
    """An export in the format that the suffix says."""
    if path.suffix == ".onnx":
        return write_onnx(net, card, path)
    pytest.importorskip("openvino", reason="pip install 'dfd[openvino]'")
    from dfd.inference.openvino_export import write_openvino

    return write_openvino(net, card, path)


OPENVINO = pytest.param(".xml", marks=pytest.mark.openvino)


@pytest.fixture(scope="module", params=[".onnx", OPENVINO])
def suffix(request):
    return request.param


@pytest.fixture(scope="module")
def detector(noise):
    """With a gate of its own maps."""
    torch.manual_seed(0)
    net = SingleStream(SmallCNN(width=8)).eval()
    torch.nn.init.normal_(net.head.weight, std=20.0)
    return Detector(net, card_of(net, familiarity=gate_of(net, noise).state()))


@pytest.fixture(scope="module")
def path(detector, suffix, tmp_path_factory):
    """Its export."""
    path = tmp_path_factory.mktemp("plain") / f"plain{suffix}"
    assert "differ from torch's by" in write(detector.net, detector.card, path)
    return path


@pytest.fixture(scope="module")
def experts(suffix, tmp_path_factory, noise):
    """A pair of experts, one of which reads cues, and its export."""
    torch.manual_seed(1)
    border = CueFusion(SmallCNN(width=8), cues=list(CUES[:5]), dropout=0.0)
    torch.nn.init.normal_(border.cue_head.weight, std=2.0)
    nets = {"blend": border, "trace": SingleStream(SmallCNN(width=8))}
    for net in nets.values():
        torch.nn.init.normal_(net.head.weight, std=20.0)
    image = torch.from_numpy(np.stack([noise(64, 64, seed) for seed in range(12)])).movedim(-1, 1) / 255
    with torch.inference_mode():
        ahead = [float(net.eval()(image).median()) for net in nets.values()]
    pair = Ensemble(nets, "experts", [1.0, 1.0], [-each for each in ahead]).eval()
    card = card_of(pair, thresholds=dict.fromkeys(BAND, -1000.0))  # always "fake", so that one of them speaks
    path = tmp_path_factory.mktemp("pair") / f"pair{suffix}"
    write(pair, card, path)
    return Detector(pair, card), path


def same(found, expected, suffix):
    """The same score, numbers as near as the format promises."""
    numbers = ("prob", "logit", "familiarity", "threshold")
    for name in numbers:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=FORMATS[suffix]), name
    bare = dict.fromkeys(numbers, None)
    assert replace(found, **bare) == replace(expected, **bare)


@pytest.mark.slow
def test_an_export_judges_as_its_checkpoint_whatever_the_picture(detector, path, suffix, noise, encoded):
    again = dfd.load(path)
    assert isinstance(again.runtime, ExportedNet) and again.gate.facts == detector.gate.facts
    rough = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    partly = np.dstack([noise(120, 120, 7), np.full((120, 120), 255, np.uint8)])
    partly[:70, :70, 3] = 0  # some of its crops are transparent: fewer are averaged
    pictures = [noise(96, 96, 1), noise(300, 200, 2), noise(64, 64, 3), noise(30, 30, 4), rough]
    pictures += [encoded(partly), b"no picture"]
    verdicts = set()
    for picture in pictures:
        (found,), (expected,) = again.score(picture, whole=True), detector.score(picture, whole=True)
        same(found, expected, suffix)
        verdicts.add(found.verdict or found.status)
    assert {"unfamiliar", "too_small", "unreadable"} < verdicts  # and a word that was said
    # many at once: the logits of stacks of different lengths
    stacks = [VIEW.eval_crops(noise(96, 96, seed))[: seed + 1] for seed in range(5)]
    assert again.logits(stacks) == pytest.approx(detector.logits(stacks), abs=FORMATS[suffix])
    assert again.logits([]) == [] and again.familiarity([]) == []


@pytest.mark.slow
def test_experts_and_cues_are_exported_too(experts, suffix, noise, encoded):
    detector, path = experts
    again = dfd.load(path)
    spoke = set()
    for seed in range(12):
        for picture in (noise(96, 96, seed), encoded(noise(96, 96, seed), "JPEG", quality=80 + seed)):
            (found,), (expected,) = again.score(picture, whole=True), detector.score(picture, whole=True)
            same(found, expected, suffix)
            spoke.add(found.expert)
    assert spoke == {"blend", "trace"}
    stacks = [VIEW.eval_crops(noise(96, 96, seed)) for seed in range(3)]
    told = {again.logits(stacks)[1]}
    for value in (-1000.0, 1000.0):
        cues = [None, np.full(5, value, np.float32), None]
        found = again.logits(stacks, cues)
        assert found == pytest.approx(detector.logits(stacks, cues), abs=FORMATS[suffix])
        told.add(found[1])
    assert max(told) > min(told) + 0.1


@pytest.mark.slow
def test_what_asks_in_tensors_gets_the_same_answers(detector, path, noise):
    again = dfd.load(path)
    image = torch.from_numpy(np.stack([VIEW.eval_crops(noise(96, 96, seed)) for seed in range(3)]))
    with torch.inference_mode():
        torch.testing.assert_close(
            again.batch_logits(image), detector.batch_logits(image), rtol=1e-5, atol=5e-5
        )
    assert np.array_equal(again.batch_familiarity(image), detector.batch_familiarity(image))


@pytest.mark.slow
def test_a_checkpoint_on_disk_becomes_files_and_their_page(save, suffix, tmp_path, capsys):
    if suffix == ".xml":
        pytest.importorskip("openvino", reason="pip install 'dfd[openvino]'")
    checkpoint, out = save(), tmp_path / f"best{suffix}"
    assert main(["export", str(checkpoint), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    names = [out.name, *(["best.bin"] if suffix == ".xml" else []), f"{out.name}.json"]
    files = ", ".join(str(tmp_path / name) for name in names)
    assert (
        said.startswith(f"SingleStream, 19,301 parameters: {files}\n")
        and "On noise its logits differ" in said
    )
    page = json.loads((tmp_path / f"{out.name}.json").read_text())
    assert page["thresholds"] == {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3} and "seen" not in page
    assert page["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert dfd.load(out).card.thresholds == page["thresholds"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    with pytest.raises(ValueError, match=rf"best\{suffix} exists"):
        export(checkpoint, out)
    # what a killed run of the same command left
    for name in names[1:][::-1]:
        (tmp_path / name).unlink()
        left = {file: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(ValueError, match="exists"):
            export(save(selected_on="another"), out)
        assert left == {file: file.read_bytes() for file in tmp_path.iterdir()}
    export(checkpoint, out)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    for asked in (lambda: export(out, tmp_path / "other.onnx"), lambda: dfd.load(out, device="cuda")):
        with pytest.raises(ValueError, match=r"an export to ONNX or OpenVINO"):
            asked()


def test_what_is_no_detector_of_pictures_is_not_written(tmp_path):
    net = SingleStream(SmallCNN(width=8))
    for made, card in ((Generator(64), Card({}, view=dict(vars(VIEW)))), (net, Card(recipe(net)))):
        with pytest.raises(ValueError, match="ONNX is for detectors that know how their pictures are cut"):
            write_onnx(made, card, tmp_path / "it.onnx")
    assert not list(tmp_path.iterdir())


def reseal(data: bytes) -> bytes:
    return data + END + hashlib.sha256(data).hexdigest().encode()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx"], indirect=True)
def test_a_strange_file_says_why(detector, path, tmp_path):
    data, strange = path.read_bytes(), tmp_path / "strange.onnx"
    assert DIGEST.encode() in END and len(data) > len(END) + HEX

    def refused(content: bytes, match: str) -> None:
        strange.write_bytes(content)
        with pytest.raises(ValueError, match=match) as error:
            dfd.load(strange)
        assert "\n" not in str(error.value)

    refused(data[: len(data) // 2], "no ONNX file that `dfd export` wrote, or its end is missing")
    refused(b"", "no ONNX file that `dfd export` wrote")
    refused(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "is damaged: the sha256")
    refused(reseal(b"no graph at all"), "onnxruntime .* cannot read")
    known = TorchNet(detector.net, detector.card, "cpu")
    model, facts = graph_of(known, detector.card), facts_of(known)
    card = {name: value for name, value in detector.card.to_plain().items() if name != "familiarity"}
    gate = facts["gate"]
    for changed in (
        {"cue_names": ["a"]},
        {"gate": None},
        {"gate": {**gate, "home": gate["home"][1:]}},
        {"gate": {**gate, "home": [float("nan")] * len(gate["home"])}},
        {"gate": {**gate, "home": ["far"] * len(gate["home"])}},
        {"gate": {**gate, "world": [1 << 70] * len(gate["home"])}},
        {"experts": "trace"},
        {"cue_version": "new"},
    ):
        write_model(model, card, {**facts, **changed}, strange)
        refused(strange.read_bytes(), "dfd did not write it")
    write_model(model, {**card, "view": {**card["view"], "size": 5}}, facts, strange)
    refused(strange.read_bytes(), "another version of dfd")
    write_model(model, card, facts, strange)
    assert dfd.load(strange).card.thresholds == BAND


@pytest.mark.slow
def test_real_faces_get_the_same_numbers(detector, path, suffix, faces_140k):
    again = dfd.load(path)
    for face in faces_140k[:: len(faces_140k) // 20]:
        for found, expected in zip(again.score(face, True), detector.score(face, True), strict=True):
            same(found, expected, suffix)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [OPENVINO], indirect=True)  # ONNX: tests/models/test_nets.py
@pytest.mark.parametrize(
    "make",
    [lambda: DualStream(SmallCNN(8), SmallCNN(8)), lambda: FaceContext(SmallCNN(8))],
    ids=["dual stream", "face context"],
)
def test_nets_of_several_parts_are_exported_too(make, suffix, tmp_path, noise):
    torch.manual_seed(2)
    net = make().eval()
    torch.nn.init.normal_(net.head.weight, std=20.0)
    detector, path = Detector(net, card_of(net)), tmp_path / f"net{suffix}"
    write(net, detector.card, path)
    again, logits = dfd.load(path), []
    # and real faces, where they are
    faces = sorted(
        Path(os.environ.get("DFD_REAL_DATA", "none"), "data", "140k-real-and-fake-faces").rglob("*.jpg")
    )
    for picture in (*(noise(96, 96, seed) for seed in range(8)), *faces[:: len(faces) // 20 + 1]):
        ((found,), (expected,)) = again.score(picture, True), detector.score(picture, True)
        same(found, expected, suffix)
        logits.append(expected.logit)
    assert np.std(logits) > 0.01, "these pictures would get the same numbers of any net"


def test_a_gate_holds_a_picture_of_its_own_for_as_strange_as_itself(noise):
    """Also where another program measured it, whose last digits differ."""
    net = SingleStream(SmallCNN(width=8))
    gate = gate_of(net.eval(), noise)
    for digits in (-1e-5, 0.0, 1e-5):
        assert np.array_equal(gate.rank(gate.home + np.float32(digits)), gate.rank(gate.home))


def shards_of(folder, noise, encoded):
    """Pictures whose reals are dark and whose fakes are bright, for training and validation."""
    made = []
    for at in range(48):
        picture = noise(80, 80, at) // 2 + (120 if at % 2 else 0)
        split = "train" if at < 24 else "val"
        made.append(
            NewSample(f"{split}/{at:03d}", encoded(picture), at % 2, split, "noise", groups=(f"{at}",))
        )
    write_samples(made, folder, {"command": "test"})
    return folder


@pytest.mark.slow
def test_eight_bits_say_nearly_the_same_and_what_they_cost(tmp_path, noise, encoded, capsys):
    torch.manual_seed(0)
    net = SingleStream(SmallCNN(width=16)).eval()
    torch.nn.init.normal_(net.head.weight, std=5.0)
    card = card_of(net, familiarity=gate_of(net, noise).state())
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    checkpoint = tmp_path / "best.ckpt"
    torch.save({"dfd": card.to_plain(), "state_dict": weights}, checkpoint)
    shards, out = shards_of(tmp_path / "shards", noise, encoded), tmp_path / "small.onnx"
    assert main(["export", str(checkpoint), "--out", str(out), "--int8", str(shards)]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"8 bits: AUROC [\d.]+ on 24 validation pictures of shards in 24 families, where full precision "
        r"has [\d.]+: [+-][\d.]+ \([+-][\d.]+, [+-][\d.]+\)\. \d+ of 24 verdicts are others\.",
        said,
    )
    exact, small = Detector(net, card), dfd.load(out)
    stacks = [VIEW.eval_crops(noise(80, 80, seed) // 2 + 120 * (seed % 2)) for seed in range(100, 140)]
    full, eight = np.array(exact.logits(stacks)), np.array(small.logits(stacks))
    assert not np.allclose(full, eight, atol=1e-4), "these are no 8 bits"
    assert np.corrcoef(full, eight)[0, 1] > 0.95
    slope, offset = np.polyfit(eight, full, 1)
    assert abs(slope - 1) < 0.2 and abs(offset) < full.std(), (
        "the line of the pictures shown holds for others"
    )
    assert small.familiarity(stacks) == exact.familiarity(stacks)  # in full precision, as home's were
    for words, match in (
        (["--out", str(tmp_path / "b.onnx"), "--int8", str(tmp_path)], "shards"),
        (["--out", str(tmp_path / "b.safetensors"), "--int8", str(shards)], "only ONNX is written in 8 bits"),
    ):
        assert main(["export", str(checkpoint), *words]) == 1
        assert match in capsys.readouterr().err
    assert not list(tmp_path.glob("b.*"))
