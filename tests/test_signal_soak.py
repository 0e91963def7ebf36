"""Runs that are signalled at every stage, alone, with all their processes and as a step of Slurm, W&B on, off
and away, on one rank and on two: each ends in time, with the right code, and saved.

The test run does the chosen trials; `make soak` as many at random as SOAK_ROUNDS and SOAK_MINUTES allow.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import real_slurm
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
SUPPORT = Path(__file__).parent / "support"
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
    to: str
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
            number = signal.Signals[f"SIG{self.signal}"]
            return {told, 128 + number if self.to == "step" else -number}
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

    def run(self, folder: Path, slurm: Mapping[str, str]) -> str:
        """Faults of its ending, in words; "" where there are none."""
        folder.mkdir(parents=True)
        options = [f"--data.num_workers={self.workers}"]
        if self.stage not in ("import", "end"):
            options += ["--trainer.callbacks+=signalled.SignalAt", f"--trainer.callbacks.stage={self.stage}"]
            told = ("signal", "to", "epoch", "step", "after", "rank")
            options += [f"--trainer.callbacks.{name}={getattr(self, name)}" for name in told]
        if self.to == "step":
            codes, said = self._step(folder, options, slurm)
        elif self.stage == "import":
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
                ranks.send(signal.Signals[f"SIG{self.signal}"], self.to == "group")
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
        (os.killpg if self.to == "group" else os.kill)(run.pid, signal.Signals[f"SIG{self.signal}"])
        try:
            said, _ = run.communicate(timeout=LIMIT)
        finally:
            run.kill()
        return [run.returncode], said

    def _step(
        self, folder: Path, options: list[str], slurm: Mapping[str, str]
    ) -> tuple[list[int | None], str]:
        """The code of srun, which is the highest of its ranks."""
        name = f"soak-{folder.parent.name}-{folder.name}"
        if self.ranks > 1:
            options = [*options, "--trainer.accelerator=cpu", f"--trainer.devices={self.ranks}"]
        own = {
            **slurm,
            **WANDB[self.wandb],
            "DFD_CACHE": os.environ["DFD_CACHE"],
            "MASTER_ADDR": "127.0.0.1",
            "DFD_MAX_RESTARTS": "0",  # there is no script to start again
            "PYTHONPATH": os.pathsep.join(map(str, (Path(dfd.__file__).parents[1], SUPPORT))),
        }
        size = f"-n{self.ranks}"
        command = [
            "salloc", "-N1", size, "-J", name, "srun", size, sys.executable, "-m", "dfd.cli", *FIT, *options
        ]  # fmt: skip
        run = subprocess.Popen(
            command,
            cwd=folder,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            if self.stage in ("import", "end"):
                while not (step := _steps(name, own)) and run.poll() is None:
                    time.sleep(0.02)
                summary = RunFolder(folder / "run").summary
                while self.stage == "end" and not summary.exists() and run.poll() is None:
                    time.sleep(0.005)
                time.sleep(self.after)
                asked = ["scancel", f"--signal={self.signal}", *step]
                # a step that Slurm lists may not have begun
                while subprocess.run(asked, env=own).returncode and run.poll() is None:
                    time.sleep(0.05)
            said, _ = run.communicate(timeout=2 * LIMIT)  # with the start, in a crowd
        except subprocess.TimeoutExpired:
            return [None], "hangs"
        finally:
            subprocess.run(["scancel", "--name", name], env=own)
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


def _steps(name: str, environment: Mapping[str, str]) -> list[str]:
    """The step that srun started in the job of this name; none where it has not yet."""
    asked = ["squeue", "--steps", "--noheader", "--name", name, "--format=%i"]
    found = subprocess.run(asked, env=environment, capture_output=True, text=True).stdout.split()
    return [step for step in found if step.rpartition(".")[2].isdecimal()]


# every signal, target, stage, number of ranks and of loading processes at least once
CHOSEN = [
    Trial("sanity", "TERM", to="group"),
    Trial("validation", "TERM", to="group", workers=2),
    Trial("validation", "USR1", to="group", ranks=2),
    Trial("step", "TERM", to="group", epoch=1, workers=2),
    Trial("saving", "USR1", to="process", workers=0, wandb="disabled"),
    Trial("epoch_end", "HUP", to="group"),
    Trial("saving", "TERM", to="group", ranks=2, epoch=1),
    Trial("step", "TERM", to="process", ranks=2, rank=1),
    Trial("end", "TERM", to="group", wandb="no server"),
    Trial("validation", "TERM", to="step", ranks=2),
    Trial("step", "USR1", to="step", workers=2, wandb="disabled"),
    Trial("end", "USR1", to="step", after=0.7),
]


@pytest.fixture(autouse=True)
def toy(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path_factory.getbasetemp() / "signals-toy"))


@pytest.mark.parametrize(
    "trial", CHOSEN, ids=lambda trial: f"{trial.stage}-{trial.signal}-{trial.to}-{trial.ranks}"
)
def test_a_signalled_run_ends_with_the_right_code_and_saved(trial, tmp_path, request):
    slurm = request.getfixturevalue("slurm") if trial.to == "step" else {}
    assert not trial.run(tmp_path / "trial", slurm)


def drawn(draw: random.Random, targets: list[str]) -> Trial:
    stage = draw.choice(
        ["import", "sanity", "train_start", "step", "validation", "saving", "epoch_end", "end"]
    )
    ranks = 1 if stage in ("import", "end") else draw.choice([1, 1, 2])
    trial = Trial(
        stage,
        draw.choice(sorted(CODES)),
        to=draw.choice(targets),
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
def test_runs_that_are_signalled_at_random_all_end_with_the_right_code_and_saved(tmp_path, capsys, request):
    targets = ["process", "group", "group"]
    if without := real_slurm.missing():
        slurm, told_of = {}, f"; no step of Slurm: {without}"
    else:
        slurm, told_of = request.getfixturevalue("slurm"), ""
        targets.append("step")
    draw, begun = random.Random(SEED), time.monotonic()
    faults, done, stages, reached = [], 0, Counter(), Counter()
    while done < ROUNDS and time.monotonic() - begun < MINUTES * 60:
        trial = drawn(draw, targets)
        if fault := trial.run(tmp_path / str(done), slurm):
            faults.append(fault)
        stages[trial.stage] += 1
        reached[trial.to] += 1
        done += 1
    with capsys.disabled():
        told, by = (
            ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            for counts in (stages, reached)
        )
        print(
            f"\nsignals, seed {SEED}: {done - len(faults)} of {done} end right ({told}; to {by}{told_of})",
            *faults,
        )
    assert done and not faults, "\n".join(faults)
