"""Adversarial robustness of each validation: accuracy before and after an attack."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from dfd.augment import Attack
from dfd.batch import FAKE, Batch


class AttackStats(Callback):
    """Attacks the same validation pictures each time and logs, over all ranks:

    - `val/clean_acc`, `val/robust_acc`: share judged right (logit above zero means FAKE) before and after the
      attack;
    - `val/attack_success_rate`: share of those judged right before that are judged wrong after, NaN where
      none was right;
    - `val/attack_linf` in 255ths, `val/attack_l2` over a picture with pixels in [0, 1]: mean norms of the
      perturbation.

    Of pictures that are judged by several crops, the central one is attacked. What it draws never touches the
    generators that training draws from.

    Args:
        attack: `dfd.augment.PGD` or another.
        num_images: about how many pictures, from batches spread evenly over the split (a split may be sorted
            by label).
        every_n_epochs: 1 is after each validation of a fit; `dfd validate` always attacks.
    """

    def __init__(self, attack: Attack, num_images: int = 128, every_n_epochs: int = 1):
        if num_images < 1 or every_n_epochs < 1:
            raise ValueError(
                f"num_images={num_images} and every_n_epochs={every_n_epochs} must both be 1 or more."
            )
        self.attack, self.num_images, self.every_n_epochs = attack, num_images, every_n_epochs
        self._sums: Tensor | None = None  # (6,) pictures, right before, right after, turned, linf, l2
        self._batches: set[int] = set()

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise ValueError(
                "AttackStats cannot attack a net of which each rank holds a share. Use "
                "--trainer.strategy=ddp."
            )

    def on_validation_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        due = trainer.state.fn == "validate" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        self._sums = (
            torch.zeros(6, dtype=torch.float64, device=task.device)
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
        # over all ranks: any number of them attacks the same
        number = batch_idx * trainer.world_size + trainer.global_rank
        if number in self._batches:
            self._sums += self._stats(task, batch, number)

    def _stats(self, task: LightningModule, batch: Batch, seed: int) -> Tensor:
        image, fake = batch["image"], batch["label"] == FAKE
        if image.dim() == 5:
            image = image[:, -1]
        attacked = self.attack(task.eval_net, image, batch["label"], seed=seed)
        before, after = ((task(pixels) > 0) == fake for pixels in (image, attacked))
        change = (attacked - image).flatten(1)
        linf, l2 = change.abs().amax(1) * 255, change.norm(dim=1)
        stats = torch.stack([torch.ones_like(linf), before, after, before & ~after, linf, l2]).double()
        return stats[:, batch["valid"]].sum(1)

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._sums is None:
            return
        num, before, after, turned, linf, l2 = trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()
        values = {
            "clean_acc": before / num,
            "robust_acc": after / num,
            "attack_success_rate": turned / before if before else float("nan"),
            "attack_linf": linf / num,
            "attack_l2": l2 / num,
        }
        self.log_dict({f"val/{name}": value for name, value in values.items()})
