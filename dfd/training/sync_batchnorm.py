"""`trainer.sync_batchnorm`, for nets of timm too."""

from __future__ import annotations

from lightning import LightningModule
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(LayerSync):
    """BatchNorm whose statistics are those of all ranks' pictures.

    Lightning's own converter takes timm's layers for plain ones, and loses the activations that they hold
    without a word. `dfd fit` uses this one; elsewhere: `Trainer(sync_batchnorm=False,
    plugins=[SyncBatchNorm()])`.

    Raises ValueError on the CPU, for which torch has no such layer. One process alone keeps its layers.
    """

    def __init__(self) -> None:
        self._plain: list[tuple[nn.Module, str, nn.Module]] = []  # where each layer sat

    def apply(self, model: LightningModule) -> LightningModule:
        strategy = model.trainer.strategy
        if strategy.world_size == 1:
            return model
        if strategy.root_device.type == "cpu":
            raise ValueError(
                "trainer.sync_batchnorm needs GPUs: torch cannot share BatchNorm on the CPU. Leave it out "
                "here."
            )
        from dfd.models.backbones import synchronized  # timm is imported where a net of it is

        self._plain = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm)
        ]
        return synchronized(model)

    def revert(self, model: LightningModule) -> LightningModule:
        while self._plain:
            parent, name, plain = self._plain.pop()
            shared = getattr(parent, name)
            plain._parameters, plain._buffers, plain.training = (
                shared._parameters,
                shared._buffers,
                shared.training,
            )
            setattr(parent, name, plain)
        return model
