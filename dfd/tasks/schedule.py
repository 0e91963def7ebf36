"""Learning-rate schedule: linear warm-up, then a cosine to zero, as a function of the step."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, total: float, warmup: float) -> float:
    """Factor in (0, 1] on the peak learning rate at `step` of `total`: linear over a share `warmup`, then a
    cosine to zero.
    """
    if not math.isfinite(total):
        return 1.0
    rise = warmup * total
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise))))
