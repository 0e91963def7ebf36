"""Around the Trainer: run folder, resume, loggers, durable checkpoints, FSDP2 and SyncBatchNorm."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.training.fsdp import FullyShardedStrategy
    from dfd.training.wandb_logger import TolerantWandbLogger

__all__ = ["FullyShardedStrategy", "TolerantWandbLogger"]


def __getattr__(name: str) -> object:
    """At the first use: `dfd sync`, which needs a file of this package, shall not wait for torch."""
    if name == "FullyShardedStrategy":
        from dfd.training.fsdp import FullyShardedStrategy

        return FullyShardedStrategy
    if name == "TolerantWandbLogger":
        from dfd.training.wandb_logger import TolerantWandbLogger

        return TolerantWandbLogger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
