"""FSDP2 as a strategy that one line of YAML turns on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.distributed.constants import default_pg_timeout

from dfd.models.seal import check_whole


class FullyShardedStrategy(ModelParallelStrategy):
    """Every rank holds a share of weights, gradients and optimizer state (FSDP2), of tasks whose
    `configure_model` shards them.

    Lightning's strategy with three settings made: all ranks share the data, none computes a part of a layer;
    a checkpoint is the one file that any other strategy writes and reads; it is read only where it is whole.

    Args:
        process_group_backend: "gloo" or "nccl"; by the device where left out.
        timeout: of what the ranks do together.

    Raises ValueError for a task that cannot be sharded, and for sync_batchnorm, which Lightning would leave
    out.
    """

    def __init__(self, process_group_backend: str | None = None, timeout: timedelta = default_pg_timeout):
        super().__init__("auto", 1, False, process_group_backend, timeout)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        if not is_overridden("configure_model", self.lightning_module):
            raise ValueError(
                f"{type(self.lightning_module).__name__} cannot be sharded. Use --trainer.strategy=ddp for "
                "it."
            )
        if self._layer_sync is not None:
            raise ValueError(
                "trainer.sync_batchnorm has no effect on sharded nets. Leave it out, or use "
                "--trainer.strategy=ddp."
            )
        super().setup_environment()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        check_whole(Path(checkpoint_path))
        return super().load_checkpoint(checkpoint_path, weights_only=True)
