"""Several real processes against one: the same images, the same order, the same numbers."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import dfd
from small import SMALL_TOY

import dfd as dfd_package
from dfd.detector import load_net

pytestmark = pytest.mark.slow
FIT = ["fit", "--config", "small_cnn", "--config", "overlay/smoke.yaml", *SMALL_TOY]
STATES = '''
import torch
from lightning.pytorch import Callback


class States(Callback):
    """Writes down what this rank holds: after each step what is trained, after each validation the buffers too."""

    def setup(self, trainer, task, stage):
        self.held = {}

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        at = f"{trainer.current_epoch}.{batch_idx}"
        self.held |= {f"{at} {name}": value.detach().clone() for name, value in task.named_parameters()}
        for number, state in enumerate(trainer.optimizers[0].state.values()):
            self.held |= {f"{at} optimizer {number} {name}": value.clone() for name, value in state.items()}

    def on_validation_end(self, trainer, task):
        at = f"{trainer.current_epoch}.val"
        self.held |= {f"{at} {name}": value.clone() for name, value in task.named_buffers()}
        fitted = [task.calibration.temperature, *task.thresholds.values()]
        self.held[f"{at} temperature and thresholds"] = torch.tensor(fitted, dtype=torch.float64)

    def on_fit_end(self, trainer, task):
        torch.save(self.held, f"states-{trainer.global_rank}.pt")
'''


def metrics(folder: Path) -> dict[str, str]:
    """The last value of each metric, as it was written."""
    with (folder / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    return {name: line[name] for line in lines for name in line if "/" in name and line[name]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFD_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        dfd(*FIT, "--model.net.backbone.width=8", "--run_folder", "one", cwd=folder)
        yield folder


# 12 images in batches of 5, 5 and 2: one rank more than the other; one batch each; one rank without any
@pytest.mark.parametrize("world", [2, 3, 4])
def test_any_number_of_ranks_judges_as_one_does(run, world):
    # two of the three batches
    attack = ["--trainer.callbacks+=dfd.callbacks.AttackStats", "--trainer.callbacks.num_images=6"]
    attack += ["--trainer.callbacks.attack={class_path: dfd.augment.FGSM, init_args: {eps: 1}}"]
    eval_net = ["validate", "one/checkpoints/last.ckpt", "--data.batch_size=25", *attack, "--run_folder"]
    if not (run / "alone").exists():
        dfd(*eval_net, "alone", cwd=run)
    dfd(*eval_net, f"ranks-{world}", world=world, cwd=run)
    alone = metrics(run / "alone")
    assert alone["val/num_images"] == "12.0" and "val/robust_acc" in alone
    for file in ("metrics.csv", "predictions-val.csv"):  # all digits of each logit, to the bit
        assert (run / f"ranks-{world}" / file).read_bytes() == (run / "alone" / file).read_bytes()


def test_a_fit_of_two_ranks_judges_the_net_that_it_saves(run):
    """Even where it validates within an accumulation window: there DDP leaves each rank statistics of its
    own.
    """
    options = [
        "--trainer.limit_train_batches=7",
        "--trainer.accumulate_grad_batches=4",
        "--trainer.limit_val_batches=1.0",
    ]
    dfd(*FIT, *options, "--trainer.val_check_interval=6", "--run_folder", "pair", world=2, cwd=run)
    dfd("validate", "pair/checkpoints/last.ckpt", "--run_folder", "pair-alone", cwd=run)
    during, after = (metrics(run / name) for name in ("pair", "pair-alone"))
    judged = [name for name in during if name.startswith("val/")]
    assert len(judged) > 10 and {name: during[name] for name in judged} == {
        name: after[name] for name in judged
    }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_hold_one_net_while_parts_are_frozen_and_after(run, accumulate):
    (run / "states.py").write_text(STATES)
    freeze = [
        "--trainer.callbacks+=dfd.callbacks.FreezeThenUnfreeze",
        "--trainer.callbacks.modules=[net.backbone]",
    ]
    options = ["--trainer.max_epochs=3", "--trainer.limit_train_batches=3", "--model.ema_decay=.9"]
    options += [
        *freeze,
        "--trainer.callbacks+=states.States",
        f"--trainer.accumulate_grad_batches={accumulate}",
    ]
    dfd(*FIT, *options, "--run_folder", f"frozen-{accumulate}", world=2, cwd=run)
    first, second = (torch.load(run / f"states-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert (
        first.keys() == second.keys()
        and [name for name in first if not torch.equal(first[name], second[name])] == []
    )
    assert {name.split()[0] for name in first if "val" in name} == {"0.val", "1.val", "2.val"}
    kinds = ("net.backbone", "average.module", "optimizer", "running_mean", "temperature")
    assert all(any(kind in name for name in first) for kind in kinds)
    weight = "net.backbone.stem.0.weight"
    assert torch.equal(first[f"0.0 {weight}"], first[f"0.2 {weight}"]), "held in the first epoch"
    assert not torch.equal(first[f"0.2 {weight}"], first[f"2.2 {weight}"]), "and trained after it"


def test_two_ranks_train_one_net(run):
    """As a user starts them: `dfd fit` launches the second rank itself."""
    command = [sys.executable, "-m", "dfd.cli", *FIT, "--config", "overlay/ddp.yaml", "--run_folder", "two"]
    done = subprocess.run(command, cwd=run, capture_output=True, text=True, timeout=300, env=dict(os.environ))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("run folder: two") == 2, "said at the start and at the end, by one rank"
    _, card = load_net(run / "two/checkpoints/last.ckpt")
    assert card.calibrated_on["images"] == 4, "two batches of one image (five crops) on each of two ranks"


@pytest.mark.parametrize("devices", [1, 4])
def test_torchrun_with_another_number_of_processes_is_refused_once(devices, tmp_path, forked):
    command = [*forked, "-m", "torch.distributed.run", "--nproc_per_node=2", "--no-python"]
    command += [*forked, "-m", "dfd.cli", *FIT]
    command += ["--trainer.accelerator=cpu", f"--trainer.devices={devices}", "--run_folder=run"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(Path(dfd_package.__file__).parents[1])},
    )
    assert done.returncode == 1
    has = "1 rank (1 device on 1 node)" if devices == 1 else "4 ranks (4 devices on 1 node)"
    assert done.stderr.count("dfd fit: ") == 1
    assert f"dfd fit: torchrun says 2 processes, and the Trainer has {has}" in done.stderr
    assert not (tmp_path / "run").exists()
