"""Adversarial training (Madry et al., ICLR 2018), mixed with clean images."""

import math
from typing import Any

import torch
from torch import Tensor

from dfd.augment import Attack
from dfd.batch import Batch
from dfd.models import Net
from dfd.tasks.classification import ClassificationTask


class AdversarialTask(ClassificationTask):
    """A ClassificationTask whose training pictures are attacked first. It is judged on clean ones;
    `AttackStats` adds the rest.

    Args:
        attack: how, in pixel units, such as `dfd.augment.PGD(eps=2, steps=3)`. Every step of it costs a
            forward and a backward pass through the net.
        mix: share of each batch that is attacked, above 0 and up to 1. The others keep the clean accuracy up.
    """

    def __init__(self, net: Net, attack: Attack, mix: float = 0.5, **kwargs: Any):
        super().__init__(net, **kwargs)
        if not 0 < mix <= 1:
            raise ValueError(
                f"model.mix={mix} is the attacked share of a batch, above 0 and up to 1. Use .5 as a start."
            )
        self.attack, self.mix = attack, mix

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        image, label = batch["image"], batch["label"]
        num_attacked = math.ceil(self.mix * len(image))  # the first ones: the sampler has shuffled them
        attacked = self.attack(self.net, image[:num_attacked], label[:num_attacked])
        return super().training_step(
            {**batch, "image": torch.cat([attacked, image[num_attacked:]])}, batch_idx
        )
