"""A fit that goes on from a stranger's checkpoint ends in one line, whatever its state holds."""

import shutil

import pytest
import torch
from small import FIT

from dfd.cli import main

MORE = [*FIT, "--model.net.backbone.width=8", "--trainer.max_epochs=9"]


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture
def stored(small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return torch.load(small_run / "checkpoints/last.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_step", "x"), ("global_step", -1), ("loops", []), ("loops", {"fit_loop": 3}), ("epoch", "x"),
        ("state_dict", {"net.head.weight": [1.0]}), ("state_dict", {3: torch.ones(1)}),
        ("dfd", []), ("dfd", {}),
    ],
)  # fmt: skip
def test_what_is_read_before_training_is_checked_at_once(stored, capsys, name, value):
    if name == "epoch":
        stored["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"] = value
    else:
        stored[name] = value
    torch.save(stored, "evil.ckpt")
    assert main([*MORE, "--ckpt_path=evil.ckpt"]) == 1
    said = capsys.readouterr().err
    assert "evil.ckpt" in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer_states", []), ("optimizer_states", "x"), ("optimizer_states", [{"state": 3, "param_groups": []}]),
        ("lr_schedulers", 3), ("callbacks", []), ("callbacks", {"FiniteGuard": 3}), ("ToyDataModule", []),
        ("ToyDataModule", {"data": 3}), ("train_metrics", {"acc": 3}), ("pytorch-lightning_version", 3),
        ("pytorch-lightning_version", "no version"),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_put_back_is_one_line(stored, capsys, name, value):
    stored[name] = value
    torch.save(stored, "evil.ckpt")
    assert main([*MORE, "--ckpt_path=evil.ckpt", "--run_folder=run"]) in (0, 1)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    shutil.rmtree("run", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["test", "predict"])
def test_to_judge_takes_weights_and_card_alone(stored, capsys, verb):
    for name in ("optimizer_states", "callbacks", "loops", "ToyDataModule", "pytorch-lightning_version"):
        stored.pop(name, None)
    stored["callbacks"] = stored["optimizer_states"] = 3
    torch.save(stored, "other.ckpt")
    assert main([verb, "other.ckpt", "--run_folder=run"]) == 0, capsys.readouterr().err
