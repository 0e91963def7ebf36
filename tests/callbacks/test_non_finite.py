"""Steps that are not finite leave no trace but a count and the keys of their batch, on any number of ranks."""

import copy
import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning import Callback
from ranks import dfd
from torch.utils.data import DataLoader

from dfd.callbacks import FiniteGuard, FreezeThenUnfreeze, StepSeed, non_finite
from dfd.data import ShardDataModule, View
from dfd.models import Discriminator, Generator, SingleStream, SmallCNN
from dfd.shards.samples import NewSample, write_samples
from dfd.tasks import ClassificationTask, GANTask


class Poison(Callback):
    """Makes the pictures of some batches infinite, or the gradients of some backward passes NaN."""

    def __init__(self, batches=(), gradients=()):
        self.batches, self.gradients = batches, gradients
        self.before, self.after = [], []

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        self.before.append(state(trainer, task))
        if step_of(trainer) in self.batches:
            batch["image"][1, 0, 2, 3] = float("inf")

    def on_after_backward(self, trainer, task):
        if step_of(trainer) in self.gradients:
            next(task.net.parameters()).grad[0] = float("nan")

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.after.append(state(trainer, task))


def step_of(trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1


def state(trainer, task):
    return copy.deepcopy(
        {"net": task.net.state_dict(), "optimizer": trainer.optimizers[0].state_dict()["state"]}
    )


def same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other)


def make_task(fused=False, **options):
    torch.manual_seed(0)
    optimizer = lambda weights: torch.optim.AdamW(weights, lr=1e-2, fused=fused)  # noqa: E731
    return ClassificationTask(SingleStream(SmallCNN(width=8)), optimizer, **options)


def fit(trainer, data, poison, *callbacks, task=None, **options):
    task = task or make_task()
    run = trainer(poison, *callbacks, limit_val_batches=0, **options)
    run.fit(task, datamodule=data)
    return task, run


def keys(folder):
    with (folder / "not_finite.csv").open(newline="") as file:
        return [(int(line["step"]), line["what"], line["key"]) for line in csv.DictReader(file)]


def test_without_the_guard_one_bad_batch_is_the_end(trainer, data):
    """What the others are up against."""
    task, _ = fit(trainer, data, Poison(batches=[1]), task=make_task(ema_decay=0.9))
    assert not all(torch.isfinite(value).all() for value in task.state_dict().values())


@pytest.mark.parametrize("poison", [{"batches": [1, 5]}, {"gradients": [1, 5]}], ids=str)
@pytest.mark.usefixtures("messages_on_stderr")
def test_a_bad_step_leaves_weights_optimizer_and_buffers_as_they_were(
    trainer, data, tmp_path, capsys, poison
):
    poison = Poison(**poison)
    guard = FiniteGuard()
    task, _ = fit(trainer, data, poison, guard, task=make_task(ema_decay=0.9))
    assert all(
        torch.isfinite(value.double()[~torch.isinf(value)]).all()
        for value in task.average.state_dict().values()
    )
    assert all(torch.isfinite(value).all() for value in task.net.state_dict().values())
    for step, (before, after) in enumerate(zip(poison.before, poison.after, strict=True)):
        skipped = step in (1, 5)
        assert same(before["optimizer"], after["optimizer"]) == skipped
        weights = dict(task.net.named_parameters())
        assert all(torch.equal(before["net"][name], after["net"][name]) for name in weights) == skipped
        if poison.batches:
            assert same(before, after) == skipped
    assert guard.state_dict() == {"in_a_row": 0, "total": 2}
    found = keys(tmp_path)
    what = "loss" if poison.batches else "gradients"
    assert found[:6] == [(1, what, f"key{row}") for row in range(6, 12)] and {step for step, *_ in found} == {
        1,
        5,
    }
    said = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert (
        len(said) == 2
        and "WARNING: step 1 is skipped" in said[0]
        and "key6, key7, key8 and 3 more" in said[0]
    )


@pytest.mark.parametrize("poison", [{"batches": [2]}, {"gradients": [2, 3]}], ids=str)
def test_a_fused_optimizer_that_is_told_on_the_device_comes_to_the_same(
    trainer, data, tmp_path, monkeypatch, poison
):
    outcomes = []
    for late in (False, True):
        monkeypatch.setattr(non_finite, "_runs_ahead", lambda value, late=late: late)
        guard = FiniteGuard()
        task, _ = fit(trainer, data, Poison(**poison), guard, task=make_task(fused=True, ema_decay=0.9))
        outcomes.append((task.state_dict(), guard.state_dict(), keys(tmp_path)))
        (tmp_path / "not_finite.csv").unlink()
    (weights, *known), (late_weights, *late_known) = outcomes
    assert same(weights, late_weights) and known == late_known
    assert all(torch.isfinite(value).all() for name, value in weights.items() if name.startswith("net."))


def test_of_accumulated_batches_one_bad_one_skips_the_step_of_all(trainer, data, tmp_path):
    poison = Poison(batches=[2])
    task, _ = fit(trainer, data, poison, FiniteGuard(), accumulate_grad_batches=2, max_epochs=1)
    assert same(poison.before[2]["net"], task.net.state_dict()), "the step of the third and fourth batch"
    assert not same(poison.before[0]["net"], poison.before[2]["net"])
    assert len(keys(tmp_path)) == 6 + 2, "those of both batches"


def test_steps_in_a_row_end_the_run_and_are_counted_across_a_resume(trainer, data, tmp_path):
    guard = FiniteGuard(max_in_a_row=2)
    message = r"3 steps in a row were not finite .NaN or Inf., the last one step 3, whose batch holds key18, key19;.*not_finite.csv"
    with pytest.raises(ValueError, match=message):
        fit(trainer, data, Poison(batches=[1, 2, 3]), guard)
    assert guard.state_dict() == {"in_a_row": 3, "total": 3}
    resumed = FiniteGuard(max_total=5)
    resumed.load_state_dict({"in_a_row": 0, "total": 5})
    with pytest.raises(ValueError, match="6 steps were not finite"):
        fit(trainer, data, Poison(batches=[0]), resumed)


class Save(Callback):
    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if step_of(trainer) == 3:
            trainer.save_checkpoint("cut.ckpt")


@pytest.mark.parametrize("late", [False, True])
def test_a_run_that_is_resumed_after_a_bad_step_ends_as_the_undisturbed_one(
    trainer, tmp_path, monkeypatch, late
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(non_finite, "_runs_ahead", lambda value: late)
    noise = np.random.default_rng(0).integers(0, 255, (32, 40, 40, 3), dtype=np.uint8)
    pictures = [cv2.imencode(".png", each)[1].tobytes() for each in noise]
    splits = ["train"] * 24 + ["val"] * 8
    write_samples(
        [NewSample(f"n{i}", picture, i % 2, splits[i], "s") for i, picture in enumerate(pictures)],
        Path("shards"),
        {},
    )

    def run(*callbacks, checkpoint=None):
        guard, task = FiniteGuard(), make_task(fused=True, ema_decay=0.9)
        data = ShardDataModule("shards", View(size=32, crops=1, longest=None), batch_size=4, num_workers=0)
        fit = trainer(
            StepSeed(0),
            Poison([2], [3, 8]),
            guard,
            *callbacks,
            limit_val_batches=0,
            use_distributed_sampler=False,
        )
        fit.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return task.state_dict(), guard.state_dict()

    weights, counted = run(Save())
    assert torch.load("cut.ckpt", weights_only=True)["callbacks"]["FiniteGuard"] == {
        "in_a_row": 2,
        "total": 2,
    }
    assert counted == {"in_a_row": 0, "total": 3}
    resumed, counted_again = run(checkpoint="cut.ckpt")
    assert same(weights, resumed) and counted == counted_again


def test_weights_that_are_held_are_no_cause_for_alarm(trainer, data):
    guard = FiniteGuard(max_total=0)
    fit(trainer, data, Poison(), FreezeThenUnfreeze(["net.backbone"], epochs=1), guard)
    assert guard.state_dict() == {"in_a_row": 0, "total": 0}


def test_both_nets_of_a_gan_are_spared(trainer, tmp_path):
    torch.manual_seed(0)
    task = GANTask(Generator(64, width=2, latent=8), Discriminator(64, width=4))
    image = torch.rand(3, 4, 3, 64, 64)
    image[1, 0, 0, 0, 0] = float("nan")
    batches = [
        {
            "image": each,
            "label": torch.zeros(4, dtype=torch.int64),
            "row": torch.arange(4),
            "valid": torch.ones(4, dtype=torch.bool),
        }
        for each in image
    ]
    trainer(FiniteGuard(), max_epochs=1).fit(task, DataLoader(batches, batch_size=None))
    assert all(torch.isfinite(value).all() for value in task.state_dict().values())
    assert keys(tmp_path) == [(1, "loss", f"row {row}") for row in range(4)]


@pytest.mark.parametrize("wrong", [{"max_in_a_row": -1}, {"max_total": -1}])
def test_negative_limits_are_refused(wrong):
    with pytest.raises(ValueError, match=r"is negative. Use 0 to end the run at the first"):
        FiniteGuard(**wrong)


POISONED = '''
import torch
from lightning.pytorch import Callback

class Poison(Callback):
    """Makes a picture of rank 1 infinite in some steps, and keeps each rank's weights."""

    def __init__(self, steps: list[int]):
        self.steps = steps

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step in self.steps:
            batch["image"][0, 0, 0, 0] = float("inf")

    def on_train_end(self, trainer, task):
        torch.save(task.state_dict(), f"rank{trainer.global_rank}.pt")
'''
PAIR = [
    "fit", "--config", "small_cnn", "--config", "overlay/smoke", "--config", "overlay/ddp", "--data.num_images=120",
    "--data.picture=96", "--data.view.size=32", "--data.view.longest=96", "--data.view.crops=1", "--model.ema_decay=.9",
    "--trainer.limit_train_batches=6", "--trainer.callbacks=[]", "--trainer.callbacks+=poisoned.Poison",
]  # fmt: skip


@pytest.mark.slow
def test_two_ranks_of_which_one_is_poisoned_skip_together_and_stay_equal(tmp_path):
    (tmp_path / "poisoned.py").write_text(POISONED)

    def fit(run: str, steps: str, code: int = 0) -> str:
        options = [f"--trainer.callbacks.steps={steps}", "--run_folder", run]
        environment = {"WANDB_MODE": "disabled", "DFD_CACHE": str(tmp_path / "cache")}
        return dfd(*PAIR, *options, cwd=tmp_path, world=2, code=code, **environment)

    said = fit("run", "[1,4]")
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one if name.startswith("net.")
    )
    assert all(
        torch.isfinite(value).all() for name, value in one.items() if not name.startswith("thresholds")
    )
    assert said.count("is skipped: its loss is not finite") == 2
    with (tmp_path / "run/not_finite.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 4 and {line["rank"] for line in lines} == {"1"}, (
        "the guilty rank's pictures alone"
    )

    said = fit("other", "[0,1,2,3,4,5]", code=1)
    assert said.count("6 steps in a row were not finite") == 1 and "Traceback" not in said
