"""Progress of a run: a bar on a terminal, elsewhere a plain line a minute."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from dfd.callbacks.throughput import Throughput
from dfd.terminal import commanding


class ProgressLines(Callback):
    """Prints epoch, step, loss, images/s, the loader's share of the step and the time left at most every
    `seconds`, and the epoch's validation when it ends. Rank 0 speaks.

    Args:
        seconds: between two lines within an epoch.
        metric: shown at the end of an epoch.
    """

    def __init__(self, seconds: float = 60.0, metric: str = "val/auroc"):
        if seconds < 0:
            raise ValueError(
                f"seconds={seconds} between two lines is negative. Use 60, or 0 for a line a batch."
            )
        self.seconds, self.metric = seconds, metric
        # since the last line, and since the epoch's start
        self._pace, self._whole = (Throughput(), Throughput())
        self._start = self._said = 0.0
        self._validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()  # a run that goes on within an epoch does not start it

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def _begin(self) -> None:
        self._start = self._said = time.monotonic()
        self._validated = False
        self._whole.restart()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for pace in (self._pace, self._whole):
            pace.step_begins()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for pace in (self._pace, self._whole):
            pace.step_ends(len(batch["label"]) * trainer.world_size)
        if self._due():
            loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
            step = f"step {batch_idx + 1}/{trainer.num_training_batches}"
            self._say(trainer, f"{_epoch(trainer)}  {step}  loss {loss:.4f}{_facts(self._pace, trainer)}")
            self._pace.restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = time.monotonic()
        for pace in (self._pace, self._whole):
            pace.validation_begins()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = True
        for pace in (self._pace, self._whole):
            pace.validation_ends()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # not an older validation's
        names = ("train/loss", "val/loss", self.metric) if self._validated else ("train/loss",)
        seen = {name: trainer.callback_metrics[name] for name in names if name in trainer.callback_metrics}
        facts = "".join(f"  {name} {float(value):.4f}" for name, value in seen.items())
        took = time.monotonic() - self._start
        self._say(trainer, f"{_epoch(trainer)}{facts}{_facts(self._whole, trainer)}  took {took:.0f} s")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = time.monotonic()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = time.monotonic()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any
    ) -> None:
        self._judged(trainer, "validated", trainer.num_val_batches, *step, **kwargs)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any
    ) -> None:
        self._judged(trainer, "tested", trainer.num_test_batches, *step, **kwargs)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *step: Any, **kwargs: Any
    ) -> None:
        self._judged(trainer, "predicted", trainer.num_predict_batches, *step, **kwargs)

    def _judged(
        self,
        trainer: Trainer,
        done: str,
        num_batches: list,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._due() and not trainer.sanity_checking:
            self._say(trainer, f"{done} {batch_idx + 1}/{num_batches[dataloader_idx]} batches")

    def _due(self) -> bool:
        return time.monotonic() - self._said >= self.seconds

    def _say(self, trainer: Trainer, line: str) -> None:
        self._said = time.monotonic()
        if trainer.is_global_zero:
            print(line, flush=True)


class TerminalBar(RichProgressBar):
    """Lightning's bar, with images/s, the loader's share of the step and the time left of the whole fit
    beside the loss.

    They are brought up to date once a second: to show a loss is to wait for the step that a GPU is busy with.
    """

    def __init__(self) -> None:
        super().__init__(leave=True, console_kwargs={"file": commanding(sys.stdout)})
        self._pace = Throughput()
        self._shown: dict[str, Any] = {}
        self._asked = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._pace.step_begins()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pace.step_ends(len(batch["label"]) * trainer.world_size)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._pace.validation_begins()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._pace.validation_ends()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        if not trainer.training or time.monotonic() - self._asked >= 1:
            self._asked = time.monotonic()
            known = super().get_metrics(trainer, pl_module)
            known.pop("v_num", None)
            self._shown = {**known, **self._pace.words(trainer)}
            if self._pace.seconds > 10:  # what it shows is of the last seconds
                self._pace.restart()
        return self._shown


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}" + (
        f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
    )


def _facts(pace: Throughput, trainer: Trainer) -> str:
    """ "  70 images/s  loader 4%  0:12:30 left", as far as it is known."""
    order = {"images/s": "{} images/s", "loader": "loader {}", "left": "{} left"}
    known = pace.words(trainer)
    return "".join(f"  {text.format(known[name])}" for name, text in order.items() if name in known)
