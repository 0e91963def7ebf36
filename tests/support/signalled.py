"""A callback that has a run signalled from outside at a chosen stage, and runs that are told so."""

from __future__ import annotations

import os
import subprocess
import time
from threading import Thread
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

STAGES = ("sanity", "train_start", "step", "validation", "saving", "epoch_end")
TARGETS = ("process", "group", "step")


class SignalAt(Callback):
    """Sends a signal once, by another process, as a scheduler or a terminal does.

    Args:
        stage: one of STAGES.
        signal: its name without SIG, such as TERM.
        to: "group", all processes of the run, loading ones and W&B's service among them, "process", this one
            alone, or "step", all that Slurm started.
        epoch: in which of the epochs.
        step: of that epoch, at stage "step".
        rank: which rank sends it; of a group it reaches all.
        after: seconds later, while the run goes on.
    """

    def __init__(
        self,
        stage: str,
        signal: str,
        to: str,
        epoch: int = 0,
        step: int = 1,
        rank: int = 0,
        after: float = 0.0,
    ):
        assert stage in STAGES and to in TARGETS
        self.stage, self.signal, self.to, self.after = stage, signal, to, after
        self.epoch, self.step, self.rank = epoch, step, rank
        self.sent = False

    def _at(self, trainer: Trainer, stage: str) -> None:
        early = stage in ("sanity", "train_start")
        here = early or (trainer.current_epoch == self.epoch and not trainer.sanity_checking)
        if self.sent or stage != self.stage or not here or trainer.global_rank != self.rank:
            return
        self.sent = True
        if self.after:
            Thread(target=self._send, daemon=True).start()
        else:
            self._send()

    def _send(self) -> None:
        time.sleep(self.after)
        if self.to == "step":
            step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
            command = ["scancel", f"--signal={self.signal}", step]
        else:
            to = -os.getpgid(0) if self.to == "group" else os.getpid()
            command = ["kill", f"-{self.signal}", "--", str(to)]
        subprocess.run(command, start_new_session=True)  # or it would get the signal too

    def on_sanity_check_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._at(trainer, "sanity")

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._at(trainer, "train_start")

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.step:
            self._at(trainer, "step")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._at(trainer, "validation")

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        self._at(trainer, "saving")

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._at(trainer, "epoch_end")
