"""Several ranks: gathering objects, shared BatchNorm statistics, and FSDP2 sharding of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning import LightningModule
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule

BLOCK = 1_000_000  # weights from which a block is gathered by itself, and not with the rest of its net


def gather_objects(mine: Any) -> list[Any]:
    """What every rank gives, in the order of the ranks; of one process its own. Called on all ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def sum_over_ranks(value: Tensor) -> Tensor:
    """A copy of the tensor, summed over all ranks. Called on all ranks."""
    value = value.clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return value


def share_buffers(task: LightningModule) -> None:
    """Gives every rank the buffers of rank 0: BatchNorm's statistics above all, which each rank gathers from
    its own pictures.

    DDP does so at the start of a training step, but not of each step under gradient accumulation; FSDP2 never
    does.
    """
    if task.trainer.world_size > 1:
        for buffer in task.buffers():
            torch.distributed.broadcast(buffer, src=0)


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """FSDP2 (Zhao et al., 2304.11277; torch's `fully_shard`): a rank keeps its share of weights, gradients
    and optimizer state.

    The blocks of a net, members of an nn.Sequential or nn.ModuleList with BLOCK weights or more, are gathered
    one after the other, the rest together. A net that is sharded already stays as it is.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard  # a fifth of a second, for those who use it

    if isinstance(net, FSDPModule):
        return
    # what fully_shard takes; convolutions follow the layout of the pictures
    net.to(memory_format=torch.contiguous_format)
    for module in reversed(list(net.modules())):  # from the inside out
        blocks = module if isinstance(module, (nn.Sequential, nn.ModuleList)) else ()
        for block in blocks:
            large = sum(weight.numel() for weight in block.parameters()) >= BLOCK
            if large and not isinstance(block, (FSDPModule, nn.ModuleList)):
                fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)


def gather(net: nn.Module) -> None:
    """Brings the weights of a sharded net to all ranks until `release`: these may judge different numbers of
    batches.
    """
    for part in shards(net):
        part.set_reshard_after_forward(False, recurse=False)
        # Lightning judges within it, and the next training step takes the same memory
        with torch.inference_mode(False):
            part.unshard()


def release(net: nn.Module) -> None:
    """Leaves each rank its share again."""
    for part in shards(net):
        part.set_reshard_after_forward(part is not net, recurse=False)
        part.reshard()


def shards(net: nn.Module) -> Iterator[FSDPModule]:
    """The parts of a net that are gathered apart; none of one that is not sharded."""
    return (part for part in net.modules() if hasattr(part, "unshard"))
