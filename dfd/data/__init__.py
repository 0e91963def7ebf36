"""Training data: from shards to batches. Nothing is imported until it is asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.data.datamodule import ShardDataModule
    from dfd.data.toy import ToyDataModule
    from dfd.data.webdataset_pipeline import stream_webdataset
    from dfd.media.crops import View

__all__ = ["ShardDataModule", "ToyDataModule", "View", "stream_webdataset"]


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
    if name == "stream_webdataset":
        from dfd.data.webdataset_pipeline import stream_webdataset

        return stream_webdataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
