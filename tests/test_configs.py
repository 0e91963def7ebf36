"""Every shipped experiment runs, through the front door, on a small toy set."""

from pathlib import Path

import pytest
import yaml

from dfd.cli import main
from dfd.models import load_net

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
SMALL_TOY = ["--data.num_images=120", "--data.picture=128", "--data.view.size=64", "--data.view.longest=128"]


@pytest.fixture(scope="session")
def toy_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path, monkeypatch, toy_cache):
    monkeypatch.setenv("DFD_CACHE", str(toy_cache))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_it_runs(config, here, capsys):
    assert main(["fit", "--config", config.name, "--config", "overlay/smoke.yaml", *SMALL_TOY]) == 0
    (run,) = (here / "runs" / config.stem).iterdir()
    assert str(run.relative_to(here)) in capsys.readouterr().out
    assert yaml.safe_load((run / "summary.yaml").read_text())["steps"] == 2
    net, facts = load_net(run / "checkpoints" / "last.ckpt", role=None)
    assert facts["view"]["size"] == 64
    assert net.role != "detector" or facts["calibrated_on"]["split"] == "val"
    assert (run / "metrics.csv").is_file() and list(run.glob("wandb/offline-run-*"))
    assert list((run / "plots").glob("*.png")), "each experiment draws something"


def test_the_embedded_default_shows_where_the_net_looked(here):
    assert main(["fit", "--config", "dual_stream", "--config", "overlay/smoke.yaml", *SMALL_TOY]) == 0
    (run,) = (here / "runs" / "dual_stream").iterdir()
    assert {path.name for path in (run / "plots").iterdir()} >= {"val-curves.png", "attribution-epoch001.png"}


def test_blends_are_laid_over_an_experiment_and_recorded(here):
    overlays = ["--config", "overlay/blend.yaml", "--config", "overlay/smoke.yaml"]
    assert main(["fit", "--config", "small_cnn", *overlays, *SMALL_TOY]) == 0
    (run,) = (here / "runs" / "small_cnn").iterdir()
    stages = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["augment"]
    assert [stage["class_path"].rpartition(".")[2] for stage in stages] == ["SelfBlend", "Fingerprint", "Augment"]
    assert main(["validate", str(run / "checkpoints" / "last.ckpt")]) == 0  # whose data has those stages too


def test_smoke_touches_data_and_trainer_only():
    overlay = yaml.safe_load((CONFIGS[0].parent / "overlay" / "smoke.yaml").read_text())
    assert overlay.keys() <= {"data", "trainer"}
