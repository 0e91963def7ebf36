"""Per-step seeding, so that a resumed run draws the same numbers."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Makes what a training step draws (dropout, dropped streams, starts of attacks) a function of (seed,
    rank, step) alone.

    A run that is cut and resumed then draws what it would have drawn. A step is a batch: under gradient
    accumulation each has draws of its own.

    Args:
        seed: any number from 0 up.
    """

    def __init__(self, seed: int = 0):
        if seed < 0:
            raise ValueError(f"seed={seed} is negative. Use 0 or more.")
        self.seed = seed

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        if state_dict["seed"] != self.seed:
            raise ValueError(
                f"seed_everything is {self.seed}, was {state_dict['seed']} when the checkpoint was made: the "
                f"run would not end as it began. Use --seed_everything={state_dict['seed']}, or train anew "
                "in another run folder."
            )

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        torch.manual_seed(
            int(
                np.random.SeedSequence((self.seed, trainer.global_rank, step)).generate_state(1, np.uint64)[0]
            )
        )
