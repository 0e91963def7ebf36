"""Eval mode of a net for a while: no dropout, no gathered statistics; each module gets its own mode back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[nn.Module]:
    """The net without dropout and without gathering statistics; parts that were frozen stay so afterwards."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield net
    finally:
        for module in training:
            module.training = True
