"""Interrupted runs end with the weights, the metrics and the choice of the best epoch of the undisturbed one,
to the bit.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ranks import dfd

import dfd as dfd_package

pytestmark = pytest.mark.slow
EPOCHS, STEPS = 2, 5  # of 32 images each: 160 of the toy set's training pictures
TOY = [
    "--data.num_images=240",
    "--data.picture=96",
    "--data.view.size=64",
    "--data.view.longest=96",
    "--data.view.crops=1",
]
COMMON = [
    "fit", "--config", "dual_stream", *TOY, "--trainer.max_epochs", str(EPOCHS),
    "--trainer.limit_train_batches", str(STEPS),
    "--trainer.limit_val_batches=1.0", "--trainer.log_every_n_steps=1",
    "--model.net.rgb.width=8", "--model.net.fft.width=8", "--model.net.drop_fft=.5",
    "--model.ema_decay=.9", "--config", "{here}/quick.yaml",
]  # fmt: skip
QUICK = """
trainer:
  accelerator: cpu
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {monitor: val/auroc, mode: max, filename: best, auto_insert_metric_name: false,
        enable_version_counter: false}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: last, enable_version_counter: false}
    - {class_path: interrupter.Interrupter}
    - {class_path: dfd.callbacks.Preemption, init_args: {every_n_batches: 1}}
"""
INTERRUPTER = '''
import os, signal
from lightning.pytorch import Callback

class Interrupter(Callback):
    """Sends its process a signal as a step of the run begins, once; and writes down what each step shows."""

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        with open(os.path.join(trainer.default_root_dir, f"ledger-{trainer.global_rank}"), "a") as ledger:
            print(trainer.global_step, trainer.world_size, *batch["row"].tolist(), file=ledger)
        step, name, rank = os.environ.get("AT", "-1 SIGTERM 0").split()
        done = os.path.join(trainer.default_root_dir, "interrupted")
        if trainer.global_step == int(step) and trainer.global_rank == int(rank) and not os.path.exists(done):
            open(done, "w").close()
            os.kill(os.getpid(), getattr(signal, name))
'''

PAIR = ["--config", "overlay/ddp.yaml"]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    (folder / "quick.yaml").write_text(QUICK)
    (folder / "interrupter.py").write_text(INTERRUPTER)
    return folder


def fit(here: Path, run: str, *options: str, at: str = "", code: int = 0, world: int = 1) -> str:
    """What a run of `world` forked ranks says that ends with `code`; AT a step it sends itself a signal."""
    command = (*(part.format(here=here) for part in COMMON), "--run_folder", run, *options)
    return dfd(*command, cwd=here, world=world, code=code, timeout=300, **environment(here, at))


def launch(here: Path, run: str, at: str = "") -> subprocess.CompletedProcess:
    """The same as two ranks that `dfd fit` starts itself."""
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        *(part.format(here=here) for part in COMMON),
        "--run_folder",
        run,
    ]
    command += PAIR
    return subprocess.run(
        command, cwd=here, env=os.environ | environment(here, at), capture_output=True, text=True, timeout=300
    )


def environment(here: Path, at: str) -> dict[str, str]:
    path = f"{Path(dfd_package.__file__).parents[1]}:{here}"
    return {"DFD_CACHE": str(here / "cache"), "WANDB_MODE": "disabled", "PYTHONPATH": path} | (
        {"AT": at} if at else {}
    )


def outcome(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], str]:
    """Weights and buffers at the end, every line of metrics.csv, and what the best checkpoint rests on."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    with open(run / "metrics.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    return (
        last["state_dict"],
        lines,
        f"{best['global_step']} {best['dfd']['selected_on']} {best['dfd']['calibration']}",
    )


def assert_same(one: Path, other: Path) -> None:
    (weights, metrics, chosen), (others, other_metrics, other_chosen) = outcome(one), outcome(other)
    assert weights.keys() == others.keys()
    different = [name for name in weights if not torch.equal(weights[name], others[name])]
    assert not different, f"{len(different)} of {len(weights)} tensors differ, first {different[0]}"
    assert metrics == other_metrics
    assert chosen == other_chosen


@pytest.fixture(scope="module")
def undisturbed(here) -> Path:
    fit(here, "whole")
    return here / "whole"


# the first step, the second, the middle, the last but one, the last of an epoch; the second epoch's first and
# middle
EVERYWHERE = [0, 1, 2, 3, 4, 5, 7]
# as SIGTERM goes
SIGNALS = {"SIGTERM": (143, EVERYWHERE), "SIGKILL": (-signal.SIGKILL, EVERYWHERE), "SIGUSR1": (75, [2, 4])}


@pytest.mark.parametrize(
    ("name", "code", "step"),
    [(name, code, step) for name, (code, steps) in SIGNALS.items() for step in steps],
)
def test_a_cut_run_ends_as_the_undisturbed_one(here, undisturbed, name, code, step):
    run = f"{name}-{step}"
    fit(here, run, f"--data.num_workers={step % 2 * 2}", at=f"{step} {name} 0", code=code)
    again = fit(here, run, f"--data.num_workers={step % 2 * 2}")
    assert ("goes on from" in again) == (name != "SIGKILL" or step >= STEPS)
    assert_same(here / run, undisturbed)


@pytest.fixture(scope="module")
def undisturbed_pair(here) -> Path:
    fit(here, "whole-pair", *PAIR, world=2)
    return here / "whole-pair"


@pytest.mark.parametrize(("step", "name", "code"), [(2, "SIGTERM", 143), (4, "SIGUSR1", 75)])
def test_two_ranks_of_which_one_is_told(here, undisturbed_pair, step, name, code):
    """The signal reaches rank 1 alone; both leave, in seconds, and go on together."""
    run = f"pair-{name}-{step}"
    start = time.monotonic()
    assert "told to stop; saved as" in fit(here, run, *PAIR, at=f"{step} {name} 1", code=code, world=2)
    assert time.monotonic() - start < 120
    assert "goes on from" in fit(here, run, *PAIR, world=2)
    assert_same(here / run, undisturbed_pair)


def test_two_ranks_of_which_one_is_killed(here, undisturbed_pair):
    """`dfd fit`, which started it, leaves in seconds; however ranks are started, they go on to the same end."""
    start = time.monotonic()
    cut = launch(here, "pair-killed", at="7 SIGKILL 1")
    assert cut.returncode not in (0, None), cut.stdout[-1000:]
    assert time.monotonic() - start < 120
    assert "goes on from" in fit(here, "pair-killed", *PAIR, world=2)
    assert_same(here / "pair-killed", undisturbed_pair)


def test_ranks_may_come_and_go(here, undisturbed):
    """Eight ranks, then two, then eight, within one epoch and into the next: the order is the single
    process's.
    """
    for world, at, code in ((8, "1 SIGTERM 5", 143), (2, "3 SIGTERM 0", 143), (8, "", 0)):
        (here / "eight" / "interrupted").unlink(missing_ok=True)
        fit(
            here,
            "eight",
            *PAIR,
            "--data.num_workers=0",
            at=at,
            code=code,
            world=world,
        )
    expected = ledger(undisturbed)
    assert (
        ledger(here / "eight") == expected
        and [world for _, world, _ in sorted(lines(here / "eight", 0))] == [8] * 2 + [2] * 2 + [8] * 6
    )
    for epoch in range(EPOCHS):
        rows = [row for step in range(STEPS) for row in expected[epoch * STEPS + step]]
        assert len(rows) == len(set(rows)) == 32 * STEPS


def lines(run: Path, rank: int) -> list[tuple[int, int, list[int]]]:
    """(step, ranks, rows) of each step that a rank began."""
    split = [
        [int(number) for number in line.split()] for line in (run / f"ledger-{rank}").read_text().splitlines()
    ]
    return [(step, world, rows) for step, world, *rows in split]


def ledger(run: Path) -> dict[int, list[int]]:
    """step -> rows of its global batch, in order: ranks take turns. A step that two runs began was cut before
    it counted.
    """
    parts: dict[int, dict[int, tuple[int, list[int]]]] = {}
    for path in run.glob("ledger-*"):
        rank = int(path.name.split("-")[1])
        for step, world, rows in lines(run, rank):
            parts.setdefault(step, {})[rank] = world, rows
    shown = {}
    for step, ranks in parts.items():
        world = max(world for world, _ in ranks.values())
        shown[step] = [
            row for turn in zip(*(ranks[rank][1] for rank in range(world)), strict=True) for row in turn
        ]
    return shown
