"""What was chosen on test: said wherever such a detector is judged or used, and out of reach of a fit."""

import io
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image

from dfd.callbacks import PredictionWriter, StepSeed
from dfd.cli.trainer_options import check_callbacks
from dfd.data import ShardDataModule, View
from dfd.detector.selection import chosen_on, warning
from dfd.evaluate.warnings import flags_of
from dfd.models import SingleStream, SmallCNN
from dfd.shards.samples import NewSample, write_samples
from dfd.sweep.schema import parse_sweep
from dfd.tasks import ClassificationTask

OF_VAL = {"split": "val", "images": 40, "groups": 40}
OF_TEST = {"split": "test", "images": 40, "groups": 40, "data": "mine"}


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    made = [
        NewSample(f"{split}-{at}", picture(100 * number + at), at % 2, split, "s")
        for number, (split, count) in enumerate((("train", 16), ("val", 8), ("test", 8)))
        for at in range(count)
    ]
    write_samples(made, tmp_path / "shards", {})
    return tmp_path / "shards"


def fit(folder, roots, *callbacks):
    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(SmallCNN(width=4)))
    trainer = Trainer(
        accelerator="cpu", default_root_dir=folder, num_sanity_val_steps=0, max_epochs=2, logger=False,
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=[StepSeed(0), *callbacks],
    )  # fmt: skip
    data = ShardDataModule(str(roots), View(size=32, longest=None), batch_size=8, num_workers=0)
    trainer.fit(task, datamodule=data)
    return task, trainer, data


opened: list[str] = []
listening: list[bool] = []


def _listen(event: str, args: tuple) -> None:
    if listening and event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        opened.append(os.fsdecode(args[0]))


@pytest.fixture
def listen():
    """Notes every file that is opened; such a hook cannot be taken out again, but it can be silent."""
    if not getattr(sys, "_dfd_listens", False):
        sys.addaudithook(_listen)
        sys._dfd_listens = True
    opened.clear()
    listening.append(True)
    yield opened
    listening.clear()


@pytest.mark.parametrize("harm", ["poisoned", "deleted"])
def test_a_fit_is_the_same_whatever_the_test_shards_hold(root, tmp_path, listen, harm):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    tests = list(copy.glob("test-*.tar"))
    assert tests
    named = copy
    if harm == "deleted":  # by a pattern: a folder's own shards are to be there
        named = f"{copy}/{{train,val}}-000000.tar"
    for shard in tests:
        if harm == "deleted":
            shard.unlink()
        else:
            shard.write_bytes(os.urandom(shard.stat().st_size))
    pattern = f"{root}/{{train,val}}-000000.tar" if harm == "deleted" else root
    listen.clear()
    task, *_ = fit(tmp_path, pattern)
    other, *_ = fit(tmp_path, named)
    for name, value in task.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert (task.predictions.logit == other.predictions.logit).all()
    assert task.thresholds == other.thresholds and task.calibrated_on["split"] == "val"
    assert any("val-000000.tar" in name for name in listen)
    assert not [name for name in listen if os.path.basename(name).startswith("test-0")]


def test_a_callback_that_reaches_for_test_is_refused(root, tmp_path):
    class Peeks(Callback):
        def on_train_epoch_end(self, trainer, task):
            next(iter(trainer.datamodule.test_dataloader()))

    with pytest.raises(ValueError, match="the test split is not shown within a fit"):
        fit(tmp_path, root, Peeks())
    with pytest.raises(ValueError, match=r"EarlyStopping of test/auroc.* take val/auroc"):
        check_callbacks([EarlyStopping("test/auroc")], saves=True)
    sweep = {"method": "grid", "metric": {"name": "test/auroc", "goal": "maximize"}, "parameters": {}}
    with pytest.raises(ValueError, match="chooses on test pictures"):
        parse_sweep(sweep)


@pytest.mark.parametrize(
    ("calibrated_on", "selected_on", "chosen"),
    [
        (OF_VAL, "val/auroc (best so far, split: val, step 4)", []),
        (None, None, []),
        (OF_TEST, "val/auroc (best so far, split: val, step 4)", ["calibration and thresholds"]),
        (OF_VAL, "test/auroc (best so far, split: test, step 4)", ["checkpoint"]),
        (OF_TEST, "test/auroc", ["calibration and thresholds", "checkpoint"]),
        (OF_VAL, "nothing: the last weights, of step 9", []),
    ],
)
def test_what_was_chosen_on_test(calibrated_on, selected_on, chosen):
    assert chosen_on("test", calibrated_on, selected_on) == chosen
    said = warning("test", calibrated_on, selected_on)
    assert bool(said) == bool(chosen) and all(each in said for each in chosen)
    facts = {
        "calibrated_on": calibrated_on, "selected_on": selected_on, "split": "test", "num_chosen_on": 0,
        "num_trained_on": 0, "speaks": True, "leaks": "", "limit": None,
    }  # fmt: skip
    assert ("chosen" in flags_of(facts)) == bool(chosen)


def test_a_checkpoint_that_was_calibrated_on_test_is_said_to_be_by_dfd_test(root, tmp_path, capsys):
    task, trainer, data = fit(tmp_path, root)
    trainer.callbacks.append(PredictionWriter())
    trainer.test(task, datamodule=data, verbose=False)
    assert "CHOSEN ON TEST" not in capsys.readouterr().out
    task.calibrated_on = {**task.calibrated_on, "split": "test"}
    trainer.test(task, datamodule=data, verbose=False)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "CHOSEN ON TEST: calibration and thresholds come from the test split of shards. These figures do not"
        in said
    )


def test_a_planted_leak_is_said_in_whatever_split_and_root_it_lies(root, tmp_path, capsys):
    """Three training pictures and two that chose the net, byte for byte, under other names in another root."""
    leaked = [picture(at) for at in range(3)] + [picture(100 + at) for at in range(2)]
    made = [NewSample(f"new-{at}", picture(900 + at), at % 2, "test", "t") for at in range(3)]
    made += [NewSample(f"old-{at}", data, at % 2, "test", "t") for at, data in enumerate(leaked)]
    write_samples(made, tmp_path / "others", {})
    task, trainer, _ = fit(tmp_path, root)
    trainer.callbacks.append(PredictionWriter())
    data = ShardDataModule(str(tmp_path / "others"), View(size=32, longest=None), num_workers=0)
    trainer.test(task, datamodule=data, verbose=False)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "SEEN BEFORE: 3 of these 8 images trained it, 2 of these 8 images chose its epoch and thresholds"
        in said
    )
