"""GAN training: a generator of faces and its discriminator, on the reals of the training split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from dfd.augment.differentiable import DiffAugment
from dfd.batch import REAL, Batch
from dfd.detector.card import AVERAGE, Card
from dfd.models import Discriminator, Generator, recipe
from dfd.tasks.detection import plain_view
from dfd.tasks.ema import rising_average
from dfd.tasks.optimizer import OptimizerCallable, renew


class GANTask(LightningModule):
    """FastGAN's training (Liu et al., 2101.04775): hinge loss, DiffAugment, an average of the generator's
    weights.

    Both nets step at once, on the gradients of one backward pass: in the generator's loss the discriminator's
    weights are constants. So every parameter gets its gradient in every pass, which is what DDP asks for. A
    batch is one step of the Trainer.

    Args:
        net: the generator. A checkpoint is loaded as its average.
        discriminator: of the same size.
        optimizer: parameters -> optimizer; asked twice, once for each net.
        augment: what both nets' pictures go through, of `dfd.augment.differentiable.KINDS`; [] for nothing.
        mirror: flip half of the reals from left to right, since faces are alike on both sides.
        reconstruction: weight of the discriminator's reconstruction loss.
        ema_decay: of the generator's average, once the training is long enough for it.
        channels_last: lay weights and activations out as (B, H, W, C) in memory, which convolutions like.
    """

    def __init__(
        self,
        net: Generator,
        discriminator: Discriminator,
        optimizer: OptimizerCallable = torch.optim.Adam,
        augment: Sequence[str] = ("color", "translation", "cutout"),
        mirror: bool = True,
        reconstruction: float = 1.0,
        ema_decay: float = 0.998,
        channels_last: bool = True,
    ):
        super().__init__()
        if net.size != discriminator.size:
            raise ValueError(
                f"the generator makes {net.size} px, the discriminator takes {discriminator.size}. Set one "
                "size for both."
            )
        if not 0 < ema_decay < 1:
            raise ValueError(f"model.ema_decay={ema_decay} is outside (0, 1). Use .998 as a start.")
        if not reconstruction >= 0:
            raise ValueError(f"model.reconstruction={reconstruction} is negative. Use 1, or 0 to go without.")
        recipe(net)  # refuses now, not at the first checkpoint, a net that could not be rebuilt
        self.automatic_optimization = False
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net, self.discriminator = net.to(memory_format=layout), discriminator.to(memory_format=layout)
        self.channels_last = channels_last
        self.average = AveragedModel(
            net, multi_avg_fn=rising_average(ema_decay), use_buffers=True
        ).requires_grad_(False)
        self.optimizer, self.augment, self.mirror, self.reconstruction = (
            optimizer,
            DiffAugment(augment),
            mirror,
            reconstruction,
        )
        self.config: dict[str, Any] = {}  # the command line's task and data, as plain values

    @torch.inference_mode()
    def samples(self, latent: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) in [0, 1] of latents (B, latent), as the checkpoint's net would make
        them.
        """
        training = self.average.training
        with torch.autocast(latent.device.type, enabled=False):
            image = self.average.eval().module(latent)
        self.average.train(training)
        return image

    def pictures(self, num: int) -> Tensor:
        """(num, 3, size, size) in [0, 1] for `SampleGrid`, of the same latents every time."""
        latent = torch.randn(num, self.net.latent, generator=torch.Generator().manual_seed(0))
        return self.samples(latent.to(self.device))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer(self.net.parameters()), self.optimizer(self.discriminator.parameters())]

    def on_fit_start(self) -> None:
        if self.trainer.precision == "16-mixed":
            raise ValueError(
                "trainer.precision=16-mixed scales losses, which two optimizers cannot share. Use bf16-mixed "
                "or 32-true."
            )
        data = self.trainer.datamodule
        if data is not None and (data.view.size != self.net.size or not data.view.resize):
            raise ValueError(
                f"the generator makes whole faces of {self.net.size} px, and the data are "
                f"{'whole pictures' if data.view.resize else 'crops'} of {data.view.size} px. "
                f"Use --data.view.size={self.net.size} --data.view.resize=true."
            )

    def on_train_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            renew(optimizer, self.optimizer)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        real = self._reals(batch)
        if self.mirror:
            real = torch.where(torch.rand(len(real), 1, 1, 1, device=self.device) < 0.5, real.flip(3), real)
        latent = torch.randn(len(real), self.net.latent, device=self.device)
        real, fake = self.augment(real), self.augment(self.net(latent))
        seen, made = self.discriminator(real), self.discriminator(fake.detach())
        constant = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        loss_generator = -functional_call(self.discriminator, constant, fake).logit.mean()
        loss_discriminator = torch.relu(1 - seen.logit).mean() + torch.relu(1 + made.logit).mean()
        reconstruction = self.discriminator.reconstruction_loss(seen, real)
        self._step(loss_generator + loss_discriminator + self.reconstruction * reconstruction)
        logs = {
            "loss_generator": loss_generator,
            "loss_discriminator": loss_discriminator,
            "reconstruction": reconstruction,
            "logit_real": seen.logit.mean(),
            "logit_fake": made.logit.mean(),
        }
        self.log_dict({f"train/{name}": value.detach().float() for name, value in logs.items()})
        return loss_discriminator.detach()

    def _reals(self, batch: Batch) -> Tensor:
        """The batch's reals (R, 3, size, size): a generator of faces has nothing to learn from fakes."""
        real = batch["image"][batch["valid"] & (batch["label"] == REAL)]
        if not len(real):
            raise ValueError(
                f"a batch of {len(batch['label'])} pictures holds no real one, and a GAN learns from reals "
                "alone. Raise data.batch_size, or name data with more reals."
            )
        return real if self.channels_last else real.contiguous()

    def _step(self, loss: Tensor) -> None:
        generator, _ = self.optimizers()  # Lightning's own, whose steps the Trainer counts,
        # and a bare one: a batch shall be one step, not two
        _, discriminator = self.optimizers(use_pl_optimizer=False)
        self.manual_backward(loss)
        for optimizer in (generator, discriminator):
            optimizer.step()
            optimizer.zero_grad()
        # within the step: what a callback saves behind it has the same average
        self.average.update_parameters(self.net)

    def on_validation_epoch_start(self) -> None:
        self._logit_real = torch.zeros(2, device=self.device)  # sum and number of the logits so far

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # (R, 1, 3, H, W): the whole picture is the only crop
        real = batch["image"][batch["valid"] & (batch["label"] == REAL)].flatten(0, 1)
        if len(real):
            logit = self.discriminator(real).logit.float()
            self._logit_real += torch.stack([logit.sum(), torch.ones_like(logit).sum()])

    def on_validation_epoch_end(self) -> None:
        """Logs what the discriminator says of reals it never saw: where train/logit_real leaves that behind,
        it memorises.
        """
        total, count = self.trainer.strategy.reduce(self._logit_real, reduce_op="sum").tolist()
        if count:
            self.log("val/logit_real", total / count)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = Card(
            net=recipe(self.net), weights_in=AVERAGE, view=plain_view(self.trainer.datamodule), **self.config
        )
        checkpoint["dfd"] = card.to_plain()
