"""Per-step seeding, so that a resumed run draws the same numbers."""

import logging
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

_log = logging.getLogger(__name__)


class StepSeed(Callback):
    """Makes what a training step draws (dropout, dropped streams, starts of attacks) a function of (seed,
    rank, step) alone.

    A run that is cut and resumed then draws what it would have drawn. A step is a batch: under gradient
    accumulation each has draws of its own. Other numbers of threads or ranks add up otherwise, in the last
    bits: a run that goes on with others says so.

    Args:
        seed: any number from 0 up.
    """

    def __init__(self, seed: int = 0):
        if seed < 0:
            raise ValueError(f"seed={seed} is negative. Use 0 or more.")
        self.seed, self._ranks = seed, 1

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        self._ranks = trainer.world_size

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, **self._adders()}

    def _adders(self) -> dict[str, int]:
        """How many add up what a step sums."""
        return {"threads": torch.get_num_threads(), "ranks": self._ranks}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        if state_dict["seed"] != self.seed:
            raise ValueError(
                f"seed_everything is {self.seed}, was {state_dict['seed']} when the checkpoint was made: the "
                f"run would not end as it began. Use --seed_everything={state_dict['seed']}, or train anew "
                "in another run folder."
            )
        now = self._adders()
        # a checkpoint of an earlier version does not say
        changes = [
            f"{now[name]} {name}, was {state_dict[name]}"
            for name in now
            if state_dict.get(name, now[name]) != now[name]
        ]
        if changes:
            _warn(
                f"the run goes on with {'; '.join(changes)}: it will not end as the undisturbed one, "
                "to the bit. OMP_NUM_THREADS sets the threads."
            )

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        entropy = np.random.SeedSequence((self.seed, trainer.global_rank, step))
        seed = int(entropy.generate_state(1, np.uint64)[0])
        if task.device.type == "cpu":
            # torch.manual_seed writes the stack down for each kind of device that is not there: .4 ms
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)


@rank_zero_only
def _warn(text: str) -> None:
    _log.warning(text)
