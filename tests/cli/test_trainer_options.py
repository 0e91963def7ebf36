"""Options of Lightning's Trainer that no run can have: one line, before anything is made."""

from pathlib import Path

import pytest
from small import FIT

from dfd.cli import main
from dfd.cli.runtime_errors import explain_failure

ANOTHER = "--trainer.callbacks+=lightning.pytorch.callbacks."


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("check_val_every_n_epoch=0", "is no number of epochs"),
        ("check_val_every_n_epoch=-1", "Use 1 or more"),
        ("val_check_interval=0", "--trainer.limit_val_batches=0"),
        ("val_check_interval=0.0", "a share of an epoch"),
        ("val_check_interval=1.5", "a share of an epoch"),
        ("precision=16-true", "Use 16-mixed"),
        ("precision=bf16-true", "Use bf16-mixed"),
        ("precision=64-true", "Use 32-true"),
        ("limit_val_batches=-1", "neither a number of batches"),
        ("overfit_batches=2.5", "neither a number of batches"),
        ("gradient_clip_val=-1", "null not to clip"),
        ("gradient_clip_val=.nan", "null not to clip"),
        ("gradient_clip_algorithm=norn", "norm, value"),
        ("max_epochs=-2", "-1 has no end"),
        ("max_steps=-2", "-1 has no end"),
        ("min_epochs=3 max_epochs=2", "is more than trainer.max_epochs=2"),
        ("min_steps=5 max_steps=2", "is more than trainer.max_steps=2"),
        ("min_epochs=-1", "Use 0 or more"),
        ("log_every_n_steps=-1", "Use 0 or more"),
        ("accumulate_grad_batches=0", "Use 1 or more"),
        ("num_nodes=0", "is no number of machines"),
        ("reload_dataloaders_every_n_epochs=-1", "0 never reloads"),
        ("num_sanity_val_steps=-2", "-1 takes all"),
        ("fast_dev_run=-1", "0 is a whole run"),
        ("profiler=simpel", "Did you mean simple?"),
        ("barebones=true", "Leave it out"),
        ("strategy=dpp", "Did you mean ddp"),
        ("strategy=ddp_spawn", "Use ddp"),
        ("devices=0", "is no number of devices"),
        ("devices=two", "is no number of devices"),
        ("devices=-5", "is no number of devices"),
        ("devices=0,", "a CPU has no numbers"),
        ("enable_checkpointing=false", "ModelCheckpoint"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(capsys, options, words):
    given = [f"--trainer.{each}" for each in options.split()]
    assert main([*FIT, "--trainer.accelerator=cpu", *given, "--run_folder=run"]) == 1
    said = capsys.readouterr().err.strip()
    first = options.partition("=")[0]
    assert f"trainer.{first}=" in said and words in said, said
    assert "\n" not in said and not Path("run").exists()


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_judgement_of_no_batch_is_refused(capsys, verb):
    limit = {"validate": "val"}.get(verb, verb)
    options = ["--config", "small_cnn", "--ckpt_path=any.ckpt", f"--trainer.limit_{limit}_batches=0"]
    assert main([verb, *options]) == 1
    assert "nothing would be judged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (["EarlyStopping", "--trainer.callbacks.monitor=val/auroc", "--trainer.callbacks.mode=max"], "of val/auroc"),
        (["ModelCheckpoint", "--trainer.callbacks.dirpath=elsewhere"], "every_n_epochs"),
    ],
)  # fmt: skip
def test_a_second_callback_like_one_of_the_config_says_how_that_is_changed(capsys, callback, words):
    name, *arguments = callback
    assert main([*FIT[:3], *FIT[5:], ANOTHER + name, *arguments, "--run_folder=run"]) == 1
    said = capsys.readouterr().err
    assert f"a second {name}" in said and words in said and "--print_config > mine.yaml" in said
    assert not Path("run").exists()


def test_a_share_that_is_no_batch_says_which_share_is_one():
    said = (
        "You requested to check 0.01 of the `val_dataloader` but 0.01 * 7 < 1. Please increase the "
        "`limit_val_batches` argument."
    )
    known = str(explain_failure(ValueError(said), None, None))
    assert known.startswith("trainer.limit_val_batches=0.01 of 7 batches is not one. Use 1 ")
    assert "a share of 0.143 or more" in known
