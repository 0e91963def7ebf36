"""Adversarial training: of attacked pictures (Madry et al., ICLR 2018), or TRADES (Zhang et al., 2019)."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.nn.functional import logsigmoid

from dfd.augment.attack import AnyAttack, ScalableAttack, WithCues, attackable, attacked
from dfd.batch import Batch
from dfd.models import Net
from dfd.tasks.classification import ClassificationTask
from dfd.tasks.schedule import linear_warmup, total_steps


class AdversarialTask(ClassificationTask):
    """A ClassificationTask that attacks a share of its training pictures first.

    It learns these with their labels (Madry et al., 1706.06083), or, with `trades`, learns all pictures as
    they are, and to answer the attacked ones as it does the clean ones (TRADES, Zhang et al., 1901.08573).
    The net is attacked in eval mode: with BatchNorm's running statistics, which the attack does not change.
    It is judged on clean pictures; `AttackStats` adds `val/robust_acc`, and `MaskingStats` whether that can
    be believed.

    Logs `train/attack_eps`, the budget of this step in 255ths where the attack has one, and
    `train/attack_l2`, the mean norm of the changes of pictures in [0, 1]; with `trades` also
    `train/divergence`, and then `train/loss` is that of the clean pictures.

    Args:
        attack: how, in pixel units, such as `dfd.augment.PGD(eps=2, steps=3)`. Every step of it costs a
            forward and a backward pass through the net.
        mix: share of each batch that is attacked, above 0 and up to 1. The others keep the clean accuracy up.
            Of a pair, both pictures or neither.
        trades: weight of the divergence beside the loss, above 0; 1 to 6 in the paper. None learns the
            attacked pictures with their labels.
        eps_warmup: share of the run in which the budget rises from nothing to the attack's own, in [0, 1].
            Budgets in between are not rounded to the levels of a file.

    Raises:
        ValueError: a number is out of its range, the attack has no budget that could rise, the run has no end
            that a share of it could be measured by, or its strategy shards the net.
    """

    def __init__(
        self,
        net: Net,
        attack: AnyAttack,
        mix: float = 0.5,
        trades: float | None = None,
        eps_warmup: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(net, **kwargs)
        if not 0 < mix <= 1:
            raise ValueError(
                f"model.mix={mix} is the attacked share of a batch, above 0 and up to 1. Use .5 as a start."
            )
        if trades is not None and not 0 < trades < math.inf:
            raise ValueError(
                f"model.trades={trades} weighs the divergence of attacked from clean answers, above 0. Use 6 "
                "as a start, or null to learn attacked pictures with their labels."
            )
        if not 0 <= eps_warmup <= 1:
            raise ValueError(
                f"model.eps_warmup={eps_warmup} is a share of the run, in [0, 1]. Use .2 as a start."
            )
        if eps_warmup and not isinstance(attack, ScalableAttack):
            raise ValueError(
                f"model.eps_warmup={eps_warmup}, but {type(attack).__name__} has no budget that could rise "
                "(no scaled method). Use dfd.augment.PGD, FastFGSM or FGSM, or eps_warmup=0."
            )
        self.attack, self.mix, self.trades, self.eps_warmup = attack, mix, trades, eps_warmup

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            raise ValueError(
                "AdversarialTask cannot attack a net of which each rank holds a share. Use "
                "--trainer.strategy=ddp."
            )

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.eps_warmup and not math.isfinite(total_steps(self.trainer)):
            raise ValueError(
                f"model.eps_warmup={self.eps_warmup} is a share of the run, and this one has no end. Give "
                "--trainer.max_epochs, or --model.eps_warmup=0."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        chosen = share_of(batch["row"], self.mix)
        cues = batch["cues"][chosen] if "cues" in batch else None
        attacked = self._attacked(batch["image"][chosen], batch["label"][chosen], cues)
        if self.trades is None:
            image = batch["image"].index_put((chosen,), attacked)
            return super().training_step({**batch, "image": image}, batch_idx)
        loss, logit = self.learn(batch)
        divergence = bernoulli_divergence(logit[chosen], self.logits(self.net, attacked, cues))
        self.log("train/divergence", divergence)
        return loss + self.trades * divergence

    def _attacked(self, image: Tensor, label: Tensor, cues: Tensor | None) -> Tensor:
        """(A, 3, H, W) pictures that the net gets wrong; with `trades`, other than it does the clean ones.

        For one logit the divergence grows as the attacked logit moves away from the clean one, on either
        side, and faster across the boundary. So the attack that TRADES asks for is the one on the net's own
        answers.
        """
        net, attack = self.net if cues is None else WithCues(self.net, cues), self._current_attack()
        if self.trades is not None:
            # not under no_grad: autocast remembers the weights that it casts
            with attackable(net):
                label = (net(image).detach() > 0).long()
        changed = attacked(attack, net, image, label)
        if (eps := getattr(attack, "eps", None)) is not None:
            self.log("train/attack_eps", float(eps))
        self.log("train/attack_l2", (changed - image).flatten(1).norm(dim=1).mean())
        return changed

    def _current_attack(self) -> AnyAttack:
        if not self.eps_warmup:
            return self.attack
        share = linear_warmup(self.trainer.global_step, total_steps(self.trainer), self.eps_warmup)
        return self.attack if share == 1 else self.attack.scaled(share)


def share_of(row: Tensor, share: float) -> Tensor:
    """(A,) places of the first pictures of a batch, which the sampler has shuffled: those of a share of its
    rows, rounded up. `row` is (B,); pictures of one row are a pair, and come together.
    """
    first = (row[:, None] == row).int().argmax(1)  # (B,) where each row appears first
    number = (first == torch.arange(len(row), device=row.device)).cumsum(0)  # rows so far
    return (number[first] <= math.ceil(share * int(number[-1]))).nonzero().squeeze(1)


def bernoulli_divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence KL(clean || attacked), at least 0, of the answers that two tensors of
    logits (A,) stand for; in float32, with gradients to both.
    """
    clean, attacked = clean.float(), attacked.float()
    fake = clean.sigmoid()
    # sigmoid(-x) is 1 - sigmoid(x) without the rounding
    divergence = fake * (logsigmoid(clean) - logsigmoid(attacked))
    divergence = divergence + (-clean).sigmoid() * (logsigmoid(-clean) - logsigmoid(-attacked))
    return divergence.mean()
