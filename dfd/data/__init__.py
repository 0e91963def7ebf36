"""Training data: from shards to batches. Nothing is imported until it is asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.data.datamodule import ShardDataModule
    from dfd.data.toy import ToyDataModule
    from dfd.media.crops import View

__all__ = ["ShardDataModule", "ToyDataModule", "View"]


def __getattr__(name: str):
    if name == "ShardDataModule":
        from dfd.data.datamodule import ShardDataModule

        return ShardDataModule
    if name == "ToyDataModule":
        from dfd.data.toy import ToyDataModule

        return ToyDataModule
    if name == "View":
        from dfd.media.crops import View

        return View
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
