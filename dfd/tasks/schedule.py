"""Learning-rate schedule: linear warm-up, then a cosine to zero, as a function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer


def cosine_with_warmup(step: int, total: float, warmup: float) -> float:
    """Factor in (0, 1] on the peak learning rate at `step` of `total`: linear over a share `warmup`, then a
    cosine to zero.
    """
    if not math.isfinite(total):
        return 1.0
    rise = warmup * total
    if step < rise:
        return linear_warmup(step, total, warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise))))


def linear_warmup(step: int, total: float, warmup: float) -> float:
    """Factor in (0, 1] at `step` of `total`, which rises over a share `warmup` of them and then stays."""
    return min(1.0, (step + 1) / (warmup * total + 1))


def total_steps(trainer: Trainer) -> float:
    """Optimizer steps of the whole run; infinite where the Trainer has no end."""
    steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    endless = trainer.max_epochs is None or trainer.max_epochs < 0
    epochs = math.inf if endless else trainer.max_epochs
    return min(epochs * steps, trainer.max_steps if trainer.max_steps >= 0 else math.inf)
