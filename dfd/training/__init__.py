"""Around the Trainer: run folder, resume, loggers, durable checkpoints, FSDP2 and SyncBatchNorm."""

from dfd.training.fsdp import FullyShardedStrategy

__all__ = ["FullyShardedStrategy"]
