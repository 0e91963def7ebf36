"""Runs that are signalled at every stage, alone and with all their processes, W&B on, off and away, on one rank
and on two: each ends in time, with the right code, and saved.

The test run does the chosen trials; `make soak` as many at random as SOAK_ROUNDS and SOAK_MINUTES allow.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ranks import Ranks
from small import SMALL

import dfd
from dfd import run_record
from dfd.run_record import RunFolder
from dfd.training.resume import resumable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="macOS cannot say who sent a signal"),
]
ROUNDS = int(os.environ.get("SOAK_ROUNDS") or 4)
MINUTES = float(os.environ.get("SOAK_MINUTES") or 90)
SEED = int(os.environ.get("SOAK_SEED") or 0)
LIMIT = 120  # seconds from the signal to the end, on a machine that is busy with other things
CODES = {"TERM": 143, "HUP": 143, "USR1": 75}
WANDB = {
    "offline": {"WANDB_MODE": "offline"},
    "disabled": {"WANDB_MODE": "disabled"},
    "no server": {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "k" * 40},
}
EPOCHS = 2
FIT = [
    "fit", "--config", "small_cnn", "--config", "overlay/cpu", *SMALL, "--data.view.crops=1", "--data.batch_size=4",
    "--model.net.backbone.width=4", f"--trainer.max_epochs={EPOCHS}", "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=2", "--run_folder=run",
]  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Who is told what, and when: `signalled.SignalAt`, and import and end, which no callback sees."""

    stage: str
    signal: str
    group: bool
    ranks: int = 1
    workers: int = 1
    wandb: str = "offline"
    epoch: int = 0
    step: int = 1
    after: float = 0.0
    rank: int = 0

    @property
    def codes(self) -> set[int]:
        """What the run may end with."""
        told = CODES[self.signal]
        if self.stage == "import":  # Python itself has not begun to listen
            return {told, -signal.Signals[f"SIG{self.signal}"]}
        if self.stage == "end":
            return {0}
        if self.stage in ("sanity", "train_start"):
            return {told}
        if self.epoch < EPOCHS - 1:
            return {told}
        if self.stage != "step":
            return {0}  # its last step is done: it ends as it would have
        # several ranks ask one another every eight steps, and an epoch has six
        return {0, told} if self.ranks > 1 or self.after else {told}

    def run(self, folder: Path) -> str:
        """Faults of its ending, in words; "" where there are none."""
        folder.mkdir(parents=True)
        options = [f"--data.num_workers={self.workers}"]
        if self.stage not in ("import", "end"):
            options += ["--trainer.callbacks+=signalled.SignalAt", f"--trainer.callbacks.stage={self.stage}"]
            options += [f"--trainer.callbacks.{name}={getattr(self, name)}" for name in ("signal", "epoch")]
            options += [
                f"--trainer.callbacks.{name}={getattr(self, name)}" for name in ("step", "after", "rank")
            ]
            options += [f"--trainer.callbacks.group={str(self.group).lower()}"]
        if self.stage == "import":
            codes, said = self._import(folder, options)
        else:
            codes, said = self._ranks(folder, options)
        if faults := self._faults(folder / "run", codes):
            return f"{self}: {codes}: {faults}\n{said[-3000:]}"
        return ""

    def _ranks(self, folder: Path, options: list[str]) -> tuple[list[int | None], str]:
        with Ranks([*FIT, *options], folder, self.ranks, WANDB[self.wandb]) as ranks:
            if self.stage == "end":
                summary = RunFolder(folder / "run").summary
                while not (summary.exists() or ranks.ended(0.01)):
                    pass
                time.sleep(self.after)
                ranks.send(signal.Signals[f"SIG{self.signal}"], self.group)
            ranks.ended(LIMIT)
            return ranks.codes(), ranks.said()

    def _import(self, folder: Path, options: list[str]) -> tuple[list[int | None], str]:
        environment = {**os.environ, **WANDB[self.wandb]}
        environment["PYTHONPATH"] = str(Path(dfd.__file__).parents[1])
        run = subprocess.Popen(
            [sys.executable, "-m", "dfd.cli", *FIT, *options],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        time.sleep(self.after)
        (os.killpg if self.group else os.kill)(run.pid, signal.Signals[f"SIG{self.signal}"])
        try:
            said, _ = run.communicate(timeout=LIMIT)
        finally:
            run.kill()
        return [run.returncode], said

    def _faults(self, run: Path, codes: list[int | None]) -> str:
        if None in codes:
            return "hangs"
        if codes[0] not in self.codes or any(codes[1:]):
            return f"the right code is {self.codes}, and 0 of other ranks"
        record = run_record.read(run)
        if codes[0] == 0:
            done = record is not None and record.state == "done" and RunFolder(run).summary.exists()
            return "" if done else "it ends as if done"
        saved = resumable(RunFolder(run).checkpoints)
        if self.stage in ("import", "sanity", "train_start"):
            return "it leaves a folder without a step" if run.exists() else ""
        if saved is None or record is None or record.state != "preempted":
            return f"not saved: {saved}, {record}"
        return ""


# every signal, target, stage, number of ranks and of loading processes at least once
CHOSEN = [
    Trial("sanity", "TERM", group=True),
    Trial("validation", "TERM", group=True, workers=2),
    Trial("validation", "USR1", group=True, ranks=2),
    Trial("step", "TERM", group=True, epoch=1, workers=2),
    Trial("saving", "USR1", group=False, workers=0, wandb="disabled"),
    Trial("epoch_end", "HUP", group=True),
    Trial("saving", "TERM", group=True, ranks=2, epoch=1),
    Trial("step", "TERM", group=False, ranks=2, rank=1),
    Trial("end", "TERM", group=True, wandb="no server"),
]


@pytest.fixture(autouse=True)
def toy(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path_factory.getbasetemp() / "signals-toy"))


@pytest.mark.parametrize("trial", CHOSEN, ids=lambda trial: f"{trial.stage}-{trial.signal}-{trial.ranks}")
def test_a_signalled_run_ends_with_the_right_code_and_saved(trial, tmp_path):
    assert not trial.run(tmp_path / "trial")


def drawn(draw: random.Random) -> Trial:
    stage = draw.choice(
        ["import", "sanity", "train_start", "step", "validation", "saving", "epoch_end", "end"]
    )
    ranks = 1 if stage in ("import", "end") else draw.choice([1, 1, 2])
    trial = Trial(
        stage,
        draw.choice(sorted(CODES)),
        group=draw.random() < 0.7,
        ranks=ranks,
        workers=draw.randint(0, 2),
        wandb=draw.choice(["offline", "offline", *WANDB]),
        epoch=draw.randrange(EPOCHS),
        step=draw.randint(0, 4),
        rank=draw.randrange(ranks),
    )
    longest = {"import": 4.0, "end": 1.0, "saving": 0.03, "step": 0.02, "validation": 0.02}.get(stage, 0.0)
    return replace(trial, after=draw.choice([0.0, draw.uniform(0, longest)]))


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_runs_that_are_signalled_at_random_all_end_with_the_right_code_and_saved(tmp_path, capsys):
    draw, begun = random.Random(SEED), time.monotonic()
    faults, done, stages = [], 0, Counter()
    while done < ROUNDS and time.monotonic() - begun < MINUTES * 60:
        trial = drawn(draw)
        if fault := trial.run(tmp_path / str(done)):
            faults.append(fault)
        stages[trial.stage] += 1
        done += 1
    with capsys.disabled():
        told = ", ".join(f"{count} {stage}" for stage, count in sorted(stages.items()))
        print(f"\nsignals, seed {SEED}: {done - len(faults)} of {done} end right ({told})")
    assert done and not faults, "\n".join(faults)
