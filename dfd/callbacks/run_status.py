"""Progress of a run (epoch, step, best metric, images/s), written to run.json for `dfd runs`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dfd import run_record
from dfd.callbacks.throughput import Throughput
from dfd.energy import EnergyMeter


class RunStatus(Callback):
    """Writes epoch, step, best metric, images/s, and the time and energy spent to run.json of the run folder,
    once a minute and after each epoch.

    Only where `dfd fit` has begun such a record; it also writes there how the run ended.

    Args:
        metric: whose best value is kept, the higher the better.
        seconds: between two updates within an epoch.
    """

    def __init__(self, metric: str = "val/auroc", seconds: float = 60.0):
        if seconds < 0:
            raise ValueError(f"seconds={seconds} between two words is negative. Use 60.")
        self.metric, self.seconds = metric, seconds
        self._throughput, self._updated = Throughput(), 0.0
        self._best: float | None = None
        self._spent: Spending | None = None

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        endless = trainer.max_epochs is None or trainer.max_epochs < 0
        before = run_record.read(Path(trainer.default_root_dir))
        self._best = before.best if before is not None and before.metric == self.metric else None
        self._spent = Spending(before, EnergyMeter(_gpus(trainer)))
        self._update(
            trainer,
            ranks=trainer.world_size,
            epochs=None if endless else trainer.max_epochs,
            metric=self.metric,
        )

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._throughput.step_begins()

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._throughput.step_ends(len(batch["label"]) * trainer.world_size)
        self._update_when_due(trainer)

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._throughput.validation_begins()

    def on_validation_batch_end(
        self, trainer: Trainer, task: LightningModule, *step: Any, **kwargs: Any
    ) -> None:
        self._update_when_due(trainer)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._throughput.validation_ends()
        value = trainer.callback_metrics.get(self.metric)
        if value is None or trainer.sanity_checking:
            return
        if self._best is None or float(value) > self._best:
            self._best = float(value)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        # an epoch that a limit cut short is none that has finished
        whole = trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        self._update(trainer, epoch=trainer.current_epoch + whole)

    def _update_when_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self._updated >= self.seconds:
            self._update(trainer)

    def _update(self, trainer: Trainer, **more: Any) -> None:
        self._updated = time.monotonic()
        if not trainer.is_global_zero:
            return
        if (speed := self._throughput.images_per_second) is not None:
            more["images_per_second"] = round(speed, 1)
        if self._spent is not None:
            more |= self._spent.facts()
        if self._throughput.seconds > 10:
            self._throughput.restart()
        run_record.note(Path(trainer.default_root_dir), step=trainer.global_step, best=self._best, **more)


class Spending:
    """Time and energy of a run, with those of its earlier starts."""

    def __init__(self, before: run_record.Record | None, meter: EnergyMeter):
        self._seconds = 0.0 if before is None else before.seconds
        # of earlier starts whose energy nobody counted the whole is not known
        self._joules = before.joules if before is not None and before.seconds else 0.0
        self._began, self._meter = time.monotonic(), meter

    def facts(self) -> dict[str, float]:
        """Of the fields `seconds` and `joules` of the record those that are known."""
        known = {"seconds": round(self._seconds + time.monotonic() - self._began, 1)}
        spent = self._meter.joules()
        if spent is None or self._joules is None:
            return known
        return known | {"joules": round(self._joules + spent, 1)}


def _gpus(trainer: Trainer) -> tuple[int, ...]:
    """NVML's numbers of the GPUs of this machine that the run computes on."""
    if trainer.strategy.root_device.type != "cuda":
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not chosen:
        return tuple(trainer.device_ids)
    names = [name.strip() for name in chosen.split(",")]
    if not all(name.isdecimal() for name in names):  # of a part of a GPU, or by UUID: which one is not known
        return ()
    return tuple(int(names[number]) for number in trainer.device_ids)
