"""What a fit leaves in W&B beside curves, read back from the files of runs that log offline."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wandb_files
import yaml
from lightning.pytorch import Callback

from dfd.batch import Predictions
from dfd.calibration import fit_temperature, fit_thresholds
from dfd.cli import main
from dfd.run_record import RunFolder
from dfd.training.wandb_logger import TolerantWandbLogger, close
from dfd.training.wandb_results import COLUMNS, TABLE_ROWS, log_alert, log_best

SMALL = [
    "--data.num_images=120", "--data.picture=96", "--data.view.size=32", "--data.view.longest=96",
    "--data.view.crops=1", "--data.batch_size=8", "--data.num_workers=0", "--trainer.accelerator=cpu",
    "--trainer.enable_model_summary=false",
]  # fmt: skip


def predictions(count: int) -> Predictions:
    label = np.arange(count) % 2
    logit = label + np.random.default_rng(0).normal(size=count)
    names = np.full(count, "a")
    return Predictions(np.arange(count) + 7, logit, label, names, names, names, names)


def trainer_of(folder: Path) -> SimpleNamespace:
    best = SimpleNamespace(
        monitor="val/auroc", best_model_score=0.75, mode="max", best_model_path=str(folder / "best.ckpt")
    )
    logger = TolerantWandbLogger(id="x", project="dfd", save_dir=str(folder), mode="offline")
    return SimpleNamespace(
        loggers=[logger], chooser=best, datamodule=None, is_global_zero=True, global_step=5,
        default_root_dir=str(folder),
    )  # fmt: skip


def calibrate(predictions):
    return fit_temperature(predictions.logit, predictions.label), fit_thresholds(
        predictions.logit, predictions.label
    )


def table(folder: Path, key: str = "val/predictions") -> list[dict]:
    """The last table of that key."""
    path = wandb_files.summary(folder)[f"{key}/path"]
    (file,) = folder.glob(f"wandb/offline-run-*/files/{path}")
    told = json.loads(file.read_text())
    return [dict(zip(told["columns"], line, strict=True)) for line in told["data"]]


def test_the_table_of_the_best_validation_is_capped_and_spread_evenly(tmp_path):
    trainer, chosen = trainer_of(tmp_path), predictions(5 * TABLE_ROWS)
    trainer.loggers[0].log_metrics({"val/auroc": 0.5}, 0)  # since it was resumed
    task = SimpleNamespace(chosen_by=chosen, predictions=predictions(3), calibrate=calibrate)
    log_best(trainer, task, (0.7, 0.8))
    close(0)
    lines = table(tmp_path)
    assert len(lines) == TABLE_ROWS and list(lines[0]) == COLUMNS
    rows = np.array([line["row"] for line in lines])
    assert (rows[0], rows[-1]) == (7, 5 * TABLE_ROWS + 6) and set(np.diff(rows)) <= {4, 5, 6}
    assert all(line["logit"] == chosen.logit[line["row"] - 7] for line in lines)
    summary = wandb_files.summary(tmp_path)
    temperature = fit_temperature(chosen.logit, chosen.label).temperature
    assert lines[3]["prob"] == pytest.approx(1 / (1 + np.exp(-lines[3]["logit"] / temperature)))
    assert summary["best/calibration/temperature"] == temperature and summary["best/images"] == 5 * TABLE_ROWS
    for name, value in fit_thresholds(chosen.logit, chosen.label).items():
        assert summary[f"best/threshold/{name}"] == value
    ends = summary["best/val/auroc"], summary["best/val/auroc_low"], summary["best/val/auroc_high"]
    assert ends == (0.75, 0.7, 0.8)
    assert summary["val/auroc"] == {"max": 0.75}, "by which W&B sorts"


def test_another_rank_and_a_run_that_has_not_begun_log_nothing(tmp_path):
    task = SimpleNamespace(chosen_by=predictions(4))
    for trainer in (trainer_of(tmp_path), trainer_of(tmp_path)):
        log_best(trainer, task)
        log_alert(trainer, "a", "b")
        assert not trainer.loggers[0].begun and not (tmp_path / "wandb").exists()
    trainer.loggers[0].log_metrics({"val/auroc": 0.75}, 0)
    trainer.is_global_zero = False
    log_best(trainer, task)
    log_alert(trainer, "a", "b")
    close(0)
    assert "best/val/auroc" not in wandb_files.summary(tmp_path) and not wandb_files.kind(tmp_path, "alert")


class Stopper(Callback):
    """Spoils or interrupts a fit in its second epoch."""

    def __init__(self, by: str):
        self.by = by

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == 14:
            if self.by == "nan":
                batch["image"].fill_(float("nan"))
            else:
                os.kill(os.getpid(), signal.Signals[self.by])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


@pytest.mark.slow
def test_a_fit_leaves_all_that_there_is_to_show(here, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "true")
    fit = ["fit", "--config", "small_cnn", *SMALL, "--trainer.max_epochs=3", "--run_folder", "run"]
    maps = ["--trainer.callbacks+=dfd.callbacks.AttributionGrid", "--trainer.callbacks.methods=[gradcam]"]
    assert main([*fit, *maps, "--trainer.callbacks.num_images=2"]) == 0
    run, files = here / "run", RunFolder(here / "run")
    summary, told = wandb_files.summary(run), yaml.safe_load(files.summary.read_text())
    assert round(summary["best/val/auroc"], 4) == told["best val/auroc"]
    assert summary["val/auroc"] == {"max": pytest.approx(summary["best/val/auroc"], rel=1e-6)}
    low, high = summary["best/val/auroc_low"], summary["best/val/auroc_high"]
    assert f"({low:.4f}, {high:.4f})" in told["its 95% interval"]
    assert {line["key"] for line in table(run)} and len(table(run)) == summary["best/images"] == 12
    pictures = [name for name in wandb_files.files(run) if name.startswith("media/images/plots/")]
    assert any("val-curves" in name for name in pictures)
    assert any("attribution-epoch003" in name for name in pictures)
    artifacts = {artifact.type: artifact for artifact in wandb_files.kind(run, "artifact")}
    data = json.loads(Path(artifacts["dataset"].manifest.contents[0].local_path).read_text())
    assert len(data["lines"]) == 64 and all(root["shards"] for root in data["roots"])
    assert json.loads(artifacts["dataset"].metadata)["data.batch_size"] == 8
    assert artifacts["model"].manifest.contents[0].local_path == str(files.best)
    assert "best" in artifacts["model"].aliases and "best/val/auroc" in artifacts["model"].metadata
    config = [item.key for record in wandb_files.kind(run, "config") for item in record.update]
    assert config.count("model") == config.count("data") == 1, "logged once"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "code", "title"),
    [
        ("nan", 1, "NaN or Inf ended the run"),
        ("SIGUSR1", 75, "Preempted for the last time"),
        ("SIGTERM", 143, ""),
    ],
)
def test_a_run_that_needs_somebody_alerts(by, code, title, here, monkeypatch):
    monkeypatch.setenv("DFD_MAX_RESTARTS", "0")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    stop = [f"--trainer.callbacks+={Stopper.__module__}.Stopper", f"--trainer.callbacks.by={by}"]
    guard = ["--trainer.callbacks+=dfd.callbacks.FiniteGuard", "--trainer.callbacks.max_in_a_row=0"]
    fit = ["fit", "--config", "small_cnn", *SMALL, "--trainer.max_epochs=2", "--run_folder", "run"]
    assert main([*fit, *stop, *guard]) == code
    alerts = wandb_files.kind(here / "run", "alert")
    assert [(alert.title, alert.level) for alert in alerts] == ([(title, "ERROR")] if title else [])
    if title:
        assert "step" in alerts[0].text or "saved as" in alerts[0].text
    assert len(table(here / "run")) == 12, "of the first epoch, which is the best so far"
    assert not [each for each in wandb_files.kind(here / "run", "artifact") if each.type == "model"]


@pytest.mark.slow
def test_without_wandb_there_is_none(here, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fit = ["fit", "--config", "small_cnn", *SMALL, "--trainer.max_epochs=1", "--run_folder", "run"]
    assert main(fit) == 0 and not (here / "run/wandb").exists()
