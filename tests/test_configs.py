"""Every shipped experiment runs, through the front door, on a small toy set."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from pictures import patches
from small import SMALL_TOY

import dfd
from dfd.calibration import Platt
from dfd.cli import main
from dfd.detector import load_net
from dfd.evaluate.prediction_file import read_predictions
from dfd.media.decode import decode
from dfd.media.mean_face import mean_face
from dfd.models import build
from dfd.prepare.cues import add_cues
from dfd.prepare.landmarks import store
from dfd.shards.cache import Cache
from dfd.shards.catalog import Catalog
from dfd.shards.landmark_table import encode_landmarks
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import read_index

HERE = Path(__file__).parent.parent / "configs"
OVERLAYS = sorted((HERE / "overlay").glob("*.yaml"))


def _read(path):
    return yaml.safe_load(path.read_text())


def _without_backbone(path):
    """A config but for the arguments of its backbone and the learning rate, which a preset may choose."""
    config = _read(path)
    config["model"]["init_args"]["net"]["init_args"].get("backbone", {}).pop("init_args", None)
    config["model"]["init_args"]["optimizer"]["init_args"].pop("lr")
    return config


# two experiments run for all that differ from them in the backbone alone: a fit of VGG-16 writes gigabytes
BASES = {name: _without_backbone(HERE / f"{name}.yaml") for name in ("single_stream", "small_cnn")}
PRESETS = sorted(
    path
    for path in HERE.glob("*.yaml")
    if path.stem not in BASES and _without_backbone(path) in BASES.values()
)
# the toy set's files have no cues that are worth reading, and no reconstructions
OF_PHOTOS = {HERE / "cue_fusion.yaml", HERE / "face_context.yaml"}
CONFIGS = sorted(set(HERE.glob("*.yaml")) - set(PRESETS) - OF_PHOTOS)


@pytest.fixture(scope="session")
def toy_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path, monkeypatch, toy_cache):
    monkeypatch.setenv("DFD_CACHE", str(toy_cache))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_it_runs(config, here, capsys):
    assert main(["fit", "--config", config.name, "--config", "overlay/smoke.yaml", *SMALL_TOY]) == 0
    (run,) = (here / "runs" / config.stem).iterdir()
    assert str(run.relative_to(here)) in capsys.readouterr().out
    assert yaml.safe_load((run / "summary.yaml").read_text())["steps"] == 2
    net, card = load_net(run / "checkpoints" / "last.ckpt", role=None)
    assert card.view["size"] == 64
    assert net.role != "detector" or card.calibrated_on["split"] == "val"
    assert (run / "metrics.csv").is_file() and list(run.glob("wandb/offline-run-*"))
    assert list((run / "plots").glob("*.png")), "each experiment draws something"


@pytest.mark.slow
def test_a_net_of_cues_is_trained_judged_and_used(here):
    """On shards whose cues were measured; its scores of files are those of the table."""
    made = [
        NewSample(f"{split}-{i}", patches(100 * len(split) + i), i % 2, split, "s")
        for split in ("train", "val", "test")
        for i in range(16)
    ]
    write_samples(made, here / "shards", {"test": "cues"})
    add_cues(here / "shards", workers=1)
    small = ["--model.net.backbone.name=test_resnet", "--data.view.size=64", "--data.roots=shards"]
    smoke = ["--config", "overlay/smoke.yaml", "--run_folder", "run"]
    assert main(["fit", "--config", "cue_fusion", *smoke, *small]) == 0
    assert main(["evaluate", "run/checkpoints/last.ckpt", "--on", "shards", "--out", "grid"]) == 0
    (cell,) = Path("grid/cells").rglob("clean.parquet")
    judged = read_predictions(cell)[0]
    detector = dfd.load("run/checkpoints/last.ckpt")
    facts = Catalog(["shards"], Cache()).describe(judged.row)
    for key, logit in zip(facts["key"], judged.logit, strict=True):
        number = int(key.split("-")[1])
        (score,) = detector.score(patches(400 + number), whole=True)
        assert score.logit == pytest.approx(logit, abs=1e-4)


@pytest.mark.slow
def test_an_expert_of_blends_is_validated_on_the_pictures_that_chose_it(here, capsys):
    made = [
        NewSample(f"{split}-{i}", patches(100 * len(split) + i), i % 2, split, "s")
        for split in ("train", "val", "test")
        for i in range(16)
    ]
    write_samples(made, here / "shards", {"test": "blends"})
    small = ["--data.roots=shards", "--data.view.size=64", "--data.pairs.init_args.landmarks=false"]
    common = ["--config", "overlay/smoke.yaml", "--trainer.limit_val_batches=1.0", "--run_folder", "run"]
    assert main(["fit", "--config", "small_cnn", "--data", "data/blends.yaml", *common, *small]) == 0
    said = capsys.readouterr().out
    assert "on 16 images of 8 families" in said and "shards, after FaceBlend" in said
    assert main(["validate", "run/checkpoints/best.ckpt", "--run_folder", "validated"]) == 0
    assert lines("validated/metrics.csv", "val/auroc")[-1] == lines("run/metrics.csv", "val/auroc")[-1]
    methods = lines("validated/predictions-val.csv", "method")
    assert methods.count("blend") == 8
    assert len(lines("validated/predictions-val.csv", "key")) == 16


@pytest.mark.slow
def test_an_expert_of_reconstructed_faces_is_trained_and_used(here):
    """Beside each real of the shards the same with its face reconstructed; its scores are those of the table."""
    made = [
        NewSample(f"{split}-{i}", patches(100 * len(split) + i), i % 2, split, "ours")
        for split in ("train", "val", "test")
        for i in range(16)
    ]
    write_samples(made, here / "shards", {"test": "faces"})
    height, width = decode(made[0].image_bytes).shape[:2]
    numbers = np.array([encode_landmarks(mean_face((height, width), 1.35), (height, width))] * len(made))
    store(here / "shards", read_index(here / "shards"), numbers, {"mesh": "0" * 64, "faces": ""})
    remade = [
        NewSample(
            f"net/{each.key}", patches(7000 + number), 1, "train", "ours", "reconstruction-net",
            (f"of:{hashlib.sha256(each.image_bytes).hexdigest()}",),
        )
        for number, each in enumerate(made)
        if each.split == "train" and each.label == 0
    ]  # fmt: skip
    write_samples(remade, here / "remade", {"test": "remade"})
    options = ["--model.net.backbone.name=test_resnet", "--data.view.size=64", "--data.num_workers=0"]
    roots = ["--data.roots=[shards, remade]", "--data.fakes=[ours]", "--run_folder=run"]
    smoke = ["--config", "overlay/smoke.yaml", "--trainer.max_epochs=2"]
    with pytest.warns(UserWarning, match="random weights that it was drawn with"):
        assert main(["fit", "--config", "face_context", *smoke, *options, *roots]) == 0
    detector = dfd.load("run/checkpoints/last.ckpt")
    assert detector.net.head.weight.abs().sum() > 0 and isinstance(detector.card.calibration, Platt)
    assert main(["evaluate", "run/checkpoints/last.ckpt", "--on", "shards", "--out", "grid"]) == 0
    (cell,) = Path("grid/cells").rglob("clean.parquet")
    judged = read_predictions(cell)[0]
    facts = Catalog(["shards"], Cache()).describe(judged.row)
    for key, logit in zip(facts["key"], judged.logit, strict=True):
        (score,) = detector.score(patches(400 + int(key.split("-")[1])), whole=True)
        assert score.logit == pytest.approx(logit, abs=1e-4)


def lines(path, column):
    """What a CSV holds in a column, but for empty cells."""
    with open(path, newline="") as file:
        return [row[column] for row in csv.DictReader(file) if row[column]]


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_a_preset_is_built_and_gets_gradients(preset):
    """All else of it is the experiment that it differs from, which runs."""
    net = build(_read(preset)["model"]["init_args"]["net"])
    logit = net(torch.rand(2, 3, 64, 64))
    torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor([0.0, 1.0])).backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_presets_are_found_and_say_where_weights_come_from():
    names = {preset.stem for preset in PRESETS}
    assert names >= {
        "resnet50",
        "densenet121",
        "vgg16",
        "efficientnet_b0",
        "convnext_tiny",
        "xception",
        "vit",
    }
    for preset in PRESETS:
        made = _read(preset)["model"]["init_args"]["net"]["init_args"]["backbone"]
        if made["class_path"] == "dfd.models.TimmBackbone":
            weights = timm.get_pretrained_cfg(made["init_args"]["name"])
            place = f"https://huggingface.co/{weights.hf_hub_id}" if weights.hf_hub_id else weights.url
            assert "pretrained=" in preset.read_text() and f"({place} has it" in preset.read_text()


@pytest.mark.slow
def test_the_embedded_default_shows_where_the_net_looked(here):
    assert main(["fit", "--config", "dual_stream", "--config", "overlay/smoke.yaml", *SMALL_TOY]) == 0
    (run,) = (here / "runs" / "dual_stream").iterdir()
    assert {path.name for path in (run / "plots").iterdir()} >= {"val-curves.png", "attribution-epoch001.png"}


@pytest.mark.slow
def test_blends_are_laid_over_an_experiment_and_recorded(here):
    overlays = ["--config", "overlay/blend.yaml", "--config", "overlay/smoke.yaml"]
    assert main(["fit", "--config", "small_cnn", *overlays, *SMALL_TOY]) == 0
    (run,) = (here / "runs" / "small_cnn").iterdir()
    stages = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["augment"]
    assert [stage["class_path"].rpartition(".")[2] for stage in stages] == [
        "FaceBlend",
        "Fingerprint",
        "Augment",
    ]
    assert main(["validate", str(run / "checkpoints" / "last.ckpt")]) == 0  # whose data has those stages too


def _leaves(config, at=""):
    """The keys of an overlay's values, with dots."""
    if isinstance(config, dict) and config:
        return {leaf for name, value in config.items() for leaf in _leaves(value, f"{at}.{name}")}
    return {at}


def _packs(overlays):
    """Overlays that say nothing of the same key, together: a command line takes most of a second."""
    packs = []
    for overlay in overlays:
        keys = _leaves(_read(overlay))
        fits = (pack for pack in packs if not any(keys & _leaves(_read(each)) for each in pack))
        pack = next(fits, None)
        if pack is None:
            packs.append([overlay])
        else:
            pack.append(overlay)
    return packs


# all but one of those that choose a way of fine-tuning are read by tests/tasks/test_finetune.py alone
TUNING = [path for path in OVERLAYS if "finetune" in path.read_text()]


@pytest.mark.parametrize("pack", _packs([path for path in OVERLAYS if path not in TUNING[1:]]), ids=len)
def test_each_overlay_says_what_it_is_and_lies_over_others(pack, capsys):
    for overlay in pack:
        assert overlay.read_text().startswith("# A second --config"), "each begins with what it is for"
    names = ["overlay/bf16", "overlay/compile", *(f"overlay/{overlay.stem}" for overlay in pack)]
    options = [option for name in names for option in ("--config", name)]
    assert main(["fit", "--config", "dual_stream", *options, "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    for overlay in pack:
        assert not list(_missing(_read(overlay), config)), overlay.stem
    callbacks = [each["class_path"].rpartition(".")[2] for each in config["trainer"]["callbacks"]]
    assert config["trainer"]["precision"] == "bf16-mixed" and {"Curves", "Compile"} <= set(callbacks)


def _missing(wanted, found, at=""):
    """Where a config lacks what an overlay says."""
    if not isinstance(wanted, dict):
        if wanted != found and not str(found).endswith(str(wanted)):
            yield f"{at}: {found} for {wanted}"
        return
    for name, value in wanted.items():
        if name.endswith("+"):
            paths = [each["class_path"] for each in found[name[:-1]]]
            yield from (f"{at}.{name}: {each}" for each in value if each["class_path"] not in paths)
        elif not isinstance(value, list):
            yield from _missing(value, found[name], f"{at}.{name}")


def test_smoke_touches_data_and_trainer_only():
    overlay = yaml.safe_load((HERE / "overlay" / "smoke.yaml").read_text())
    assert overlay.keys() <= {"data", "trainer"}
