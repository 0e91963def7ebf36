"""Supervised detection: one logit a picture, above zero means FAKE."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel

from dfd import __version__
from dfd.batch import Batch, Predictions
from dfd.calibration import fit_temperature, fit_thresholds
from dfd.distributed import gather, release, shard, share_buffers
from dfd.metrics import by_method, by_source, detection_metrics, interval, intervals
from dfd.models import Net, recipe
from dfd.tasks.ema import moving_average
from dfd.tasks.optimizer import OptimizerCallable, renew
from dfd.tasks.schedule import cosine_with_warmup

THRESHOLDS = ("balanced", "fpr5", "fnr5")


class ClassificationTask(LightningModule):
    """Trains `net`, judges every picture once, and keeps what makes a checkpoint answer for itself.

    The learning rate is a pure function of the optimizer step (linear warm-up, then cosine to zero), so a
    resumed run needs no scheduler state and a new `lr` takes effect at once. Temperature and thresholds are
    fitted on each validation pass of a fit and stored as buffers.

    Args:
        net: (B, 3, H, W) in [0, 1] -> (B,) logits.
        optimizer: parameters -> optimizer; its `lr` is the peak of the schedule.
        class_weight: "balanced" weighs both classes alike in the loss, whatever their numbers.
        label_smoothing: s in [0, 1): targets become s/2 and 1 - s/2.
        warmup: share of all steps in which the learning rate rises.
        ema_decay: judge an exponential moving average of the weights instead of the last ones; .998 is usual.
        channels_last: lay weights and activations out as (B, H, W, C) in memory, which convolutions like.
    """

    def __init__(
        self,
        net: Net,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        class_weight: Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        warmup: float = 0.05,
        ema_decay: float | None = None,
        channels_last: bool = True,
    ):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing={label_smoothing} is outside [0, 1). Use .1 as a start.")
        if not 0 <= warmup <= 1:
            raise ValueError(f"model.warmup={warmup} is a share of all steps, in [0, 1]. Use .05 as a start.")
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(
                f"model.ema_decay={ema_decay} is outside (0, 1). Use .998 as a start, or null for none."
            )
        recipe(net)  # refuses now, not at the first checkpoint, a net that could not be rebuilt
        self.channels_last = channels_last
        self.net = net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.optimizer, self.class_weight, self.label_smoothing, self.warmup = (
            optimizer,
            class_weight,
            label_smoothing,
            warmup,
        )
        self.average, self.ema_decay = None, ema_decay
        if ema_decay is not None:
            self.average = AveragedModel(
                net, multi_avg_fn=moving_average(ema_decay), use_buffers=True
            ).requires_grad_(False)
        self.register_buffer("temperature_", torch.ones((), dtype=torch.float64))
        # before any calibration nothing may be said for certain: every verdict is inconclusive
        self.register_buffer("thresholds_", torch.tensor([0.0, math.inf, -math.inf], dtype=torch.float64))
        self.calibrated_on: dict[str, Any] | None = None
        self.selected_on = "nothing yet"
        self.seen: dict[
            str, Tensor
        ] = {}  # fingerprints of the pictures that trained it ("train") and chose it ("val")
        self.config: dict[str, Any] = {}  # the command line's task and data, as plain values
        self.predictions: Predictions | None = None  # of the last pass
        self.chosen_by: Predictions | None = None  # of the validation whose checkpoint is the best so far
        self._judged: list[tuple[Tensor, Tensor, Tensor]] = []
        self._label_weight: Tensor | None = None

    @property
    def eval_net(self) -> nn.Module:
        """The net that verdicts come from: the average where there is one."""
        return self.net if self.average is None else self.average.module

    @property
    def temperature(self) -> float:
        return float(self.temperature_)

    @property
    def thresholds(self) -> dict[str, float]:
        """Raw logits, by name."""
        return dict(zip(THRESHOLDS, self.thresholds_.tolist(), strict=True))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B,) of images (B, 3, H, W), or of (B, N, 3, H, W) as the mean over N crops."""
        if image.dim() == 4:
            return self.eval_net(self._laid_out(image))
        return self(image.flatten(0, 1)).view(image.shape[:2]).mean(1)

    def _laid_out(self, image: Tensor) -> Tensor:
        """Pictures come channels-last, and convolutions follow them, whatever the layout of the weights."""
        return image if self.channels_last else image.contiguous()

    # training

    def configure_model(self) -> None:
        """Shards the weights where the strategy asks for it; Lightning calls this for each verb."""
        if self.device_mesh is not None:
            for net in (self.net, *([] if self.average is None else [self.average.module])):
                shard(net, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.net.parameters())

    def on_fit_start(self) -> None:
        if data := self.trainer.datamodule:
            for split in ("train", "val"):  # beside those of the fit that this one resumes
                prints = torch.from_numpy(data.fingerprints(data.rows(split)))
                self.seen[split] = torch.unique(torch.cat([self.seen.get(split, prints[:0]), prints]))
        if self.class_weight == "balanced":
            counts = np.maximum(self.trainer.datamodule.label_counts("train"), 1)
            self._label_weight = torch.tensor(
                sum(counts) / (2 * counts), dtype=torch.float32, device=self.device
            )

    def on_train_start(self) -> None:
        (optimizer,) = self.trainer.optimizers
        renew(optimizer, self.optimizer)
        self._peaks = [group["lr"] for group in optimizer.param_groups]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factor = cosine_with_warmup(self.trainer.global_step, self._total_steps(), self.warmup)
        for group, peak in zip(self.trainer.optimizers[0].param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.log("train/lr", self._peaks[0] * factor)

    def _total_steps(self) -> float:
        """Optimizer steps of the whole run; infinite where the Trainer has no end."""
        trainer = self.trainer
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        epochs = (
            trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
        )
        return min(epochs * steps, trainer.max_steps if trainer.max_steps >= 0 else math.inf)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(self.net(self._laid_out(batch["image"])), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Lightning divides by the batches of a whole accumulation window; an epoch's last one may hold
        fewer.
        """
        every, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        if every > 1 and math.isfinite(batches):
            rest = batches % every
            if rest and self.trainer.fit_loop.epoch_loop.batch_progress.current.ready > batches - rest:
                loss = loss * (every / rest)
        super().backward(loss, *args, **kwargs)

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        """Mean binary cross-entropy of logits (B,) against labels (B,); one in between is a share of FAKE,
        the rest REAL.
        """
        label, weight = label.to(logit.dtype), None
        if self._label_weight is not None:
            real, fake = self._label_weight
            weight = real * (1 - label) + fake * label
            label = fake * label / weight
        target = label * (1 - self.label_smoothing) + self.label_smoothing / 2
        return binary_cross_entropy_with_logits(logit, target, weight)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # within the step: validation, and a checkpoint that a callback saves behind it, see the same average
        if self.average is not None:
            self.average.update_parameters(self.net)

    # judging: one path

    def on_validation_epoch_start(self) -> None:
        if self.trainer.state.fn == "fit":
            share_buffers(self)
        gather(self.eval_net)

    def on_test_epoch_start(self) -> None:
        gather(self.eval_net)

    def on_predict_epoch_start(self) -> None:
        gather(self.eval_net)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._record(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._record(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        self._record(batch)

    def on_validation_epoch_end(self) -> None:
        self._close("val")

    def on_test_epoch_end(self) -> None:
        self._close("test")

    def on_predict_epoch_end(self) -> None:
        self._close("predict")

    def _record(self, batch: Batch) -> None:
        row, label = batch["row"].cpu(), batch["label"].cpu()
        logit = self(batch["image"]).double().cpu() if len(row) else torch.zeros(0, dtype=torch.float64)
        known = row >= 0  # a batch of which no picture could be decoded holds a black one in their place
        self._judged.append((row[known], logit[known], label[known]))

    def _close(self, stage: str) -> None:
        """Gathers the verdict table, calibrates on it where it is a fit's validation, and logs the metrics."""
        release(self.eval_net)
        row, logit, label = (np.concatenate(column) for column in zip(*self._gathered(), strict=True))
        order = np.argsort(row, kind="stable")
        row, logit, label = row[order], logit[order], label[order]
        trainer, data = self.trainer, self.trainer.datamodule
        facts = {name: np.full(len(row), "") for name in ("source", "method")} | {"group": row.astype(str)}
        if data is not None:
            limits = (trainer.limit_val_batches, trainer.limit_test_batches, trainer.limit_predict_batches)
            whole = all(
                limit == 1.0 and isinstance(limit, float) for limit in limits
            )  # the whole number 1 is one batch
            data.check_ledger("val" if stage == "val" else "test", row, whole and not trainer.sanity_checking)
            facts = data.describe(row)
        self.predictions = Predictions(row, logit, label, facts["source"], facts["method"], facts["group"])
        if trainer.sanity_checking or stage == "predict":
            return
        if trainer.state.fn == "fit":
            self._calibrate()
        metrics = detection_metrics(self.predictions, self.temperature, self.thresholds["balanced"])
        self.log_dict({f"{stage}/{name}": value for name, value in metrics.items()}, prog_bar=False)
        self.log(f"{stage}/loss", metrics["nll"], prog_bar=False)
        if trainer.state.fn != "fit":  # thousands of resamples: for what is reported, not for every epoch
            for name, (low, high) in intervals(
                self.predictions, self.temperature, self.thresholds["balanced"]
            ).items():
                self.log_dict({f"{stage}/{name}_low": low, f"{stage}/{name}_high": high})
        for parts in (by_source(self.predictions), by_method(self.predictions)):
            if len(parts) > 1:
                for name, part in parts.items():
                    self.log(f"{stage}/auroc/{name}", detection_metrics(part)["auroc"])
                    if trainer.state.fn != "fit":
                        low, high = interval(part)
                        self.log_dict({f"{stage}/auroc_low/{name}": low, f"{stage}/auroc_high/{name}": high})

    def _gathered(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        mine = tuple(torch.cat(column).numpy() for column in zip(*self._judged, strict=True))
        self._judged.clear()
        if self.trainer.world_size == 1:
            return [mine]
        everyone: list = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyone, mine)
        return everyone

    def _calibrate(self) -> None:
        logit, label = self.predictions.logit, self.predictions.label
        self.temperature_.fill_(fit_temperature(logit, label))
        thresholds = fit_thresholds(logit, label)
        self.thresholds_.copy_(torch.tensor([thresholds[name] for name in THRESHOLDS], dtype=torch.float64))
        self.calibrated_on = {
            "split": "val",
            "images": len(logit),
            "groups": len(np.unique(self.predictions.group)),
        }
        if data := getattr(self.trainer.datamodule, "title", ""):
            self.calibrated_on["data"] = data

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = self.trainer.datamodule
        if self.trainer.state.fn == "fit":
            monitor = self._monitor_at_best()
            self.selected_on = (
                f"{monitor} (best epoch so far, split: val)" if monitor else "nothing: the last weights"
            )
            self.chosen_by = self.predictions if monitor else self.chosen_by
        checkpoint["dfd"] = {
            "version": __version__,
            "net": recipe(self.net),
            "view": None if data is None else dict(vars(data.view)),
            "temperature": self.temperature,
            "thresholds": self.thresholds,
            "calibrated_on": self.calibrated_on,
            "selected_on": self.selected_on,
            "seen": self.seen,
            # where no command line wrote down the task: whether there is an average
            "ema_decay": self.ema_decay,
            **self.config,
        }

    def _monitor_at_best(self) -> str | None:
        """The metric that chooses a checkpoint, where it has just reached its best."""
        metrics = self.trainer.callback_metrics
        for callback in self.trainer.checkpoint_callbacks:
            monitor = getattr(callback, "monitor", None)
            if (
                monitor in metrics
                and callback.best_model_score is not None
                and metrics[monitor] == callback.best_model_score
            ):
                return monitor
        return None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "dfd" not in checkpoint:
            raise ValueError(
                "this checkpoint was not made by dfd: it lacks the entry that says how to rebuild its net."
            )
        facts = checkpoint["dfd"]
        self.calibrated_on, self.selected_on, self.seen = (
            facts["calibrated_on"],
            facts["selected_on"],
            facts.get("seen", {}),
        )
