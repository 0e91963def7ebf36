"""Lightning's Trainer: ranks end together where a checkpoint cannot be saved; the last epoch is validated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.callbacks import ModelCheckpoint

# seconds in which rank 0 says what happened: the first rank that ends takes the others with it
HEAD_START = 3


class Trainer(LightningTrainer):
    """The Trainer of `dfd fit`."""

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """1 in the last epoch, or the net that a run ends with would neither be judged nor saved."""
        ends = self.max_epochs is not None and 0 <= self.max_epochs <= self.current_epoch + 1
        return 1 if ends and self._every_n_epochs is not None else self._every_n_epochs

    @check_val_every_n_epoch.setter
    def check_val_every_n_epoch(self, epochs: int | None) -> None:
        self._every_n_epochs = epochs

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
            checkpoint = self._checkpoint_connector.dump_checkpoint(weights_only)
            fault: Exception | None = None
            try:
                self.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
            except Exception as error:
                fault = error
            failed = self.strategy.broadcast(fault is not None)
        if fault is not None:
            raise fault
        if failed:
            time.sleep(HEAD_START)
            raise SystemExit(1)
