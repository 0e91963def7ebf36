"""A published folder gives the detector back, says what it rests on, and nothing of the machine."""

import json
import math

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import dfd
from dfd.cli import main
from dfd.detector import Card, Detector
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe

VIEW = dict(vars(View(size=64, crops=5, longest=256, margin=1.35)))
PIXELS = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    net = SingleStream(SmallCNN(width=8))
    torch.nn.init.normal_(net.head.weight, std=2.0)
    counts = {"images": 150, "errors": 2, "right": 100, "independent": 150, "bound": 0.04}
    calibrated = {
        "split": "val",
        "images": 300,
        "groups": 120,
        "data": "faces",
        "sources": {"faces": {"real": counts, "fake": counts}},
    }
    card = Card(
        recipe(net),
        view=VIEW,
        thresholds={"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3},
        calibrated_on=calibrated,
        selected_on="val/auroc",
        seen={"train": torch.arange(3)},
        data={"class_path": "dfd.data.ShardDataModule", "init_args": {"roots": "/home/somebody/shards/mine"}},
    )
    return Detector(net, card)


def test_a_folder_gives_the_same_detector_in_every_way(detector, tmp_path, capsys):
    folder = tmp_path / "mine"
    detector.save_pretrained(folder)
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    expected = detector.score(PIXELS, whole=True)
    for again in (Detector.from_pretrained(folder), dfd.load(folder), dfd.load(folder / "model.safetensors")):
        assert again.score(PIXELS, whole=True) == expected
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["thresholds"]["balanced"] == 0.1 and "seen" not in config
    assert all(b"somebody" not in file.read_bytes() for file in folder.iterdir())
    card = ModelCard((folder / "README.md").read_text())
    assert card.data.library_name == "dfd" and card.data.model_name == "mine"
    assert '"fake" was said of 2 of 150 reals of faces: at most 4.0%' in card.text
    assert "val of faces, 300 images" in card.text and "not judged on test pictures" in card.text
    from PIL import Image

    Image.fromarray(PIXELS).save(tmp_path / "it.png")
    assert main(["score", str(folder), str(tmp_path / "it.png"), "--whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logit"] == expected[0].logit


def test_the_report_s_card_takes_the_place_of_ours(detector, tmp_path, capsys):
    detector.save_pretrained(tmp_path / "first")
    (tmp_path / "card.md").write_text("# Judged\n")
    words = ["export", str(tmp_path / "first/model.safetensors"), "--out"]
    assert main([*words, str(tmp_path / "mine"), "--model-card", str(tmp_path / "card.md")]) == 0
    assert (tmp_path / "mine/README.md").read_text() == "# Judged\n"
    for out, match in (("mine", "not empty"), ("mine.safetensors", "only a folder for the Hub has one")):
        assert main([*words, str(tmp_path / out), "--model-card", str(tmp_path / "card.md")]) == 1
        assert match in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_one_that_was_never_calibrated_says_so(tmp_path):
    net = SingleStream(SmallCNN(width=8))
    never = {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}
    Detector(net, Card(recipe(net), view=VIEW, thresholds=never)).save_pretrained(tmp_path / "raw")
    assert "none: its logits are no verdicts" in (tmp_path / "raw/README.md").read_text()


def test_the_hub_s_cache_is_enough(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    held, commit = tmp_path / "cache/models--somebody--faces", "0" * 40
    (held / "refs").mkdir(parents=True)
    (held / "refs/main").write_text(commit)
    detector.save_pretrained(held / "snapshots" / commit)
    again = Detector.from_pretrained("somebody/faces", batch_size=2)
    assert again.score(PIXELS, whole=True) == detector.score(PIXELS, whole=True) and again.batch_size == 2
    for name, match in (
        ("somebody/other", "not in the Hub's cache, and the Hub did not give it"),
        ("nowhere", "there is no folder nowhere"),
        (tmp_path, "holds no model.safetensors"),
    ):
        with pytest.raises(ValueError, match=match) as error:
            Detector.from_pretrained(name)
        assert "\n" not in str(error.value)
