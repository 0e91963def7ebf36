"""From files on disk to batches. Nothing is imported here: preparing needs no torch, training does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.data.datamodule import ShardDataModule, ToyDataModule
    from dfd.data.view import View

__all__ = ["ShardDataModule", "ToyDataModule", "View"]


def __getattr__(name: str):
    if name in ("ShardDataModule", "ToyDataModule"):
        from dfd.data import datamodule

        return getattr(datamodule, name)
    if name == "View":
        from dfd.data.view import View

        return View
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
