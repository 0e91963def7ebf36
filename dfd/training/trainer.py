"""Lightning's Trainer: ranks end together where a checkpoint cannot be saved; last weights are judged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import ModelCheckpoint

from dfd.training.fit_loop import EpochLoop, FitLoop

# seconds in which rank 0 says what happened: the first rank that ends takes the others with it
HEAD_START = 3


def num_devices(devices: list[int] | str | int, accelerator: str) -> int:
    """How many devices a Trainer takes on each node, and so how many ranks it has there."""
    if isinstance(devices, (list, tuple)):
        return len(devices)
    text = str(devices).strip(" ,")
    if text in ("auto", "-1"):
        here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        if accelerator in ("auto", "gpu"):
            accelerator = next(name for name, found in here.items() if found)
        return AcceleratorRegistry.get(accelerator).auto_device_count()
    # "0,1" and "0," are numbers of devices, "2" is how many
    return len(text.split(",")) if "," in str(devices) else int(text)


class Trainer(LightningTrainer):
    """The Trainer of `dfd fit`.

    Attributes:
        saved: path of each checkpoint of this process -> `FitLoop.moment` at which it was saved last.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not hasattr(self, "val_check_interval"):  # a time, which Lightning's callbacks look for here
            self.val_check_interval = None
        self.saved: dict[str, tuple[int, int]] = {}
        made = self.fit_loop
        self.fit_loop = FitLoop(self, made.min_epochs, made.max_epochs)
        self.fit_loop.epoch_loop = EpochLoop(self, made.min_steps, made.max_steps)

    @property
    def chooser(self) -> ModelCheckpoint | None:
        """The callback that has chosen the best checkpoint by a metric, where one has."""
        for callback in self.checkpoint_callbacks:
            monitored = getattr(callback, "monitor", None) and callback.best_model_score is not None
            if monitored and callback.best_model_path:
                return callback
        return None

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        """Saves on rank 0 and returns on all ranks once that is done; called on all of them.

        In Lightning's, the others wait at a barrier for a rank 0 that has failed: over NCCL, half an hour.

        Raises:
            OSError: rank 0 could not save. The other ranks leave with SystemExit(1).
        """
        with self.profiler.profile("save_checkpoint"):
            checkpoint = self._checkpoint_connector.dump_checkpoint(bool(weights_only))
            fault: Exception | None = None
            try:
                self.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
            except Exception as error:
                fault = error
            failed = self.strategy.broadcast(fault is not None)
        if fault is not None:
            raise fault
        self.saved[str(Path(filepath).absolute())] = self.fit_loop.moment
        if failed:
            time.sleep(HEAD_START)
            raise SystemExit(1)
