"""What is logged to W&B and to metrics.csv when a run is told to go, and when it goes on."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import dfd
from dfd.signals import REQUEUE, stop_signals
from dfd.training import wandb_logger
from dfd.training.metrics_csv import ResumableCSVLogger


def test_a_server_that_does_not_answer_costs_a_preempted_run_its_patience_and_no_more(monkeypatch):
    codes = []
    finish = lambda exit_code: codes.append(exit_code) or time.sleep(3)  # noqa: E731  as without a network
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=finish))
    monkeypatch.setattr(stop_signals, "requested", REQUEUE)
    monkeypatch.setattr(wandb_logger, "PATIENCE", 0.2)
    start = time.monotonic()
    wandb_logger.close(75)
    wandb_logger.close(0)  # whoever comes next does not wait again
    assert time.monotonic() - start < 2 and codes == [75]
    wandb_logger._ending.join()


SERVICE_ENDED = """
import os, signal, subprocess, time
from dfd.training.wandb_logger import Online, close
from dfd.signals import STOP, told

online = Online(name="x", project="dfd", save_dir=".", mode="offline")
wandb_logger.log_metrics({"a": 1.0}, step=0)
processes = [line.split() for line in subprocess.check_output(["ps", "-eo", "pid=,ppid=,comm="], text=True).splitlines()]
[service] = [int(pid) for pid, parent, name in processes if parent == str(os.getpid()) and name.startswith("wandb-core")]
os.kill(service, signal.SIGTERM)
time.sleep(1)
said = None
for step in range(1, 20):
    try:
        wandb_logger.log_metrics({"a": 1.0}, step=step)
    except Exception as error:
        said = error
assert said is not None, "it is as if it were there"
told.heard = STOP
wandb_logger.log_metrics({"a": 1.0}, step=30)
wandb_logger.finalize("failed")
close(143)
print("went on")
"""


@pytest.mark.slow
def test_a_service_that_slurm_ended_costs_no_run(tmp_path):
    """W&B's own process, ended by SIGTERM as it is with all others of a job."""
    own = {
        name: value for name, value in os.environ.items() if "WANDB" not in name
    }  # not the service of an earlier test
    environment = {**own, "PYTHONPATH": str(Path(dfd.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", SERVICE_ENDED], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def lines(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_a_run_that_goes_on_keeps_what_its_checkpoint_knows_of(tmp_path):
    first = ResumableCSVLogger(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": step / 2}, step)
    first.log_metrics({"val/auroc": 0.5}, 3)
    first.log_metrics({"train/loss": 9.0}, 4)  # after the checkpoint; nobody flushed or closed anything
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3")  # cut by a kill or a full disk
    again = ResumableCSVLogger(tmp_path)
    again.go_on(4)
    again.log_metrics({"train/loss": 2.0, "train/lr": 1.0}, 4)
    assert [
        (line["step"], line["train/loss"], line["val/auroc"], line["train/lr"]) for line in lines(tmp_path)
    ] == [
        ("0", "0.0", "", ""),
        ("1", "0.5", "", ""),
        ("2", "1.0", "", ""),
        ("3", "1.5", "", ""),
        ("3", "", "0.5", ""),
        ("4", "2.0", "", "1.0"),
    ]


def test_the_table_of_a_run_that_begins_anew_begins_anew(tmp_path):
    ResumableCSVLogger(tmp_path).log_metrics({"a": 1.0}, 0)
    again = ResumableCSVLogger(tmp_path)
    again.go_on(0)
    again.log_metrics({"b": 1.0}, 0)
    assert lines(tmp_path) == [{"b": "1.0", "step": "0"}]
