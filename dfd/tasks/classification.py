"""Classification task: supervised training of a detector; one logit an image, above zero means FAKE."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from dfd.batch import FAKE, Batch
from dfd.calibration import CalibrationKind
from dfd.distributed import shard, sum_over_ranks
from dfd.models import Net
from dfd.models.backbones import pretrained_backbone
from dfd.models.depth import head_of
from dfd.tasks.detection import DetectionTask
from dfd.tasks.ema import moving_average
from dfd.tasks.finetune import FineTuning
from dfd.tasks.initial import begin_with
from dfd.tasks.losses import BinaryCrossEntropy
from dfd.tasks.mask_loss import KeptMap, MaskLoss, check_mask_head_learns, check_mask_loss, mask_head_of
from dfd.tasks.optimizer import OptimizerCallable, renew
from dfd.tasks.schedule import cosine_with_warmup, total_steps

AUROC_BINS = 512  # of P(fake), so that train/auroc holds no image in memory


class ClassificationTask(DetectionTask):
    """Trains `net` on labelled images.

    The learning rate is a pure function of the optimizer step (linear warm-up, then cosine to zero), so a
    resumed run needs no scheduler state and a new `lr` takes effect at once.

    Args:
        net: (B, 3, H, W) in [0, 1] -> (B,) logits.
        optimizer: parameters -> optimizer; its `lr` is the peak of the schedule.
        loss: (logit (B,), label (B,) in [REAL, FAKE]) -> scalar, or as `dfd.tasks.losses` says of one that
            compares features; null is binary cross-entropy.
        class_weight: "balanced" weighs both classes alike in the loss, whatever their numbers.
        label_smoothing: s in [0, 1): targets become s/2 and 1 - s/2; of binary cross-entropy.
        warmup: share of all steps in which the learning rate rises.
        ema_decay: judge an exponential moving average of the weights instead of the last ones; .998 is usual.
        channels_last: lay weights and activations out as (B, H, W, C) in memory, which convolutions like.
        calibration: how P(fake) follows from a logit, fitted at each validation: "temperature" (one number,
            safe with few pictures), "platt" (also an offset, for another share of fakes than in training) or
            "isotonic" (any rising curve, for thousands of pictures).
        familiarity: learn what the pictures are like, so that the detector says of others that they are
            unfamiliar.
        finetune: which weights learn, and how fast, such as `dfd.tasks.LinearProbe()`; by default all alike.
        init_from: a checkpoint of such a net, whose weights this training begins with. Calibration and
            thresholds are fitted anew; which images trained it is remembered.
        mask_loss: weight of the loss by which a net with a mask head (`dfd.models.MaskStream`) learns where
            pictures are forged; it needs data.masks.
    """

    def __init__(
        self,
        net: Net,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        loss: nn.Module | None = None,
        class_weight: Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        warmup: float = 0.05,
        ema_decay: float | None = None,
        channels_last: bool = True,
        calibration: CalibrationKind = "temperature",
        familiarity: bool = True,
        finetune: FineTuning | None = None,
        init_from: str | None = None,
        mask_loss: float = 0.0,
    ):
        check_mask_loss(mask_loss, net)
        if class_weight not in ("balanced", None):
            raise ValueError(f"model.class_weight={class_weight!r}: use balanced, or null for none.")
        if not 0 <= warmup <= 1:
            raise ValueError(f"model.warmup={warmup} is a share of all steps, in [0, 1]. Use .05 as a start.")
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(
                f"model.ema_decay={ema_decay} is outside (0, 1). Use .998 as a start, or null for none."
            )
        if loss is not None and label_smoothing:
            raise ValueError(
                "model.loss is given, so model.label_smoothing, which belongs to binary cross-entropy, has "
                "no use. Leave it out, or leave out the loss."
            )
        if loss is not None and class_weight and not hasattr(loss, "balance"):
            raise ValueError(
                f"model.loss={type(loss).__name__} weighs no classes: it has no method balance(num_real, "
                "num_fake, device). Leave out model.class_weight, or the loss."
            )
        seen = {} if init_from is None else begin_with(net, init_from)
        net = net if finetune is None else finetune.prepare(net)
        super().__init__(net, channels_last, calibration, familiarity)
        self.optimizer, self.class_weight, self.warmup = optimizer, class_weight, warmup
        self.finetune, self.seen, self.drawn = finetune, seen, init_from is None
        self.loss = BinaryCrossEntropy(label_smoothing) if loss is None else loss
        self._at_head = _HeadInput() if getattr(self.loss, "needs_features", False) else None

        self.mask_loss, self._of_masks, self._kept = mask_loss, MaskLoss(), KeptMap()
        if ema_decay is not None:
            self.ema_decay = ema_decay
            self.average = AveragedModel(net, multi_avg_fn=moving_average(ema_decay), use_buffers=True)
            self.average.requires_grad_(False)
        self.train_metrics = MetricCollection(
            {
                "acc": BinaryAccuracy(validate_args=False),
                "auroc": BinaryAUROC(thresholds=AUROC_BINS, validate_args=False),
            },
            prefix="train/",
            compute_groups=False,
        )
        # states of the metrics above, of an epoch that a resumed run goes on with
        self._unfinished: dict[str, dict[str, Tensor]] = {}

    def configure_model(self) -> None:
        """Shards the weights where the strategy asks for it; Lightning calls this for each verb."""
        if self.device_mesh is not None:
            for net in (self.net, *([] if self.average is None else [self.average.module])):
                shard(net, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer([{"params": weights} for weights in self._groups().values()])

    def _groups(self) -> dict[float, list[torch.nn.Parameter]]:
        """The weights that learn by their share of the learning rate; of a loss by the whole of it."""
        every = {1.0: list(self.net.parameters())}
        groups = every if self.finetune is None else self.finetune.groups(self.net)
        if of_loss := list(self.loss.parameters()):
            groups.setdefault(1.0, []).extend(of_loss)
        return groups

    def _keeps_random_weights(self) -> bool:
        """Whether weights that never learn are those that the net was drawn with."""
        if self.finetune is None or not self.drawn or pretrained_backbone(self.net) is not None:
            return False
        learning = self.finetune.learning(self.net)
        return any(name not in learning for name, _ in self.net.named_parameters())

    def on_fit_start(self) -> None:
        if getattr(self.loss, "pairs_only", False) and getattr(self._data, "pairs", True) is None:
            raise ValueError(
                f"model.loss={type(self.loss).__name__} with pairs_only compares a real with the fake that "
                "was made of it, and the data make none. Use --data.pairs dfd.augment.FaceBlend, or leave "
                "pairs_only out."
            )
        _check_whole_pictures(self.net, self._data)
        if self._keeps_random_weights():
            rank_zero_warn(
                "The backbone stands still with the random weights that it was drawn with. Give it some: "
                "--model.net.backbone.pretrained FILE, or --model.init_from CHECKPOINT."
            )
        if self._at_head is not None:
            head_of(self.net).register_forward_pre_hook(self._at_head)
        check_mask_head_learns(self.mask_loss, self.net)
        if self.mask_loss:
            mask_head_of(self.net).register_forward_hook(self._kept)
        if not self.trainer.is_global_zero:  # rank 0 saves; 8 bytes a sample are not held by all
            self.seen = {}
        elif data := self._data:
            for split in ("train", "val"):  # beside those of the fit that this one resumes
                before = self.seen.get(split, torch.empty(0, dtype=torch.int64)).numpy()
                rows = getattr(data, "shown_rows", data.rows)(split)
                self.seen[split] = torch.from_numpy(_distinct(before, data.fingerprints(rows)))
        if self.class_weight == "balanced":
            self.loss.balance(*self._data.label_counts("train"), self.device)

    def on_train_start(self) -> None:
        (optimizer,) = self.trainer.optimizers
        renew(optimizer, self.optimizer)
        shares = list(self._groups())
        groups = zip(optimizer.param_groups, shares, strict=True)
        self._peaks = [group["lr"] * share for group, share in groups]
        self._restore_train_metrics()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factor = cosine_with_warmup(self.trainer.global_step, total_steps(self.trainer), self.warmup)
        for group, peak in zip(self.trainer.optimizers[0].param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.log("train/lr", self._peaks[0] * factor)
        if self.finetune is not None:
            self.finetune.begin_batch(self.net, self.current_epoch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.finetune is not None:
            self.finetune.before_step(self.net)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.learn(batch)[0]

    def learn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits (B,) of a training batch, both logged."""
        logit = self.logits(self.net, batch["image"], batch.get("cues"))
        # a batch of which nothing could be decoded has no mean loss: NaN, and FiniteGuard skips such a step
        label = batch["label"].to(logit.dtype).masked_fill(~batch["valid"], math.nan)
        if self._at_head is None:
            loss = self.loss(logit, label)
        else:
            loss = self.loss(logit, label, self._at_head.features, batch["row"])
        if not isinstance(loss, Tensor) or loss.dim():
            gave = f"numbers {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ValueError(
                f"model.loss={type(self.loss).__name__} gave {gave}, and a loss is one tensor without "
                "dimensions: the mean over the batch, such as losses.mean()."
            )
        loss = self._of_all_ranks(self._with_masks(loss, batch), len(logit))
        self.log("train/loss", loss, prog_bar=True)
        self._measure(logit, batch)
        return loss, logit

    def _of_all_ranks(self, loss: Tensor, num: int) -> Tensor:
        """The mean loss of a rank's `num` pictures, weighed by them where ranks have different numbers: a
        batch with pairs holds one or two pictures a row, and every picture counts alike.
        """
        alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        if alone or getattr(self._data, "pairs", None) is None:
            return loss
        mean = torch.tensor(float(num), device=self.device)
        torch.distributed.all_reduce(mean)
        return loss * (num * torch.distributed.get_world_size() / mean)

    def _with_masks(self, loss: Tensor, batch: Batch) -> Tensor:
        """The loss, and that of the map which the mask head has just given, where there is one."""
        if not self.mask_loss:
            return loss
        if "mask" not in batch:
            raise ValueError(
                f"model.mask_loss={self.mask_loss:g} learns where pictures are forged, and the batches have "
                "no masks. Use --data.masks true, with shards or makers of pairs that have some."
            )
        where = self._of_masks(self._kept.map, batch["mask"])
        self.log("train/mask_loss", where)
        return loss + self.mask_loss * where

    @torch.no_grad()
    def _measure(self, logit: Tensor, batch: Batch) -> None:
        """Takes a batch into train/acc and train/auroc; the label of mixed images is their larger share."""
        # a black image in place of a batch is the only one of it; to ask of larger ones would wait for the
        # device
        if len(logit) == 1 and not batch["valid"].all():
            return
        label = (batch["label"] >= FAKE / 2).long()
        self.train_metrics.update(logit.float().sigmoid(), label)

    def on_train_epoch_start(self) -> None:
        """Lightning does not call it where a resumed run goes on within an epoch."""
        self.train_metrics.reset()

    def _restore_train_metrics(self) -> None:
        """Those of an epoch that a resumed run goes on with; one rank holds the sums of all."""
        if self._unfinished and self.trainer.is_global_zero:
            for name, metric in self.train_metrics.items(keep_base=True):
                for state, value in self._unfinished[name].items():
                    setattr(metric, state, value.to(self.device))
                # else torchmetrics takes the metric for one that saw nothing
                metric._update_count = 1
        self._unfinished = {}

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.train_metrics.compute())

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

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.finetune is not None:
            self.finetune.after_step(self.net)
        # within the step: validation, and a checkpoint that a callback saves behind it, see the same average
        if self.average is not None:
            self.average.update_parameters(self.net)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called on all ranks."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["train_metrics"] = {
            name: {state: sum_over_ranks(value) for state, value in metric.metric_state.items()}
            for name, metric in self.train_metrics.items(keep_base=True)
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        states = checkpoint.get("train_metrics", {})
        names = {name for name, _ in self.train_metrics.items(keep_base=True)}
        if states and not (
            isinstance(states, dict)
            and states.keys() == names
            and all(
                isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
                for state in states.values()
            )
        ):
            raise ValueError("this checkpoint has train_metrics that dfd did not write.")
        self._unfinished = states


class _HeadInput:
    """Keeps the features (B, F) that the head was given last in training; a hook, since FSDP2 gathers weights
    for `forward` alone.
    """

    features: Tensor

    def __call__(self, head: nn.Module, given: tuple[Tensor, ...]) -> None:
        if head.training:
            self.features = given[0]


def _check_whole_pictures(net: nn.Module, data: Any) -> None:
    """ValueError where a net that reads whole face pictures would be shown crops of them."""
    if getattr(net, "needs_whole_pictures", False) and data is not None and not data.view.resize:
        raise ValueError(
            f"{type(net).__name__} reads whole face pictures, and data.view cuts crops out of them. Use "
            "--data.view.resize true --data.view.size 224."
        )


def _distinct(before: np.ndarray, prints: np.ndarray) -> np.ndarray:
    """Both sets of fingerprints (S,), (R,) as one, sorted (T,); without a second copy of many."""
    together = np.concatenate([before, prints]) if len(before) else prints
    together.sort()
    first = np.ones(len(together), bool)
    np.not_equal(together[1:], together[:-1], out=first[1:])
    return together if first.all() else together[first]
