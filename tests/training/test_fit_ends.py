"""However a fit ends, its last weights are judged and saved, its checkpoints say what they rest on, and "done" is
said of its planned end alone.
"""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from small import SMALL

from dfd import run_record
from dfd.cli import main
from dfd.training.run_folder import drawn_seed

STEPS = 6  # an epoch, of 4 drawings each
FIT = [
    "fit", "--config", "small_cnn", "--config", "overlay/smoke", *SMALL, "--model.net.backbone.width=4",
    "--data.batch_size=4", "--trainer.limit_train_batches=6", "--trainer.limit_val_batches=1.0",
    "--trainer.log_every_n_steps=1", "--run_folder=run",
]  # fmt: skip
STOPPER = """
import os
from lightning.pytorch import Callback

class StopAt(Callback):
    '''Asks the Trainer to stop behind a step of the run.'''

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        trainer.should_stop |= trainer.fit_loop.batches == int(os.environ.get("STOP_AT", -1))
"""
EPOCH_END = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: last, save_on_train_epoch_end: true, enable_version_counter: false}
"""
STOP = ["--trainer.callbacks+=stop_at.StopAt"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def here(cache, tmp_path, monkeypatch):
    (tmp_path / "stop_at.py").write_text(STOPPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(cache))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path


def load(name: str, run: str = "run") -> dict:
    return torch.load(f"{run}/checkpoints/{name}.ckpt", weights_only=True)


def lines(run: str = "run") -> list[dict[str, str]]:
    with open(f"{run}/metrics.csv", newline="") as file:
        return [{name: value for name, value in line.items() if value} for line in csv.DictReader(file)]


def judged(run: str = "run") -> list[int]:
    """Training steps before each validation."""
    return [int(line["step"]) + 1 for line in lines(run) if "val/auroc" in line]


def summary() -> dict:
    return yaml.safe_load(Path("run/summary.yaml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps", "validations"),
    [
        (["max_steps=4"], 4, [4]),
        (["max_epochs=-1", "max_steps=8"], 8, [6, 8]),
        (["max_steps=2", "accumulate_grad_batches=2"], 2, [2]),
        (["val_check_interval=1000", "check_val_every_n_epoch=null"], 6, [6]),
        (["val_check_interval=4"], 6, [4, 6]),
        (["val_check_interval=00:08:00:00"], 6, [6]),
        (["val_check_interval=0.5", "max_steps=5"], 5, [3, 5]),
        (["max_epochs=3", "check_val_every_n_epoch=5"], 18, [18]),
        (["max_epochs=3", "check_val_every_n_epoch=2"], 18, [12, 18]),
    ],
)
def test_the_last_weights_are_judged_and_saved(options, steps, validations):
    assert main([*FIT, *(f"--trainer.{option}" for option in options)]) == 0
    assert judged() == validations
    last = load("last")
    assert last["global_step"] == steps and last["dfd"]["calibrated_on"]["step"] == steps
    best = load("best")
    assert best["dfd"]["calibrated_on"]["step"] == best["global_step"]
    assert summary()["steps"] == steps and run_record.read(Path("run")).state == "done"


@pytest.mark.slow
def test_without_validation_the_last_weights_are_saved_and_claim_nothing(capsys):
    assert main([*FIT, "--trainer.limit_val_batches=0", "--trainer.max_epochs=2"]) == 0
    said = capsys.readouterr().out
    assert "no validation, since trainer.limit_val_batches=0" in said and "validated on" not in said
    card = load("last")["dfd"]
    assert load("last")["global_step"] == 2 * STEPS and card["calibrated_on"] is None
    assert "which no validation has judged" in card["selected_on"]
    assert summary()["last checkpoint"] == "run/checkpoints/last.ckpt"


def test_a_share_of_the_validation_that_is_no_batch_is_refused_before_the_first_step(capsys):
    rarely = [
        "--trainer.limit_val_batches=.01",
        "--trainer.check_val_every_n_epoch=2",
        "--trainer.max_epochs=2",
    ]
    assert main([*FIT, *rarely]) == 1
    assert "limit_val_batches" in capsys.readouterr().err and not Path("run").exists()


def test_a_run_without_callbacks_that_save_is_saved_at_its_end():
    for_epochs = "--trainer.callbacks={class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: "
    assert main([*FIT, for_epochs + "{filename: tenth, every_n_epochs: 10}}"]) == 0
    last = load("last")
    assert last["global_step"] == STEPS and last["dfd"]["calibrated_on"]["step"] == STEPS


@pytest.mark.slow
def test_a_checkpoint_between_two_validations_leaves_out_what_it_was_not_judged_by(monkeypatch):
    every = "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {filename: 'at-{step}', "
    assert main([*FIT, f"--trainer.callbacks+={every}every_n_train_steps: 4, save_top_k: -1}}}}",
                 "--trainer.max_epochs=2"]) == 0  # fmt: skip
    card = load("at-step=8")["dfd"]
    assert card["calibrated_on"] is None and card["calibration"]["temperature"] == 1.0
    assert card["selected_on"] == "nothing: the weights of step 8, which no validation has judged"
    assert load("at-step=12")["dfd"]["calibrated_on"] is None, "saved before the validation of its step"
    assert (
        load("last")["dfd"]["selected_on"].endswith("step 12")
        or "step 12)" in load("last")["dfd"]["selected_on"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("callback", "metric", "near"),
    [
        ("EarlyStopping", "val/balanced_accuracy", "val/balanced_acc"),
        ("ModelCheckpoint", "val/auroc_typo", "val/auroc"),
        ("EarlyStopping", "train/los", "train/loss"),
    ],
)
def test_a_callback_that_watches_what_nobody_logs_costs_no_weights(capsys, callback, metric, near):
    watch = [f"--trainer.callbacks+=lightning.pytorch.callbacks.{callback}", "--trainer.max_epochs=2"]
    assert main([*FIT, *watch, f"--trainer.callbacks.monitor={metric}"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{callback} watches {metric}, which nothing has logged. Did you mean " in said
    assert near in said.partition("Did you mean ")[2].partition("?")[0]
    assert f"{metric.partition('/')[0]}/acc, " in said
    assert "last.ckpt has what was trained, and the same command goes on from it." in said
    assert load("last")["global_step"] == STEPS and load("last")["dfd"]["calibrated_on"]["step"] == STEPS
    assert run_record.read(Path("run")).state == "failed"
    # the name mended
    assert main([*FIT, *watch, f"--trainer.callbacks.monitor={near}"]) == 0
    assert load("last")["global_step"] == 2 * STEPS and lines()[0]["epoch"] == "0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "at"),
    [
        ([], 8),
        (["--trainer.limit_val_batches=0"], 8),
        (["--trainer.check_val_every_n_epoch=2"], 8),
        (["--trainer.accumulate_grad_batches=2"], 9),
        (["--config=epoch_end.yaml"], 8),
        ([], 6),
    ],
)
def test_a_run_that_was_stopped_within_an_epoch_goes_on_to_the_bit(options, at, monkeypatch, capsys):
    Path("epoch_end.yaml").write_text(EPOCH_END)
    fit = [*FIT[:-1], *options, *STOP, "--trainer.max_epochs=3", "--model.ema_decay=.9"]
    assert main([*fit, "--run_folder=whole"]) == 0
    monkeypatch.setenv("STOP_AT", str(at))
    assert main([*fit, "--run_folder=run"]) == 0
    record = run_record.read(Path("run"))
    assert record.state == "stopped" and f"after {at // STEPS} of 3 epochs" in record.reason
    assert not Path("run/summary.yaml").exists() and "stopped: by a callback" in capsys.readouterr().out
    assert main(["runs", "run"]) == 0
    assert "go on: dfd fit" in capsys.readouterr().out
    monkeypatch.delenv("STOP_AT")
    assert main([*fit, "--run_folder=run"]) == 0
    assert run_record.read(Path("run")).state == "done"
    one, other = load("last", "whole"), load("last", "run")
    assert all(torch.equal(one["state_dict"][name], value) for name, value in other["state_dict"].items())
    assert one["loops"] == other["loops"]
    found = lines("run")
    assert [line for line in lines("whole") if line not in found] == []


@pytest.mark.slow
def test_max_time_stops_a_run_which_the_same_command_goes_on_with(capsys):
    fit = [*FIT, "--trainer.max_epochs=9999", "--trainer.max_time=00:00:00:02"]
    assert main(fit) == 0
    first = load("last")["global_step"]
    record = run_record.read(Path("run"))
    assert record.state == "stopped" and "stopped by max_time after" in record.reason
    assert main(fit) == 0
    assert load("last")["global_step"] > first > 0
    elsewhere = [*fit[:-3], *fit[-2:], "--run_folder=other", "--ckpt_path=run/checkpoints/last.ckpt"]
    assert main(elsewhere) == 0
    second = load("last", "other")["global_step"]
    assert second > load("last")["global_step"]
    capsys.readouterr()
    assert main(elsewhere) == 0
    assert "goes on from other/checkpoints/last.ckpt" in capsys.readouterr().out
    assert load("last", "other")["global_step"] > second


def test_a_run_that_trained_nothing_says_so_and_is_no_success(capsys):
    assert main([*FIT, "--trainer.max_time=00:00:00:00"]) == 1
    assert "nothing was trained: stopped by max_time" in capsys.readouterr().err
    assert not Path("run").exists()


def test_early_stopping_is_a_planned_end():
    stop = ["--trainer.callbacks.patience=1", "--trainer.callbacks.min_delta=2", "--trainer.max_epochs=5"]
    config = yaml.safe_load(
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {filename: "
        "last}}, {class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/loss}}]}"
    )
    Path("stop.yaml").write_text(yaml.safe_dump(config))
    assert main([*FIT[:5], "--config", "stop.yaml", *FIT[5:], *stop]) == 0
    assert summary()["stopped early"] == "val/loss has not improved for 1 validations"
    assert summary()["epochs"] == 2 and run_record.read(Path("run")).state == "done"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("limit_train_batches=0", "nothing would be trained"),
        ("max_steps=0", "nothing would be trained"),
        ("max_epochs=0", "nothing would be trained"),
        ("accumulate_grad_batches=0", "Use 1 or more"),
        ("accumulate_grad_batches=-2", "Use 1 or more"),
    ],
)
def test_limits_that_leave_nothing_to_train_are_refused(option, words, capsys):
    assert main([*FIT, f"--trainer.{option}"]) == 1
    said = capsys.readouterr().err
    assert f"trainer.{option}" in said and words in said and not Path("run").exists()


@pytest.mark.slow
def test_a_trial_saves_nothing_says_so_and_is_no_finished_run(capsys):
    trial = [*FIT, "--trainer.fast_dev_run=2"]
    assert main(trial) == 0
    said = capsys.readouterr().out
    assert "trainer.fast_dev_run=2: nothing was saved" in said and "checkpoint" not in said
    assert not Path("run/summary.yaml").exists()
    record = run_record.read(Path("run"))
    assert (record.state, record.epoch, record.best) == ("stopped", 0, None)
    assert "nothing was saved" in record.reason
    assert main(trial) == 0 and main(FIT) == 0, "the folder is free for another and for the run"
    Path("run/summary.yaml").unlink()  # as if it had been cut before that
    files = {path: path.read_bytes() for path in Path("run").rglob("*.*") if path.is_file()}
    assert main(trial) == 1
    assert "run holds a run, and a trial of trainer.fast_dev_run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("run").rglob("*.*") if path.is_file()} == files


def test_a_figure_that_fails_costs_no_weights(monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfd.callbacks.curves.publish", full)
    assert main(FIT) == 0
    assert "val-curves was left out" in capsys.readouterr().err
    assert load("last")["global_step"] == load("best")["global_step"] == STEPS


@pytest.mark.slow
def test_output_that_nobody_reads_costs_no_summary(monkeypatch):
    def closed(self, text):
        if "best checkpoint" in text:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("dfd.cli.run_cli.RunCLI._say", closed)
    assert main(FIT) == 1
    assert run_record.read(Path("run")).state == "done" and summary()["steps"] == STEPS


def test_a_rate_that_runs_away_is_blamed_and_not_the_pictures(capsys):
    assert main([*FIT, "--model.optimizer.lr=1e30", "--trainer.limit_train_batches=2"]) == 1
    said = capsys.readouterr().err
    assert "the weights have run away" in said and "--model.optimizer.lr" in said
    assert "Look at those pictures" not in said and run_record.read(Path("run")).reason_code == "not_finite"


@pytest.mark.slow
def test_a_validation_of_one_class_ends_well_and_says_why_nothing_was_chosen(capsys):
    assert main([*FIT, "--trainer.limit_val_batches=1", "--data.batch_size=2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "validation images, of trainer.limit_val_batches=1, were of one class, " in said
    assert "last.ckpt" in {path.name for path in Path("run/checkpoints").iterdir()}


@pytest.mark.slow
def test_a_random_seed_is_drawn_kept_by_the_run_and_another_for_the_next(monkeypatch, capsys):
    fit = [*FIT[:-1], "--seed_everything=true", "--trainer.limit_train_batches=1"]
    seeds = []
    for run in ("one", "two"):
        assert main([*fit, f"--run_folder={run}"]) == 0
        seeds.append(yaml.safe_load(Path(run, "config.yaml").read_text())["seed_everything"])
    assert seeds[0] != seeds[1]
    said = capsys.readouterr().out
    assert f"seed_everything={seeds[0]}, drawn" in said and "have data.seed, which stays as it is" in said
    Path("one/summary.yaml").unlink()  # as if it had been cut before that
    assert main([*fit, "--run_folder=one"]) == 0
    assert yaml.safe_load(Path("one/config.yaml").read_text())["seed_everything"] == seeds[0]


def test_processes_of_a_launcher_are_given_their_seed(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="--seed_everything=NUMBER"):
        drawn_seed(Path("config.yaml"))


KILLED = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: last, every_n_train_steps: 3, enable_version_counter: false}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {monitor: val/auroc, mode: max, filename: best, enable_version_counter: false}
    - class_path: killed_in_validation.Killed
"""
KILLER = """
import os
from lightning.pytorch import Callback

class Killed(Callback):
    def on_validation_start(self, trainer, task):
        if os.environ.get("KILL"):
            raise SystemExit(9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("option", "steps"), [("max_steps=3", 3), ("max_epochs=1", 6)])
def test_a_run_that_was_killed_before_its_last_judgement_is_judged_when_it_goes_on(
    option, steps, monkeypatch
):
    Path("killed.yaml").write_text(KILLED)
    Path("killed_in_validation.py").write_text(KILLER)
    fit = [*FIT, "--config=killed.yaml", f"--trainer.{option}"]
    monkeypatch.setenv("KILL", "1")
    assert main(fit) == 9
    assert load("last")["global_step"] == steps and load("last")["dfd"]["calibrated_on"] is None
    monkeypatch.delenv("KILL")
    assert main(fit) == 0
    assert judged() == [steps] and run_record.read(Path("run")).state == "done"
    assert load("best")["dfd"]["calibrated_on"]["step"] == steps
    assert load("last")["dfd"]["calibrated_on"]["step"] == steps
