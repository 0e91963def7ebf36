"""Detection task: how a net is judged, calibrated, logged and saved, whatever it is trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn

from dfd.batch import Batch, CueData, DetectionData, Predictions
from dfd.calibration import (
    CALIBRATIONS,
    UNFITTED,
    Calibration,
    CalibrationKind,
    Shifted,
    Temperature,
    certificate,
    fit_calibration,
    fit_thresholds,
    with_prior,
)
from dfd.detector.card import AVERAGE, NET, Card
from dfd.distributed import gather, release, shards, share_buffers
from dfd.familiarity import Familiarity, Features
from dfd.media.crops import View
from dfd.metrics import by_method, by_source, detection_metrics, interval, intervals
from dfd.models import Net, recipe
from dfd.run_record import NOT_FINITE, RunFailure
from dfd.tasks.home import frozen_features, learn_home
from dfd.tasks.prediction_table import PredictionTable


class DetectionTask(LightningModule):
    """Judges every image once, and keeps what makes a checkpoint answer for itself. Subclasses train.

    Calibration and thresholds are fitted on each validation pass of a fit, and stored in the checkpoint's
    card.

    Args:
        net: (B, 3, H, W) in [0, 1] -> (B,) logits.
        channels_last: lay weights and activations out as (B, H, W, C) in memory, which convolutions like.
        calibration: how P(fake) follows from a logit: "temperature", "platt" or "isotonic".
        familiarity: a fit learns what its pictures are like, so that its detector says of others that they
            are unfamiliar.
    """

    def __init__(
        self,
        net: Net,
        channels_last: bool = True,
        calibration: CalibrationKind = "temperature",
        familiarity: bool = True,
    ):
        super().__init__()
        if calibration not in CALIBRATIONS:
            raise ValueError(
                f"model.calibration={calibration!r} is not known. Use one of {', '.join(CALIBRATIONS)}."
            )
        recipe(net)  # refuses now, not at the first checkpoint, a net that could not be rebuilt
        self.channels_last = channels_last
        self.net = net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.calibration_kind = calibration
        self.calibration: Calibration | Shifted = Temperature()
        self.thresholds = dict(UNFITTED)
        self.calibrated_on: dict[str, Any] | None = None
        self.selected_on = "nothing yet"
        # training batches of the run when these were measured; a checkpoint of other weights leaves them out
        self.judged_at: int | None = None
        self.learns_home = familiarity
        self.familiarity: Familiarity | None = None
        self.familiar_at: int | None = None  # as judged_at, where it measures what is trained
        self._features: Features | None = None
        self.seen: dict[str, Tensor] = {}
        self.config: dict[str, Any] = {}
        self.predictions: Predictions | None = None
        self.chosen_by: Predictions | None = None
        self.table = PredictionTable()
        # a task that keeps a moving average of the weights sets both; `average.module` is then the net
        self.average: nn.Module | None = None
        self.ema_decay: float | None = None

    @property
    def eval_net(self) -> nn.Module:
        """The net that decisions come from: the average where there is one."""
        return self.net if self.average is None else self.average.module

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        """Logits (B,) of images (B, 3, H, W), or of (B, N, 3, H, W) as the mean over N crops."""
        if image.dim() == 4:
            return self.logits(self.eval_net, image, cues)
        if cues is not None:
            cues = cues.repeat_interleave(image.shape[1], dim=0)
        return self(image.flatten(0, 1), cues).view(image.shape[:2]).mean(1)

    def logits(self, net: nn.Module, image: Tensor, cues: Tensor | None = None) -> Tensor:
        """Logits (B,) of a net for images (B, 3, H, W), which come channels-last in memory."""
        image = image if self.channels_last else image.contiguous()
        logit = net(image) if cues is None else net(image, cues)
        if getattr(logit, "shape", None) != image.shape[:1]:
            gave = tuple(logit.shape) if isinstance(logit, Tensor) else f"a {type(logit).__name__}"
            raise ValueError(
                f"{type(self.net).__name__} gave {gave} for {len(image)} pictures, and a net gives one logit "
                f"a picture, ({len(image)},): above zero means fake."
            )
        return logit

    # judging: one path

    def setup(self, stage: str) -> None:
        """Before weights are loaded or sharded, when a pretrained backbone is as it came."""
        if names := getattr(self.net, "cue_names", ()):
            if not isinstance(self._data, CueData):
                raise ValueError(
                    f"a {type(self.net).__name__} reads forensic cues, and the data module has none to give. "
                    "Use dfd.data.ShardDataModule."
                )
            self._data.deliver_cues(names, self.net.cue_version)
        if stage == "fit" and self.learns_home:
            self._features = frozen_features(self.net)

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
        image, row = batch["image"], batch["row"]
        logit = self(image, batch.get("cues")) if len(row) else torch.zeros(0, device=row.device)
        self.table.update(row, logit, batch["label"], batch["valid"], self._distance(image))

    def _distance(self, image: Tensor) -> Tensor | None:
        """How strange pictures are (B,), outside of fits and where that is known."""
        if self.familiarity is None or self.trainer.state.fn == "fit":
            return None
        middle = image
        if image.dim() == 5:
            view = getattr(self._data, "view", None)
            middle = image[:, -1][..., *(view.middle if isinstance(view, View) else (...,))]
        return torch.from_numpy(self.familiarity.distance(middle))

    def _close(self, stage: str) -> None:
        """Gathers the prediction table, calibrates on it where it is a fit's validation, and logs the
        metrics.
        """
        release(self.eval_net)
        self.predictions = self._gather(stage)
        if self.trainer.sanity_checking or stage == "predict":
            return
        if self.trainer.state.fn == "fit":
            self._check_finite(self.predictions)
            self._calibrate(self.predictions)
            self.judged_at = self._batches
            if self._features and self._features.early is not None and self.familiarity is None:
                self._learn_home(self._features)
        self._log(stage, self.predictions)

    def _gather(self, stage: str) -> Predictions:
        """The table of all ranks; raises where the data module knows of images that were not judged once."""
        row, logit, label, distance = self.table.compute()
        self.table.reset()
        familiarity = None if self.familiarity is None else self.familiarity.rank(distance)
        trainer, data = self.trainer, self._data
        if data is None:
            return replace(Predictions.of(row, logit, label, {}), familiarity=familiarity)
        limits = (trainer.limit_val_batches, trainer.limit_test_batches, trainer.limit_predict_batches)
        # the whole number 1 is one batch
        whole = all(limit == 1.0 and isinstance(limit, float) for limit in limits)
        split = "val" if stage == "val" else "test"
        missing = data.check_ledger(split, row, whole and not trainer.sanity_checking)
        predictions = replace(Predictions.of(row, logit, label, data.describe(row)), familiarity=familiarity)
        if missing is None or not len(missing.row) or trainer.state.fn == "fit":
            return predictions
        return predictions.with_unjudged(missing, data.describe(missing.row))

    def _check_finite(self, predictions: Predictions) -> None:
        strange = int((~np.isfinite(predictions.logit)).sum())
        if strange:
            raise RunFailure(
                f"{strange} of {len(predictions)} validation logits are NaN or infinite after step "
                f"{self.trainer.global_step}: the weights have run away, whatever the pictures show. Use a "
                "smaller --model.optimizer.lr, or --trainer.gradient_clip_val=1, and begin anew, or go on "
                "from the last checkpoint.",
                NOT_FINITE,
            )

    def calibrate(self, predictions: Predictions) -> tuple[Calibration, dict[str, float]]:
        """Calibration and thresholds that fit a table best."""
        logit, label = predictions.logit, predictions.label
        return (
            fit_calibration(logit, label, self.calibration_kind),
            fit_thresholds(logit, label, predictions.source, predictions.family),
        )

    def use_prior(self, prior: float) -> None:
        """Corrects P(fake) to a share of fakes, in (0, 1); raises as `dfd.calibration.with_prior` does."""
        fitted = self.calibration.calibration if isinstance(self.calibration, Shifted) else self.calibration
        self.calibration = with_prior(fitted, prior, (self.calibrated_on or {}).get("sources", {}))

    def _calibrate(self, predictions: Predictions) -> None:
        self.calibration, self.thresholds = self.calibrate(predictions)
        self.calibrated_on = {
            "split": "val",
            "images": len(predictions),
            "groups": predictions.num_families,
            "step": self.trainer.global_step,
            "sources": certificate(predictions, self.thresholds),
        }
        if title := getattr(self._data, "title", ""):
            self.calibrated_on["data"] = title
        if found_by := getattr(self._data, "face_detector", ""):
            self.calibrated_on["face_detector"] = found_by

    def _learn_home(self, features: Features) -> None:
        self.familiarity = learn_home(features, self._data, self.device)
        self.familiar_at = self.judged_at

    def _log(self, stage: str, predictions: Predictions) -> None:
        calibrated, threshold = self.calibration, self.thresholds["balanced"]
        metrics = detection_metrics(predictions, calibrated, threshold)
        self.log_dict({f"{stage}/{name}": value for name, value in metrics.items()}, prog_bar=False)
        self.log(f"{stage}/loss", metrics["nll"], prog_bar=False)
        # thousands of resamples: for what is reported, not for every epoch
        reported = self.trainer.state.fn != "fit"
        if reported:
            for name, (low, high) in intervals(predictions, calibrated, threshold).items():
                self.log_dict({f"{stage}/{name}_low": low, f"{stage}/{name}_high": high})
        for parts in (by_source(predictions), by_method(predictions)):
            if len(parts) < 2:
                continue
            for name, part in parts.items():
                self.log(f"{stage}/auroc/{name}", detection_metrics(part)["auroc"])
                if reported:
                    low, high = interval(part)
                    self.log_dict({f"{stage}/auroc_low/{name}": low, f"{stage}/auroc_high/{name}": high})

    # checkpoints

    @property
    def _data(self) -> DetectionData | None:
        return self.trainer.datamodule

    @property
    def _batches(self) -> int:
        """Training batches of the run so far."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.state.fn == "fit":
            self._select()
            self._learn_own_home()
        checkpoint["dfd"] = self.card().to_plain()

    def _select(self) -> None:
        """Says what chose the weights that are about to be saved."""
        step = f"step {self.trainer.global_step}"
        if self._batches != self.judged_at:
            self.selected_on = f"nothing: the weights of {step}, which no validation has judged"
        elif monitor := self._monitor_at_best():
            self.selected_on = f"{monitor} (best so far, split: val, {step})"
            self.chosen_by = self.predictions
        else:
            self.selected_on = f"nothing: the last weights, of {step}"

    def _learn_own_home(self) -> None:
        """Where the gate measures the trained net itself, it is fitted for what is kept: the best weights so
        far, and those at the end. Called on all ranks.
        """
        features, judged = self._features, self._batches == self.judged_at
        if features is None or features.early is not None or not judged or self.familiar_at == self.judged_at:
            return
        trainer = self.trainer
        # -1 stands for no end
        last = 0 < (trainer.max_epochs or 0) <= trainer.current_epoch + 1
        if last or self._monitor_at_best():
            # FSDP2 has dealt the weights to the ranks again: there the gate measures the DCT alone
            whole = not any(True for _ in shards(self.eval_net)) and hasattr(self.eval_net, "cam_layers")
            self._learn_home(Features(own=self.eval_net) if whole else features)

    def card(self) -> Card:
        """What a checkpoint says of the net. The calibration is left out where the weights have moved on."""
        card = Card(
            net=recipe(self.net),
            weights_in=NET if self.average is None else AVERAGE,
            view=plain_view(self._data),
            selected_on=self.selected_on,
            seen=self.seen,
            ema_decay=self.ema_decay,
            familiarity=self._gate_state(),
            **self.config,
        )
        if self.trainer.state.fn == "fit" and self._batches != self.judged_at:
            return card
        return replace(
            card,
            calibration=self.calibration,
            thresholds=dict(self.thresholds),
            calibrated_on=self.calibrated_on,
        )

    def _gate_state(self) -> dict[str, Any] | None:
        """None too where the gate measured other weights than these."""
        gate = self.familiarity
        moved = self.trainer.state.fn == "fit" and self.familiar_at != self._batches
        return None if gate is None or (gate.features.own is not None and moved) else gate.state()

    def _monitor_at_best(self) -> str | None:
        """The metric that chooses a checkpoint, where it has just reached its best."""
        metrics = self.trainer.callback_metrics
        for callback in self.trainer.checkpoint_callbacks:
            monitor, best = getattr(callback, "monitor", None), getattr(callback, "best_model_score", None)
            if monitor in metrics and best is not None and metrics[monitor] == best:
                return monitor
        return None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "dfd" not in checkpoint:
            raise ValueError(
                "this checkpoint was not made by dfd: it lacks the entry that says how to rebuild its net."
            )
        # FSDP2 has loaded the weights by now, and taken them out
        state = checkpoint.get("state_dict", {})
        card = Card.from_plain(checkpoint["dfd"], state, "this checkpoint")
        self.calibration, self.thresholds = card.calibration, card.thresholds
        self.calibrated_on, self.seen = card.calibrated_on, card.seen
        self.selected_on = card.selected_on or self.selected_on
        if card.familiarity is not None:
            self.familiarity = Familiarity.of(card.familiarity, self.eval_net, "this checkpoint")
        if card.calibrated_on and (loops := checkpoint.get("loops")):
            self.judged_at = loops["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
            self.familiar_at = self.judged_at
        # checkpoints of earlier days held the calibration as buffers too
        for name in ("temperature_", "thresholds_"):
            state.pop(name, None)


def plain_view(data: Any) -> dict[str, Any] | None:
    """How a data module cuts images, as plain values; None without a data module."""
    if data is None:
        return None
    return asdict(data.view) if hasattr(data.view, "__dataclass_fields__") else dict(vars(data.view))
