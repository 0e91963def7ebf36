"""A gate out of a stranger's checkpoint is checked in every fact, and ends in one line or in sense."""

import json
import math

import numpy as np
import pytest
import torch

import dfd
from dfd.detector import Card, Detector
from dfd.familiarity import Familiarity, Features, Home
from dfd.familiarity.state import MAX_BYTES, strange_state
from dfd.inference.export import export
from dfd.media.crops import View
from dfd.models import EarlyLayers, SingleStream, SmallCNN, TimmBackbone, recipe

NET = SingleStream(SmallCNN(4)).eval()
VIEW = dict(vars(View(size=32, crops=5, longest=64, margin=1.35)))


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def gate():
    """Of noise; what it measures is the first layers of a tiny backbone."""
    torch.manual_seed(0)
    features = Features(EarlyLayers.of(TimmBackbone("test_resnet")))
    rng = np.random.default_rng(0)
    crops = np.stack([View(**VIEW).eval_crops(pixels(seed))[-1] for seed in range(24)])
    image = torch.from_numpy(crops).movedim(-1, 1).float() / 255
    measured = {name: value.numpy()[:, None] for name, value in features(image).items()}
    home = Home(measured, np.full(24, "noise"), rng.integers(0, 2, 24))
    return Familiarity.fit(features, home, home)


@pytest.fixture
def card(gate):
    calibrated = {"split": "val", "images": 300, "groups": 120, "data": "faces", "sources": {}}
    thresholds = {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3}
    return Card(
        recipe(NET), view=VIEW, thresholds=thresholds, calibrated_on=calibrated, familiarity=gate.state()
    )


def judged(card, familiarity):
    """What becomes of a card with this familiarity; the error's words or ""."""
    plain = {**card.to_plain(), "familiarity": familiarity}
    try:
        (score,) = Detector(NET, Card.from_plain(plain, [], "evil.ckpt")).score(pixels(), whole=True)
        assert score.familiarity is None or 0 <= score.familiarity <= 1
    except ValueError as error:
        text = str(error)
        assert len(text) < 1000 and "\n" not in text, text
        return text
    return ""


TENSORS = {
    "none": None, "number": 3.0, "list": [1.0], "empty": torch.zeros(0), "scalar": torch.tensor(1.0),
    "nan": torch.full((4,), math.nan), "inf": torch.full((4,), math.inf), "complex": torch.ones(4, dtype=torch.complex64),
    "zero_stride": torch.zeros(1).expand(3 * 10**9), "meta": torch.zeros(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(), "large": torch.zeros(MAX_BYTES), "whole": torch.ones(4, dtype=torch.int64),
    "matrix": torch.ones(3, 3),
}  # fmt: skip


@pytest.mark.slow
def test_no_tensor_is_used_unchecked(card):
    state = card.familiarity
    assert judged(card, state) == ""
    early = [name for name in state["tensors"] if name.startswith("early.weights.")]
    for name in {*state["tensors"]} - {*early[3:]}:
        for kind, hostile in TENSORS.items():
            words = judged(card, {**state, "tensors": {**state["tensors"], name: hostile}})
            assert words, f"{name} takes {kind}"
        without = {each: value for each, value in state["tensors"].items() if each != name}
        assert judged(card, {**state, "tensors": without}), f"{name} may be missing"
    more = {**state["tensors"], "more": torch.zeros(1)}
    assert "other tensors" in judged(card, {**state, "tensors": more})


@pytest.mark.parametrize("name", ["basis", "split", "images", "val_images", "sources", "spaces", "early"])
def test_no_fact_is_used_unchecked(card, name):
    state = card.familiarity
    hostile = [-1, 1.5, math.nan, True, b"x", [], [3], ["dct", "spam"], {}, {"class_path": 3}, "x" * 10**6]
    for value in hostile:
        facts = {**state["facts"], name: value}
        assert judged(card, {**state, "facts": facts}), f"{name} takes {value!r:.40}"
    for whole in (3, [], {}, "x", {"facts": {}, "tensors": {}}, {"facts": None, "tensors": None}):
        assert judged(card, whole)


def test_the_first_layers_are_a_backbones_own(card):
    state = card.familiarity
    other = {"class_path": "dfd.models.SmallCNN", "init_args": {"width": 4}}
    assert judged(card, {**state, "facts": {**state["facts"], "early": other}})
    foreign = {"class_path": "os.path.join", "init_args": {}}
    assert "outside dfd" in judged(card, {**state, "facts": {**state["facts"], "early": foreign}})
    huge = {"class_path": "dfd.models.EarlyLayers", "init_args": {"name": "resnet18", "maps": [0, 1]}}
    assert judged(card, {**state, "facts": {**state["facts"], "early": huge}})


def test_numbers_are_in_range(card):
    state = card.familiarity

    def with_tensor(name, change):
        return {**state, "tensors": {**state["tensors"], name: change(state["tensors"][name].clone())}}

    assert "no scale" in judged(card, with_tensor("dct.scale", torch.zeros_like))
    assert "no spread" in judged(card, with_tensor("dct.spread", torch.zeros_like))
    assert "not finite" in judged(card, with_tensor("dct.centers", lambda value: value.fill_(math.inf)))
    assert "worlds" in judged(card, with_tensor("world", lambda value: value[1:]))


def test_nothing_in_a_state_is_more_than_plain_values_and_tensors(card):
    assert strange_state(card.familiarity) == ""
    json.dumps(card.familiarity["facts"])
    assert all(isinstance(value, torch.Tensor) for value in card.familiarity["tensors"].values())


def test_a_checkpoint_and_its_export_know_the_same_strange_pictures(card, tmp_path):
    path = tmp_path / "best.ckpt"
    weights = {f"net.{name}": value for name, value in NET.state_dict().items()}
    torch.save({"dfd": card.to_plain(), "state_dict": weights}, path)
    export(path, tmp_path / "best.safetensors")
    mine = Detector(NET, card).score(pixels(), whole=True)
    assert mine[0].familiarity is not None
    for file in (path, tmp_path / "best.safetensors"):
        assert dfd.load(file).score(pixels(), whole=True) == mine
    plain = np.full((48, 40, 3), 128, np.uint8)
    (score,) = dfd.load(tmp_path / "best.safetensors").score(plain, whole=True)
    assert score.verdict == "unfamiliar" and score.prob is None and score.familiarity == 0
    assert "none of its own pictures are as strange" in score.reason


def test_a_damaged_gate_in_an_export_is_refused(card, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    from dfd.models.safetensors_export import GATE

    path = tmp_path / "best.ckpt"
    weights = {f"net.{name}": value for name, value in NET.state_dict().items()}
    torch.save({"dfd": card.to_plain(), "state_dict": weights}, path)
    out = tmp_path / "best.safetensors"
    export(path, out)
    with safe_open(out, "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert tensors.keys() == NET.state_dict().keys()
    for damaged in ("", "!", header[GATE][:-8], header[GATE][:-8] + "AAAAAAA="):
        save_file(tensors, out, {**header, GATE: damaged})
        with pytest.raises(ValueError, match="damaged: what it knows of strange pictures"):
            dfd.load(out)
