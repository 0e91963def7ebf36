"""Throughput: images a second, the loader's share of a step, and the time left."""

from __future__ import annotations

import time

from lightning.pytorch import Trainer


class Throughput:
    """Images/s and the loader's share over the steps since `restart`; a callback tells it of its hooks.

    What passes from the end of a step to the start of the next counts as the loader's: fetching the batch,
    bringing it to the device, and the Trainer's own work between steps, some milliseconds.
    """

    def __init__(self) -> None:
        self._validation = 0.0  # seconds of the last one
        self._ended: float | None = None
        self.restart()

    def restart(self) -> None:
        self.images, self.steps, self.seconds, self._waited = 0, 0, 0.0, 0.0

    def step_begins(self) -> None:
        self._began = time.monotonic()

    def step_ends(self, images: int) -> None:
        """`images` of all ranks."""
        now = time.monotonic()
        # else the first step of all, or after a validation: where it began to wait is not known
        if self._ended is not None:
            self._waited += self._began - self._ended
            self.seconds += now - self._ended
            self.images, self.steps = self.images + images, self.steps + 1
        self._ended = now

    def validation_begins(self) -> None:
        self._ended, self._validated = None, time.monotonic()

    def validation_ends(self) -> None:
        self._validation = time.monotonic() - self._validated

    @property
    def images_per_second(self) -> float | None:
        return self.images / self.seconds if self.seconds else None

    @property
    def loader_share(self) -> float | None:
        return self._waited / self.seconds if self.seconds else None

    def seconds_left(self, trainer: Trainer) -> float | None:
        """Of the whole fit, validations included; None where it has no end, or nothing was measured yet."""
        if not self.steps:
            return None
        progress = trainer.fit_loop.epoch_loop.batch_progress.total
        per_epoch, ends = trainer.num_training_batches, []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(trainer.max_epochs * per_epoch)
        if trainer.max_steps >= 0:
            ends.append(trainer.max_steps * trainer.accumulate_grad_batches)
        if not ends:
            return None
        left = max(0, min(ends) - progress.ready)
        every = per_epoch * (trainer.check_val_every_n_epoch or 1)
        return left * self.seconds / self.steps + self._validation * -(-left // every)

    def words(self, trainer: Trainer) -> dict[str, str]:
        """What is known, each as a person reads it: images/s, loader, left."""
        left = self.seconds_left(trainer)
        facts = {
            "images/s": None if not self.seconds else f"{self.images_per_second:.0f}",
            "loader": None if not self.seconds else f"{self.loader_share:.0%}",
            "left": None if left is None else clock(left),
        }
        return {name: value for name, value in facts.items() if value is not None}


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
