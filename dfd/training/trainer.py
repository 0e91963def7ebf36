"""Lightning's Trainer, whose ranks end together where a checkpoint cannot be saved, and whose last epoch is
always judged.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer as LightningTrainer

HEAD_START = (
    3  # seconds in which rank 0 says what happened: the first rank that ends takes the others with it
)


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
