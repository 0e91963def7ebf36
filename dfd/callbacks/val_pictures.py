"""Base of callbacks that attack the same validation pictures each time: which ones, and sums over ranks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from dfd.augment.attack import WithCues
from dfd.batch import Batch


class ValPictures(Callback):
    """Measures about `num_images` validation pictures, always the same; subclasses say what.

    Of pictures that are judged by several crops, the central one is taken.

    Args:
        num_images: about how many, from batches spread evenly over the split (a split may be sorted by
            label).
        every_n_epochs: 1 is after each validation of a fit; `dfd validate` always measures.
    """

    names: ClassVar[tuple[str, ...]] = ()  # what `measure` gives of each picture

    def __init__(self, num_images: int, every_n_epochs: int):
        if num_images < 1 or every_n_epochs < 1:
            raise ValueError(
                f"num_images={num_images} and every_n_epochs={every_n_epochs} must both be 1 or more."
            )
        self.num_images, self.every_n_epochs = num_images, every_n_epochs
        self._sums: Tensor | None = None  # (1 + names,) of pictures, and of each name
        self._batches: set[int] = set()

    def measure(self, net: nn.Module, image: Tensor, label: Tensor, seed: int) -> list[Tensor]:
        """A number a picture (B,) for each of `names`.

        Args:
            net: images (B, 3, H, W) -> logits (B,), in eval mode.
            image: (B, 3, H, W) in [0, 1].
            label: (B,) REAL or FAKE.
            seed: of this batch, the same each time.
        """
        raise NotImplementedError

    def report(self, trainer: Trainer, num: int, sums: dict[str, float]) -> None:
        """Logs what follows from the sums over `num` pictures of all ranks."""
        raise NotImplementedError

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise ValueError(
                f"{type(self).__name__} cannot attack a net of which each rank holds a share. Use "
                "--trainer.strategy=ddp."
            )

    def on_validation_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        due = trainer.state.fn == "validate" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        self._sums = (
            torch.zeros(1 + len(self.names), dtype=torch.float64, device=task.device)
            if due and not trainer.sanity_checking
            else None
        )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        task: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._sums is None:
            return
        if batch_idx == 0:
            # rank 0's is as large as any, and a rank that has nothing to judge has an empty one
            held = trainer.strategy.broadcast(len(batch["label"]))
            mine = int(trainer.num_val_batches[0]) if len(batch["label"]) else 0
            total = int(trainer.strategy.reduce(torch.tensor(mine, device=task.device), reduce_op="sum"))
            wanted = -(-self.num_images // held)
            self._batches = {int(index) for index in torch.linspace(0, total - 1, min(wanted, total))}
        # over all ranks: any number of them measures the same
        number = batch_idx * trainer.world_size + trainer.global_rank
        if number in self._batches:
            image, net = batch["image"], task.eval_net
            image = image[:, -1] if image.dim() == 5 else image
            net = WithCues(net, batch["cues"]).eval() if "cues" in batch else net
            stats = self.measure(net, image, batch["label"], number)
            stats = torch.stack([torch.ones_like(image[:, 0, 0, 0]), *stats]).double()
            self._sums += stats[:, batch["valid"]].sum(1)

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._sums is None:
            return
        num, *sums = trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()
        self.report(trainer, int(num), dict(zip(self.names, sums, strict=True)))
