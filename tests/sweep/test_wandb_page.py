"""A sweep's page in W&B: beside the sweep, never in its way."""

import sys
import time
from pathlib import Path

import pytest
import wandb_files
import yaml

from dfd.cli import main
from dfd.sweep import wandb_page

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'dfd[sweep]'")

PROGRAM = """
for arg; do case $arg in --run_folder=*) folder=${arg#*=};; --x=*) x=${arg#*=};; esac; done
mkdir -p "$folder"
printf "epoch,val/auroc\\n0,$x\\n" > "$folder/metrics.csv"
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> list[str]:
    """The command of a sweep of two trials, in the folder mine."""
    monkeypatch.chdir(tmp_path)
    Path("trial.sh").write_text(PROGRAM)
    told = {
        "program": "trial.sh",
        "command": ["sh", "${program}", "${args}"],
        "method": "grid",
        "metric": {"name": "val/auroc", "goal": "maximize"},
        "parameters": {"x": {"values": [0.25, 0.75]}},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(told))
    return ["sweep", "mine.yaml", "--study", "mine"]


@pytest.mark.slow
def test_the_page_of_a_finished_sweep_is_logged_offline(sweep, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert main(sweep) == 0
    (name,) = [file for file in wandb_files.files(Path("mine")) if file.endswith(".html")]
    (logged,) = Path("mine").glob(f"wandb/offline-run-*-sweep-mine/files/{name}")
    assert logged.read_bytes() == Path("mine/sweep.html").read_bytes()
    (run,) = wandb_files.kind(Path("mine"), "run")
    assert (run.project, run.job_type, run.display_name) == ("dfd", "report", "sweep-mine")


def test_it_is_not_logged_where_wandb_is_off(sweep, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(sweep) == 0 and not Path("mine/wandb").exists()


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(60)", "raise SystemExit(1)"], ids=["hangs", "fails"]
)
def test_what_wandb_does_costs_a_sweep_its_patience_and_no_more(
    code, monkeypatch, messages_on_stderr, capsys, tmp_path
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb_page, "PATIENCE", 2)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    python.chmod(0o755)
    start = time.monotonic()
    page = tmp_path / "sweep.html"
    monkeypatch.setattr(sys, "executable", str(python))
    wandb_page.log_page(page, "mine")
    assert time.monotonic() - start < 20
    assert capsys.readouterr().err.startswith(f"WARNING: W&B did not take {page}; the sweep is done")
