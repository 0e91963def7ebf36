"""A run that is told to go: it finishes its step, saves itself, and can be resumed to the bit.

Slurm warns a job by SIGUSR1 some minutes before its time is up (`sbatch --signal=SIGUSR1@180`) and ends one by SIGTERM. A
handler that saves, or talks to other ranks, hangs half of the runs of two ranks; here it sets a flag, and the ranks ask one
another for it between two steps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment

STOP, REQUEUE = 1, 2  # what a signal asks for; the most that any rank heard counts
_ASKS = {signal.SIGTERM: STOP, signal.SIGUSR1: REQUEUE}


class Preempted(Exception):
    """The run was told to go and has saved itself.

    Args:
        checkpoint: to go on from.
        requeue: whether the scheduler is to be asked to start it again.
    """

    def __init__(self, checkpoint: Path, requeue: bool):
        super().__init__(f"told to stop; saved as {checkpoint}")
        self.checkpoint, self.requeue = checkpoint, requeue

    @property
    def exit_code(self) -> int:
        """128 + SIGTERM, as a shell has it, or 75, "try again", which W&B takes for preempted and not for finished."""
        return 75 if self.requeue else 143


class Preemption(Callback):
    """Saves last.ckpt and raises Preempted on all ranks at once, soon after one of them got SIGUSR1 or SIGTERM.

    The cut lies between two steps of an epoch. Between its last step and its validation there is none, since it could not be
    resumed exactly: so what the scheduler grants must cover `every_n_batches` steps, a validation and a save. A run that is
    killed before that goes on from the checkpoint before, and ends with the same weights.

    Args:
        every_n_batches: how often several ranks ask one another; a single one looks at each step.
    """

    def __init__(self, every_n_batches: int = 8):
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches={every_n_batches}: it takes at least 1.")
        self.every_n_batches = every_n_batches
        self._heard = 0
        self._process = 0
        self._before: dict[signal.Signals, Any] = {}
        self._group: Any = None

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        environment = trainer._accelerator_connector.cluster_environment  # a single device's strategy has none
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # Lightning's own handler, which saves within the signal

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._heard, self._process = 0, os.getpid()
        for number in _ASKS:  # after Lightning has set its own
            self._before[number] = signal.signal(number, self._hear)
        if trainer.world_size > 1:
            # on the CPU, whatever the devices: to ask a GPU would be to wait for the step it is busy with
            self._group = torch.distributed.new_group(backend="gloo")

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process:  # decoding processes inherit the handler, and end with their parent
            self._heard = max(self._heard, _ASKS[signal.Signals(number)])

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last or (trainer.world_size > 1 and batch_idx % self.every_n_batches):
            return
        told = self._heard
        if self._group is not None:
            asked = torch.tensor([told])
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self._group)
            told = int(asked)
        if not told:
            return
        path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path)
        trainer.strategy.barrier("preempted")  # no rank leaves before it is written
        if trainer.is_global_zero and "wandb" in sys.modules and sys.modules["wandb"].run is not None:
            sys.modules["wandb"].run.mark_preempting()
        raise Preempted(path, requeue=told == REQUEUE)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)


def requeue(max_restarts: int = 50) -> str:
    """Asks Slurm to start this job again; says what came of it. Call it last: it ends the job.

    Args:
        max_restarts: a job that was started again this often is not any more.
    """
    job, restarts = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    if job is None:
        return "no Slurm job: start the same command again to go on."
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if restarts >= max_restarts:
        return f"job {job} was started again {restarts} times already: not requeued."
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} could not be requeued: {error}."
    return f"job {job} is requeued." if done.returncode == 0 else f"job {job} could not be requeued: {done.stderr.strip()}."
