"""WANDB_MODE as a user has it."""

import pytest

from dfd.training.wandb_logger import TolerantWandbLogger, close
from dfd.wandb_mode import wandb_mode


@pytest.mark.parametrize(
    ("given", "mode"),
    [("", "offline"), (" ", "offline"), ("Disabled", "disabled"), ("dryrun", "offline"), ("run", "online")],
)
def test_an_empty_mode_counts_as_none_and_the_others_by_their_names(given, mode, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", given)
    assert wandb_mode() == mode and not caplog.records
    monkeypatch.delenv("WANDB_MODE")
    assert wandb_mode() == "offline"


@pytest.mark.slow
def test_a_mode_that_there_is_not_is_said_in_one_line_and_logs_offline(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "bogus")
    logger = TolerantWandbLogger(name="x", id="x", project="dfd", save_dir=str(tmp_path), mode=wandb_mode())
    logger.log_metrics({"val/auroc": 0.5}, 1)
    begun = logger.begun
    close(0)
    # a busy machine may add a line on W&B itself
    (said,) = [line for line in caplog.messages if "WANDB_MODE" in line]
    assert said.startswith("WANDB_MODE=bogus is not one of: online, offline, disabled, shared.")
    assert begun and list((tmp_path / "wandb").glob("offline-run-*"))
