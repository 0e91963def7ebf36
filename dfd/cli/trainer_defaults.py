"""Trainer defaults: the callbacks, time limit and checkpoint writing of a run whose config names none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dfd.callbacks.time_limit import TimeLimit
from dfd.durable import make_folder
from dfd.run_record import RunFolder
from dfd.terminal import is_terminal
from dfd.training.checkpoint_io import DurableCheckpointIO, local
from dfd.training.sync_batchnorm import SyncBatchNorm


def with_defaults(
    callbacks: list[Callback],
    verb: str,
    seed: int,
    progress: bool,
    summary: bool = False,
    prior: float | None = None,
) -> list[Callback]:
    """A config's callbacks, and those of dfd that it names none of.

    Args:
        seed: of the steps of a fit.
        progress: whether there is to be a bar or lines.
        summary: whether a fit says at its start what learns.
        prior: share of fakes that P(fake) is corrected to, where a checkpoint is judged.
    """
    from dfd.callbacks import (
        FiniteGuard,
        NetSummary,
        PredictionWriter,
        Preemption,
        ProgressLines,
        RelocatedCheckpoints,
        RunStatus,
        StepSeed,
        TerminalBar,
    )

    wanted: list[Callback] = [
        StepSeed(seed),
        FiniteGuard(),
        RunStatus(),
        RelocatedCheckpoints(),
        Preemption(),
    ]
    # one of Lightning's own is left as it is asked for
    if summary and not any(isinstance(callback, ModelSummary) for callback in callbacks):
        wanted.append(NetSummary())
    if verb != "fit":
        from dfd.evaluate.shortcut_check import ShortcutCheck  # and the audit, which no fit need wait for

        wanted = [PredictionWriter(prior), ShortcutCheck()]
    defaults = [
        each for each in wanted if not any(isinstance(callback, type(each)) for callback in callbacks)
    ]
    for callback in callbacks:
        if prior is not None and isinstance(callback, PredictionWriter):
            callback.prior = prior
    if progress and not any(isinstance(callback, (ProgressBar, ProgressLines)) for callback in callbacks):
        defaults.append(TerminalBar() if is_terminal(sys.stdout) else ProgressLines())
    return callbacks + defaults


def time_limit(duration: Any, callbacks: list[Callback]) -> dict[str, Any]:
    """Adds the callback that counts max_time from this start; what the Trainer is told in its place.

    Raises:
        ValueError: `duration` is no time.
    """
    if duration is None:
        return {}
    try:
        callbacks.append(TimeLimit(duration))
    except MisconfigurationException as error:
        raise ValueError(
            f"trainer.max_time={duration} is no time in days, hours, minutes and seconds. Write eight hours "
            "as 00:08:00:00."
        ) from error
    return {"max_time": None}


def leave_out_waiting(callbacks: list[Callback]) -> str:
    """Takes away what would wait for a validation where there is none, and says so."""
    waiting = [each for each in callbacks if str(getattr(each, "monitor", "")).startswith("val/")]
    for callback in waiting:
        callbacks.remove(callback)
    names = " and ".join(f"{type(each).__name__} of {each.monitor}" for each in waiting)
    without = f" Left out, since they would wait for it: {names}." if names else ""
    return (
        "no validation, since trainer.limit_val_batches=0: the last weights are saved, unjudged and "
        f"without a calibration.{without}"
    )


def save_durably(trainer: Trainer, folder: Path, verb: str) -> None:
    """Checkpoints go into the run folder, whole or not at all, unless the config has ways of its own; and
    BatchNorm's numbers are shared by dfd's means where they are to be shared.
    """
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "dirpath", "elsewhere") is None:
            callback.dirpath = str(RunFolder(folder).checkpoints)
        if verb == "fit" and trainer.is_global_zero and getattr(callback, "dirpath", None):
            make_folder(local(callback.dirpath))  # said now, not after an epoch
    # neither the config nor the strategy brings its own
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = DurableCheckpointIO(judging=verb != "fit")
    if type(getattr(trainer.strategy, "_layer_sync", None)) is TorchSyncBatchNorm:
        trainer.strategy._layer_sync = SyncBatchNorm()
