"""Every shipped experiment runs, through the front door, on a small toy set."""

from pathlib import Path

import pytest
import yaml
from small import SMALL_TOY

from dfd.cli import main
from dfd.detector import load_net

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
OVERLAYS = sorted((Path(__file__).parent.parent / "configs" / "overlay").glob("*.yaml"))


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
        "SelfBlend",
        "Fingerprint",
        "Augment",
    ]
    assert main(["validate", str(run / "checkpoints" / "last.ckpt")]) == 0  # whose data has those stages too


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.stem)
def test_each_overlay_says_what_it_is_and_lies_over_others(overlay, here, capsys):
    assert overlay.read_text().startswith("# A second --config"), "each begins with what it is for"
    others = ["--config", "overlay/bf16", "--config", "overlay/compile"]
    assert (
        main(
            [
                "fit",
                "--config",
                "dual_stream",
                *others,
                "--config",
                f"overlay/{overlay.stem}",
                "--print_config",
            ]
        )
        == 0
    )
    config = yaml.safe_load(capsys.readouterr().out)
    assert not list(_missing(yaml.safe_load(overlay.read_text()), config))
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
    overlay = yaml.safe_load((CONFIGS[0].parent / "overlay" / "smoke.yaml").read_text())
    assert overlay.keys() <= {"data", "trainer"}
