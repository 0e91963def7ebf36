"""Progress for logs: one plain line now and then, where a bar would draw itself a thousand times."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class ProgressLines(Callback):
    """Prints epoch, step, loss and images/s at most every `seconds`, and the epoch's validation when it ends. Rank 0 speaks.

    Args:
        seconds: between two lines within an epoch.
        metric: shown at the end of an epoch.
    """

    def __init__(self, seconds: float = 30.0, metric: str = "val/auroc"):
        if seconds < 0:
            raise ValueError(f"seconds={seconds} between two lines is negative. Use 30, or 0 for a line a batch.")
        self.seconds, self.metric = seconds, metric
        self._images = 0
        self._start = self._said = 0.0
        self._trained_at = ""  # images/s up to the validation, which counts no images

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch["label"]) * trainer.world_size
        if self._due():
            loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
            step = f"step {batch_idx + 1}/{trainer.num_training_batches}"
            self._say(trainer, f"{_epoch(trainer)}  {step}  loss {loss:.4f}  {self._speed()}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trained_at = self._speed()
        self._said = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = ("train/loss", "val/loss", self.metric) if self._trained_at else ("train/loss",)  # not an older validation's
        seen = {name: trainer.callback_metrics[name] for name in names if name in trainer.callback_metrics}
        facts = "  ".join(f"{name} {float(value):.4f}" for name, value in seen.items())
        self._say(
            trainer, f"{_epoch(trainer)}  {facts}  {self._trained_at or self._speed()}  {time.monotonic() - self._start:.0f} s"
        )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any) -> None:
        self._judged(trainer, "validated", trainer.num_val_batches, *step, **kwargs)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any) -> None:
        self._judged(trainer, "tested", trainer.num_test_batches, *step, **kwargs)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any) -> None:
        self._judged(trainer, "predicted", trainer.num_predict_batches, *step, **kwargs)

    def _judged(
        self, trainer: Trainer, done: str, num_batches: list, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._due() and not trainer.sanity_checking:
            self._say(trainer, f"{done} {batch_idx + 1}/{num_batches[dataloader_idx]} batches")

    def _restart(self) -> None:
        self._images, self._start, self._trained_at = 0, time.monotonic(), ""
        self._said = self._start

    def _due(self) -> bool:
        return time.monotonic() - self._said >= self.seconds

    def _speed(self) -> str:
        return f"{self._images / max(1e-9, time.monotonic() - self._start):.0f} images/s"

    def _say(self, trainer: Trainer, line: str) -> None:
        self._said = time.monotonic()
        if trainer.is_global_zero:
            print(line, flush=True)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}" + (f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else "")
