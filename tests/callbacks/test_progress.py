import pytest

from dfd.callbacks import ProgressLines


def test_each_epoch_says_what_it_saw_and_only_a_validation_of_its_own(trainer, task, data, capsys):
    run = trainer(ProgressLines(seconds=0), max_epochs=2, check_val_every_n_epoch=2)
    run.fit(task, datamodule=data)
    ends = [line for line in capsys.readouterr().out.splitlines() if "train/loss" in line]
    assert len(ends) == 2 and all("images/s" in line for line in ends)
    assert "val/auroc" not in ends[0] and "val/auroc" in ends[1]


def test_negative_seconds_are_refused():
    with pytest.raises(ValueError, match="seconds=-1"):
        ProgressLines(seconds=-1)
