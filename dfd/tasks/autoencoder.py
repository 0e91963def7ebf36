"""Autoencoder training: reals through a narrow code and back, so that their reconstructions can stand beside
them.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from dfd.batch import REAL, Batch
from dfd.detector.card import AVERAGE, Card
from dfd.models import Autoencoder, recipe
from dfd.tasks.detection import plain_view
from dfd.tasks.ema import rising_average
from dfd.tasks.optimizer import OptimizerCallable, renew
from dfd.tasks.schedule import cosine_with_warmup, total_steps

SHOWN = 64  # reals of a validation that are kept to be drawn


class AutoencoderTask(LightningModule):
    """Trains an autoencoder on the reals of the training split; fakes are passed over.

    The loss is the mean absolute error of pixels and of their differences to the right and downward
    (Mathieu et al., ICLR 2016, 1511.05440): without the second, reconstructions are blurred, and a detector
    would learn blur. No adversary is needed, since the traces of a decoder lie in its up-sampling.

    Args:
        net: the autoencoder. A checkpoint is loaded as its average.
        optimizer: parameters -> optimizer; its `lr` is the peak of a linear warm-up and a cosine to zero.
        edges: weight of the error of the differences.
        warmup: share of all steps in which the learning rate rises.
        ema_decay: of the average of weights, once the training is long enough for it.
        channels_last: lay weights and activations out as (B, H, W, C) in memory, which convolutions like.
    """

    def __init__(
        self,
        net: Autoencoder,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        edges: float = 1.0,
        warmup: float = 0.05,
        ema_decay: float = 0.99,
        channels_last: bool = True,
    ):
        super().__init__()
        if not edges >= 0:
            raise ValueError(f"model.edges={edges} is negative. Use 1, or 0 for pixels alone.")
        if not 0 <= warmup <= 1:
            raise ValueError(f"model.warmup={warmup} is a share of all steps, in [0, 1]. Use .05 as a start.")
        if not 0 < ema_decay < 1:
            raise ValueError(f"model.ema_decay={ema_decay} is outside (0, 1). Use .99 as a start.")
        recipe(net)  # refuses now, not at the first checkpoint, a net that could not be rebuilt
        self.channels_last = channels_last
        self.net = net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.average = AveragedModel(
            net, multi_avg_fn=rising_average(ema_decay), use_buffers=True
        ).requires_grad_(False)
        self.optimizer, self.edges, self.warmup = optimizer, edges, warmup
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
        self.config: dict[str, Any] = {}  # the command line's task and data, as plain values
        self._shown: list[Tensor] = []  # the first reals of the last validation, for `pictures`

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.net.parameters())

    def on_train_start(self) -> None:
        (optimizer,) = self.trainer.optimizers
        renew(optimizer, self.optimizer)
        self._peaks = [group["lr"] for group in optimizer.param_groups]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factor = cosine_with_warmup(self.trainer.global_step, total_steps(self.trainer), self.warmup)
        for group, peak in zip(self.trainer.optimizers[0].param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        real = batch["image"][batch["valid"] & (batch["label"] == REAL)]
        weight = 1.0
        if not len(real):
            # a batch of fakes alone: every rank has to go backward, so a black picture goes, for nothing
            real, weight = torch.zeros_like(batch["image"][:1]), 0.0
        made, far = self.net.reconstruct(real if self.channels_last else real.contiguous())
        pixels = (made - real).abs().mean()
        loss = weight * (pixels + self.edges * edge_error(made, real) + far)
        self.log_dict({"train/loss": loss.detach(), "train/l1": pixels.detach()})
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # within the step: validation, and a checkpoint that a callback saves behind it, see the same average
        self.average.update_parameters(self.net)

    def on_validation_epoch_start(self) -> None:
        self._shown = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        image = batch["image"][batch["valid"] & (batch["label"] == REAL)]
        if not len(image):
            return
        real = image.flatten(0, 1)
        with torch.autocast(
            real.device.type, enabled=False
        ):  # in bf16, the filters of SSIM see other pictures
            made = self._reconstructed(real)
            self.psnr.update(made, real)
            self.ssim.update(made, real)
        if len(self._shown) < SHOWN:
            self._shown += image[:, -1]  # the crop in the middle

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/psnr": self.psnr.compute(), "val/ssim": self.ssim.compute()}, prog_bar=True)
        self.psnr.reset()
        self.ssim.reset()

    @torch.inference_mode()
    def pictures(self, num: int) -> Tensor:
        """(num, 3, H, W) in [0, 1] for `SampleGrid`: reals of the validation split, each with its
        reconstruction behind it.
        """
        real = torch.stack(self._shown[: (num + 1) // 2])
        return torch.stack([real, self._reconstructed(real)], dim=1).flatten(0, 1)[:num]

    def _reconstructed(self, image: Tensor) -> Tensor:
        """By the average, as the checkpoint's net would make them."""
        training = self.average.training
        made = self.average.eval().module(image)
        self.average.train(training)
        return made

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = Card(
            net=recipe(self.net), weights_in=AVERAGE, view=plain_view(self.trainer.datamodule), **self.config
        )
        checkpoint["dfd"] = card.to_plain()


def edge_error(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, of pictures (B, C, H, W)."""
    return sum((made.diff(dim=side) - real.diff(dim=side)).abs().mean() for side in (2, 3))
