"""Fit loop: whatever ends a fit, its last weights are judged and saved, and whether that was the planned end.

Lightning validates at the end of an epoch or at an interval. A fit that `max_steps`, `max_time` or a callback
ends between two validations would leave its last steps unjudged, and mostly unsaved.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from lightning.pytorch.callbacks import Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loops import _TrainingEpochLoop
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dfd.run_record import RunFailure, RunFolder

# Lightning's words, of the callback and of the metric that it does not find
_NO_METRIC = re.compile(r"`?(Early stopping|ModelCheckpoint)(?: conditioned on metric `|\(monitor=')([^`']+)")


class FitLoop(_FitLoop):
    """Lightning's, which also judges and saves what it ends with, and prepares validation before it trains.

    Attributes:
        begun_at: batches that were trained before this process began; -1 until then.
    """

    begun_at = -1

    @property
    def batches(self) -> int:
        """Training batches of the run so far, those before it was resumed included."""
        return self.epoch_loop.batch_progress.total.ready

    @property
    def whole_epochs(self) -> int:
        """Epochs of the run that have ended with their last batch."""
        return self.epoch_progress.current.processed - self._is_cut

    @property
    def stopped_by(self) -> str:
        """What ended the fit before its planned end, in words; "" where that was reached: max_steps,
        max_epochs or early stopping.
        """
        trainer, epochs = self.trainer, self.max_epochs
        if 0 <= self.max_steps <= trainer.global_step or (
            epochs is not None and 0 <= epochs <= self.whole_epochs
        ):
            return ""
        for stop in trainer.early_stopping_callbacks:
            if stop.stopping_reason == EarlyStoppingReason.NON_FINITE_METRIC:
                return f"early stopping, since {stop.monitor} was not defined (NaN or Inf)"
            if stop.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
                return ""
        timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
        left = [timer.time_remaining() for timer in timers]
        return "max_time" if any(time is not None and time <= 0 for time in left) else "a callback"

    @property
    def _is_cut(self) -> bool:
        """Whether the epoch has ended before its last batch."""
        epoch = self.epoch_progress.current
        return (
            0 < epoch.ready == epoch.processed
            and self.epoch_loop.batch_progress.current.ready > 0
            and not self.epoch_loop._num_ready_batches_reached()
        )

    def run(self) -> None:
        self.begun_at = self.batches
        try:
            super().run()
        except (RuntimeError, MisconfigurationException) as error:
            if not (found := _NO_METRIC.match(str(error))):
                raise
            self._save()  # what was trained until then waited for the callbacks behind this one
            raise RunFailure(self._explain_missing(*found.groups())) from error
        if not self.stopped_by:
            self._judge_and_save()

    def on_run_start(self) -> None:
        # what is wrong with the validation data, or with the share of them, is said before the first step
        if self.trainer.enable_validation and self.trainer.val_dataloaders is None:
            self.trainer.validating = True
            self.epoch_loop.val_loop.setup_data()
            self.trainer.training = True
        super().on_run_start()

    def on_run_end(self) -> None:
        self._judge_and_save()
        super().on_run_end()

    def _judge_and_save(self) -> None:
        """Of what the fit ends with, the judging and the saving that have not been done.

        A run may have been killed between its last step, which a callback had saved, and the validation.
        """
        trained, total = self.batches > self.begun_at, self.epoch_loop.batch_progress.total
        owed = total.completed < total.processed
        within = self.epoch_progress.current.processed < self.epoch_progress.current.ready
        if not (trained or owed):
            return
        if owed:
            self.epoch_loop.batch_progress.increment_completed()
            self.epoch_loop._batches_that_stepped += not within
        if self.trainer.enable_validation and self.epoch_loop.judged_at != self.batches:
            self.epoch_loop.judge(counted=not within)
            for saver in self.trainer.checkpoint_callbacks:
                saver.on_train_epoch_end(self.trainer, self.trainer.lightning_module)
        self._save()

    def _explain_missing(self, callback: str, metric: str) -> str:
        """That a callback watches a metric which nobody has logged, and those that there are."""
        here = sorted(self.trainer.callback_metrics)
        known = [each for each in here if each.partition("/")[0] == metric.partition("/")[0]] or here
        near = get_close_matches(metric, known, n=2, cutoff=0.5)
        last, meant = RunFolder(self.trainer.default_root_dir).last, f" Did you mean {' or '.join(near)}?"
        saved = (
            f" {last.name} has what was trained, and the same command goes on from it."
            if last.exists()
            else ""
        )
        callback = callback.replace("Early stopping", "EarlyStopping")
        return (
            f"{callback} watches {metric}, which nothing has logged."
            f"{meant if near else ''}{saved} There are: {', '.join(known)}."
        )

    @property
    def moment(self) -> tuple[int, int]:
        """By which a checkpoint is known to be of these weights, and to know of their judgement."""
        return self.batches, self.epoch_loop.judged_at

    def _save(self) -> None:
        """Saves last.ckpt, unless callbacks have saved all of this or the user wants no checkpoints."""
        trainer, last = self.trainer, RunFolder(self.trainer.default_root_dir).last
        if not trainer.checkpoint_callbacks or trainer.fast_dev_run:
            return
        there = trainer.strategy.broadcast(last.exists())  # one word for all ranks, which save together
        stale = there and trainer.saved.get(str(last.absolute())) != self.moment
        if stale or self.moment not in trainer.saved.values():
            trainer.save_checkpoint(last)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Of an epoch that was cut, the state in which its last batch left it: so a resumed run trains on the
        rest.
        """
        state = super().state_dict(*args, **kwargs)
        if self._is_cut:
            for progress in (state["epoch_progress"]["current"], state["epoch_progress"]["total"]):
                progress["processed"] = progress["completed"] = progress["ready"] - 1
            state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        return state


class EpochLoop(_TrainingEpochLoop):
    """Lightning's, which also validates behind the last step of a fit.

    Attributes:
        judged_at: batches that the run had trained at its last validation.
    """

    judged_at = -1

    @property
    def done(self) -> bool:
        # gradients that wait for the rest of an accumulation window are in no checkpoint
        within_window = self.trainer.should_stop and self._should_accumulate()
        return not within_window and super().done

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        epoch = self.trainer.fit_loop.epoch_progress.current
        if self.restarting and self.restarted_on_last and epoch.processed < epoch.ready:
            # saved behind the validation of this batch, or behind the last batch of a run without one: it is
            # only left to be counted, which Lightning does where it passes over a validation
            return True
        if not self.trainer.enable_validation or (self.trainer.should_stop and self._should_accumulate()):
            return False
        if super()._should_check_val_fx(data_fetcher) or self._is_last:
            self.judged_at = self.batch_progress.total.ready
            return True
        return False

    @property
    def _is_last(self) -> bool:
        """Whether the batch that was just trained on is the last one of the fit."""
        fit_loop = self.trainer.fit_loop
        if self.trainer.should_stop and fit_loop._can_stop_early:
            return True
        epochs = fit_loop.max_epochs
        last_epoch = epochs is not None and 0 <= epochs <= self.trainer.current_epoch + 1
        return 0 <= self.max_steps <= self.global_step or (last_epoch and self._num_ready_batches_reached())

    def judge(self, counted: bool) -> None:
        """Validates behind the last step.

        Args:
            counted: that step is, so that the validation is logged with the one before, as that step's own.
        """
        self.trainer.validating = True
        self._batches_that_stepped -= counted
        self.val_loop.run()
        self._batches_that_stepped += counted
        self.trainer.training = True
        self.judged_at = self.batch_progress.total.ready
