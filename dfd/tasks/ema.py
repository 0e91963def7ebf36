"""EMA: exponential moving average of weights, of sharded ones too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def moving_average(decay: float) -> Callable[..., None]:
    """For AveragedModel(multi_avg_fn=...): an exponential moving average; of sharded weights each rank
    averages its share.
    """
    update = get_ema_multi_avg_fn(decay)

    def average(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        update(
            *(
                [each.to_local() if hasattr(each, "to_local") else each for each in part]
                for part in (averaged, current)
            ),
            num_averaged,
        )

    return average


def rising_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """For `AveragedModel`: an exponential moving average whose decay rises to `decay`, to forget the first
    weights soon.
    """

    def update(average: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        num = int(num_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + num) / (10 + num)))(average, current, num_averaged)

    return update
