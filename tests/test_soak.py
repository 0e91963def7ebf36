"""Runs of two ranks that are told to go, killed, or lose their disk at random moments: none hangs, all end as
if undisturbed.

The test run does 3 rounds, `make soak` many. SOAK_ROUNDS, SOAK_MINUTES and SOAK_SEED choose others.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.soak]
ROUNDS = int(os.environ.get("SOAK_ROUNDS") or 3)
MINUTES = float(os.environ.get("SOAK_MINUTES") or 90)
SEED = int(os.environ.get("SOAK_SEED") or 0)
LIMIT = (
    240  # seconds, on a machine busy with other things, to begin and do a step, or to end one, save and leave
)
FIT = [
    "fit", "--config", "small_cnn", "--config", "overlay/ddp", "--data.num_images=240", "--data.picture=96",
    "--data.view.size=64", "--data.view.longest=96", "--data.view.crops=1", "--data.batch_size=8",
    "--model.net.backbone.width=8", "--trainer.max_epochs=4", "--trainer.enable_model_summary=false",
    "--trainer.callbacks+=dfd.callbacks.ProgressLines", "--trainer.callbacks.seconds=0",  # a line a step
]  # fmt: skip
ENDS = {"SIGTERM": 143, "SIGUSR1": 75}
FULL, READ_ONLY = "disk full", "folder read-only"


class Run:
    """Two ranks as srun starts them: side by side, and ended together once one of them ends badly."""

    def __init__(self, here: Path, folder: Path, workers: int):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ours = {
            "DFD_CACHE": here / "cache",
            "WANDB_MODE": "disabled",
            "PYTHONFAULTHANDLER": 1,
            "TORCHELASTIC_RUN_ID": "soak",
        }
        ours |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": 2,
            "LOCAL_WORLD_SIZE": 2,
            "GROUP_RANK": 0,
        }
        environment = {**os.environ, **{name: str(value) for name, value in ours.items()}}
        command = [
            sys.executable,
            "-m",
            "dfd.cli",
            *FIT,
            f"--run_folder={folder}",
            f"--data.num_workers={workers}",
        ]
        self.log = (here / f"{folder.name}.log").open("ab")
        self.begin = self.log.tell()
        self.ranks = [
            subprocess.Popen(
                command,
                cwd=here,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,  # a group of processes, with its workers
            )
            for rank in (0, 1)
        ]

    def ended(self, seconds: float) -> bool:
        """Whether all ranks end within that time."""
        end = time.monotonic() + seconds
        while any(code is None for code in self.codes()) and time.monotonic() < end:
            if any(self.codes()):
                self.send(signal.SIGKILL, (0, 1), group=True)
            time.sleep(0.02)
        return None not in self.codes()

    def steps(self) -> int:
        """How many it has said that it did."""
        with open(self.log.name, "rb") as log:
            log.seek(self.begin)
            return log.read().count(b" step ")

    def ended_before(self, steps: int) -> bool:
        """Waits until it has done so many steps; whether it ended before."""
        end, seen = time.monotonic() + LIMIT, 0
        while (now := self.steps()) < steps and not self.ended(0.05):
            if now > seen:
                end, seen = time.monotonic() + LIMIT, now
            if time.monotonic() > end:
                raise TimeoutError(f"{self.log.name}: no step in {LIMIT} s")
        return None not in self.codes()

    def codes(self) -> list[int | None]:
        return [rank.poll() for rank in self.ranks]

    def send(self, number: signal.Signals, ranks: tuple[int, ...], group: bool) -> None:
        for rank in ranks:
            if self.ranks[rank].poll() is None:
                (os.killpg if group else os.kill)(self.ranks[rank].pid, number)

    def close(self) -> None:
        self.send(signal.SIGKILL, (0, 1), group=True)
        for rank in self.ranks:
            rank.wait(20)
        self.log.close()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def disk(tmp_path) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a disk of its own, of 32 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    own = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True
        ).returncode
        == 0
    )
    yield folder, own
    if own:
        subprocess.run(["umount", "--lazy", folder], check=True)


def spoil(disk: Path, how: str) -> None:
    """Fills it, or makes it read-only for root too, under a run that uses it."""
    if how == READ_ONLY:
        subprocess.run(["mount", "--bind", disk, disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
        return
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass


def mend(disk: Path, how: str) -> None:
    if how == READ_ONLY:
        subprocess.run(["umount", "--lazy", disk], check=True)
    else:
        (disk / "filler").unlink()


@pytest.mark.timeout(MINUTES * 60 + 600)
def test_no_run_hangs_whatever_happens_when(tmp_path, disk, capsys):
    draw = random.Random(SEED)
    begun = time.monotonic()
    disk, own = disk
    whole = Run(tmp_path, tmp_path / "whole", workers=1)
    assert whole.ended(300) and whole.codes() == [0, 0], (tmp_path / "whole.log").read_text()[-3000:]
    whole.close()
    takes = time.monotonic() - begun
    sent: Counter[str] = Counter()
    faults: list[str] = []
    finished = 0

    def finish(run: Run) -> None:
        nonlocal finished
        run.close()
        one, other = weights(tmp_path / "whole"), weights(disk / f"run{finished}")
        if not all(torch.equal(one[name], other[name]) for name in one):
            faults.append(f"run{finished} ended with other weights")
        shutil.rmtree(disk / f"run{finished}")
        finished += 1

    while sent.total() < ROUNDS and time.monotonic() - begun < MINUTES * 60:
        run = Run(tmp_path, disk / f"run{finished}", workers=draw.randint(0, 1))
        fault = draw.choice(["SIGUSR1", "SIGTERM", "SIGKILL", *([FULL, READ_ONLY] if own else [])])
        ranks, group = draw.choice([(0,), (1,), (0, 1)]), draw.random() < 0.5
        try:
            begins = draw.random() < 0.3  # as it starts, or in training, validation or saving
            try:
                done = (
                    run.ended(draw.uniform(0.2, takes)) if begins else run.ended_before(draw.randint(1, 40))
                )
            except TimeoutError as error:
                faults.append(str(error))
                run.send(signal.SIGABRT, (0, 1), group=False)  # where they stand, into the log
                time.sleep(3)
                continue
            if done or run.ended(draw.uniform(0, 0.2)):
                if any(run.codes()):
                    faults.append(f"run{finished} ended of itself with {run.codes()}")
                else:
                    finish(run)
                continue
            sent[fault] += 1
            if fault in (FULL, READ_ONLY):
                spoil(disk, fault)
                ended = run.ended(LIMIT)
                mend(disk, fault)
            else:
                run.send(signal.Signals[fault], ranks, group)
                ended = run.ended(LIMIT)
            if not ended:
                faults.append(f"run{finished} hangs after {fault} to ranks {ranks}")
                run.send(signal.SIGABRT, (0, 1), group=False)
                time.sleep(3)
            elif run.codes() == [0, 0]:
                finish(run)
            elif (
                fault in ENDS and run.codes()[0] != ENDS[fault] and -signal.Signals[fault] not in run.codes()
            ):
                # the latter: it was killed as Python started
                faults.append(f"run{finished} ended with {run.codes()} after {fault} to ranks {ranks}")
        finally:
            run.close()
    run = Run(tmp_path, disk / f"run{finished}", workers=0)
    if run.ended(LIMIT + takes) and not any(run.codes()):
        finish(run)
    else:
        faults.append(f"run{finished} does not go on to its end: {run.codes()}")
        run.close()
    told = ", ".join(f"{count} {name}" for name, count in sorted(sent.items()))
    with capsys.disabled():
        print(
            f"\nsoak, seed {SEED}: {sent.total()} rounds in {time.monotonic() - begun:.0f} s ({told}); ",
            end="",
        )
        print(f"{finished} runs ended as the undisturbed one; faults: {faults or 'none'}")
    assert sent and not faults, (
        (tmp_path / f"run{finished}.log").read_text()[-6000:] if faults else "nothing was sent"
    )
