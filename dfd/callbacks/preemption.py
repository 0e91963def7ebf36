"""SIGTERM and SIGUSR1 in a fit: it ends its step, saves a checkpoint and can be resumed to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment

from dfd.run_record import RunFolder
from dfd.signals import REQUEUE, stop_signals

MAX_RESTARTS = "DFD_MAX_RESTARTS"


class Preempted(Exception):
    """A signal ended the run, which has saved itself.

    Args:
        checkpoint: to resume from; None where the signal came before the first step, which leaves the run
            where it began.
        requeue: whether the scheduler is to be asked to start it again.
    """

    def __init__(self, checkpoint: Path | None, requeue: bool):
        super().__init__(
            f"told to stop; saved as {checkpoint}" if checkpoint else "told to stop before its first step"
        )
        self.checkpoint, self.requeue = checkpoint, requeue

    @property
    def exit_code(self) -> int:
        """143 (128 + SIGTERM) as in a shell, or 75 ("try again"), which counts as preempted in W&B."""
        return 75 if self.requeue else 143


class Preemption(Callback):
    """Saves last.ckpt and raises Preempted on all ranks at once, soon after one of them got SIGUSR1 or
    SIGTERM.

    The cut lies before the first step or between two steps of an epoch; where gradients are accumulated,
    behind a whole window of batches. Between an epoch's last step and its validation there is none, since it
    could not be resumed exactly: what the scheduler grants must cover `every_n_batches` batches, a validation
    and a save. A run that is killed before that goes on from the checkpoint before, and ends with the same
    weights.

    Args:
        every_n_batches: how often several ranks exchange what they got; a single one looks at each step.
    """

    def __init__(self, every_n_batches: int = 8):
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches={every_n_batches}: it takes at least 1.")
        self.every_n_batches = every_n_batches
        self._listens = False
        self._group: Any = None

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        # of the connector: a single device's strategy has none
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # Lightning's own handler, which saves within the signal
        if stage == "fit":
            max_restarts()  # a wrong value is refused now, not when it is too late
            # Lightning's other handler tells the other ranks, within the signal too
            trainer._signal_connector.register_signal_handlers = lambda: None
            self._listens = stop_signals.listen()  # dfd fit has done so since it began

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.world_size > 1:
            # on the CPU, whatever the devices: a GPU would answer only after the step that it is busy with
            self._group = torch.distributed.new_group(backend="gloo")
        if asked := self._asked():
            raise Preempted(None, requeue=asked == REQUEUE)

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        # gradients that wait for the rest of an accumulation window are in no checkpoint: to its end
        window, rest = divmod(batch_idx + 1, trainer.accumulate_grad_batches)
        turns = max(1, self.every_n_batches // trainer.accumulate_grad_batches)
        if rest or (trainer.world_size > 1 and (window - 1) % turns):
            return
        asked = self._asked()
        if not asked:
            return
        path = RunFolder(trainer.default_root_dir).last
        trainer.save_checkpoint(path)
        # this step's, which would be logged after this hook
        trainer._logger_connector.update_train_step_metrics()
        trainer.strategy.barrier("preempted")  # no rank ends before it is written
        if trainer.is_global_zero and "wandb" in sys.modules and sys.modules["wandb"].run is not None:
            with suppress(Exception):  # W&B's service got the signal too, and may have ended
                sys.modules["wandb"].run.mark_preempting()
        raise Preempted(path, requeue=asked == REQUEUE)

    def _asked(self) -> int:
        """The highest request of all ranks: none, stop, or requeue. Called on all of them."""
        if self._group is None:
            return stop_signals.requested
        asked = torch.tensor([stop_signals.requested])
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(asked)

    def teardown(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        self._forget()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._listens:
            stop_signals.forget()
        self._listens = False


def max_restarts() -> int:
    """DFD_MAX_RESTARTS, or 50: a job that fails at every start must come to an end."""
    given = os.environ.get(MAX_RESTARTS) or "50"
    if not given.isdecimal():
        raise ValueError(f"{MAX_RESTARTS}={given} is no number of restarts. Use 50, or 0 for none.")
    return int(given)


def restarts_left() -> int:
    """How many times Slurm may still start this job again."""
    return max_restarts() - int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def requeue() -> str:
    """Asks Slurm to start this job again and says what it did. Call it last: it ends the job.

    A job that was started again `max_restarts` times, for whatever reason, is not any more.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return "no Slurm job: start the same command again to go on."
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if restarts_left() <= 0:
        restarts = os.environ.get("SLURM_RESTART_COUNT") or 0
        return f"job {job} was started again {restarts} times already: not requeued."
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} could not be requeued: {error}."
    return (
        f"job {job} is requeued."
        if done.returncode == 0
        else f"job {job} could not be requeued: {done.stderr.strip()}."
    )
