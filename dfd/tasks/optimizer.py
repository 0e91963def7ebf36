"""Optimizer factory type, and re-applying its settings after a resume."""

from collections.abc import Callable, Iterable

import torch

OptimizerCallable = Callable[[Iterable], torch.optim.Optimizer]


def renew(optimizer: torch.optim.Optimizer, make: OptimizerCallable) -> None:
    """Gives an optimizer the settings that `make` gives now, and keeps its state.

    A checkpoint brings an optimizer's settings back with its state, over what the command line says.
    """
    fresh = make([{"params": group["params"]} for group in optimizer.param_groups])
    for group, now in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({name: value for name, value in now.items() if name != "params"})
