"""Trainer options that cannot be: refused in one line, before anything is made or trained.

Lightning divides by some of them in the middle of a run, and passes over others without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities.model_helpers import is_overridden

from dfd.cli.error_messages import closest

PROFILERS = ("simple", "advanced", "pytorch", "xla")
# by which the net has numbers of another kind than its pictures, which are float32 whatever the precision
WHOLLY = {"16-true": "16-mixed", "bf16-true": "bf16-mixed", "64-true": "32-true", "64": "32-true"}
# the share of batches that a verb works on; with none of them there would be nothing to do
NEEDED = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
LEAST = {  # whole numbers that have a smallest value, and what they are
    "check_val_every_n_epoch": (1, "epochs from one validation to the next"),
    "num_nodes": (1, "machines"),
    "accumulate_grad_batches": (1, "batches that make a step"),
    "log_every_n_steps": (0, "steps from one line to the next (0 logs none)"),
    "reload_dataloaders_every_n_epochs": (0, "epochs (0 never reloads)"),
    "num_sanity_val_steps": (-1, "validation batches before training (-1 takes all)"),
    "fast_dev_run": (0, "batches (0 is a whole run)"),
    "max_epochs": (-1, "epochs (-1 has no end)"),
    "max_steps": (-1, "steps (-1 has no end)"),
    "min_epochs": (0, "epochs"),
    "min_steps": (0, "steps"),
}
SHARES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches")


def check_options(trainer: Any, verb: str) -> None:
    """Of a Trainer's options, those that no run can have.

    Args:
        trainer: the options, by their names.
        verb: fit, validate, test or predict.

    Raises:
        ValueError: the first of them, with what to use instead.
    """
    if fault := next(_faults(trainer, verb), None):
        raise ValueError(f"trainer.{fault}")


def _faults(trainer: Any, verb: str) -> Iterator[str]:
    for name, (least, what) in LEAST.items():
        value = getattr(trainer, name)
        if isinstance(value, int) and value < least:
            yield f"{name}={value} is no number of {what}. Use {least} or more."
    for what in ("epochs", "steps"):
        least, most = getattr(trainer, f"min_{what}"), getattr(trainer, f"max_{what}")
        if least is not None and most is not None and 0 <= most < least:
            yield f"min_{what}={least} is more than trainer.max_{what}={most}. Lower it, or raise that."
    for name in (*SHARES, "overfit_batches"):
        if (value := getattr(trainer, name)) is not None and not _is_share(value):
            yield f"{name}={value} is neither a number of batches nor a share of them from 0.0 to 1.0."
    if (needed := NEEDED.get(verb)) and getattr(trainer, needed) == 0:
        yield f"{needed}=0: nothing would be judged. Use 1 or more batches, or a share of them such as 0.1."
    interval = trainer.val_check_interval
    if isinstance(interval, (int, float)) and (not _is_share(interval) or not interval):
        yield (
            f"val_check_interval={interval} is neither a number of batches from 1 up nor a share of an epoch "
            "up to 1.0. Without validation: --trainer.limit_val_batches=0."
        )
    clip = trainer.gradient_clip_val
    if clip is not None and not 0 <= clip < math.inf:
        yield f"gradient_clip_val={clip} is no length of a gradient. Use 1.0, or null not to clip."
    if trainer.gradient_clip_algorithm not in (None, "norm", "value"):
        yield f"gradient_clip_algorithm={trainer.gradient_clip_algorithm} is not one of: norm, value."
    if isinstance(trainer.profiler, str) and trainer.profiler not in PROFILERS:
        near = closest(trainer.profiler, PROFILERS)
        yield f"profiler={trainer.profiler} is not one of: {', '.join(PROFILERS)}. {near}".rstrip()
    if trainer.barebones:
        yield "barebones=true switches off what a run logs and saves. Leave it out."
    if instead := WHOLLY.get(str(trainer.precision)):
        yield (
            f"precision={trainer.precision} would turn the whole net into other numbers than its pictures, "
            f"which are 32-bit. Use {instead}."
        )
    yield from _placed(trainer)


def _placed(trainer: Any) -> Iterator[str]:
    """Faults of where a run is to be computed."""
    devices, strategy = trainer.devices, trainer.strategy
    if isinstance(strategy, str) and strategy != "auto":
        known = StrategyRegistry.available_strategies()
        if strategy not in known:
            near = closest(strategy, known)
            yield f"strategy={strategy} is no strategy of Lightning's. {near}Use auto or ddp."
        if "spawn" in strategy:
            yield f"strategy={strategy} starts ranks that do not have the command line. Use ddp."
    text = str(devices).strip()
    if isinstance(devices, (int, str)) and text not in ("auto", "-1"):
        numbers = [part.strip() for part in text.strip("[], ").split(",")]
        several = "," in text or text.startswith("[")
        if not all(each.isdecimal() for each in numbers) or (not several and int(text) < 1):
            yield f"devices={text} is no number of devices. Use 1 or more, or auto."
        devices = numbers if several else devices
    if isinstance(devices, (list, tuple)) and not _has_gpu(trainer.accelerator):
        yield f"devices={text} names devices, and a CPU has no numbers. Use a number of ranks, such as 1."


def _has_gpu(accelerator: Any) -> bool:
    here = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator != "cpu" and (here or accelerator != "auto")


def _is_share(value: float) -> bool:
    return value >= 0 if isinstance(value, int) else 0 <= value <= 1


def check_callbacks(callbacks: Sequence[Callback], saves: bool) -> None:
    """Refuses callbacks that a run cannot have together.

    Args:
        saves: whether there are to be checkpoints (trainer.enable_checkpointing).

    Raises:
        ValueError: a checkpoint could not tell two of them apart; or some save, where nothing is to be saved;
            or one would choose on test.
    """
    from lightning.pytorch.callbacks import Checkpoint

    for callback in callbacks:
        watched = str(getattr(callback, "monitor", ""))
        if watched.startswith("test/"):
            raise ValueError(
                f"trainer.callbacks has {type(callback).__name__} of {watched}: what is chosen on test "
                "pictures has no figure on them any more. A fit knows val alone: take "
                f"val/{watched.removeprefix('test/')}."
            )
    savers = [type(each).__name__ for each in callbacks if isinstance(each, Checkpoint)]
    if savers and not saves:
        raise ValueError(
            f"trainer.enable_checkpointing=false, and trainer.callbacks has {' and '.join(savers)}. Leave it "
            "out, or give callbacks without them: --trainer.callbacks=[]."
        )
    seen = set()
    for callback in callbacks:
        if not is_overridden("state_dict", callback, parent=Callback):
            continue
        if callback.state_key in seen:
            name = type(callback).__name__
            alike = getattr(callback, "monitor", None)
            raise ValueError(
                f"trainer.callbacks has a second {name}{f' of {alike}' if alike else ''}, which a checkpoint "
                "could not tell from the first. To change the first: dfd fit --config CONFIG --print_config "
                "> mine.yaml, its lines under trainer.callbacks, and --config mine.yaml. To have two, let "
                "them differ in what they watch (monitor, mode"
                f"{', every_n_epochs' if name == 'ModelCheckpoint' else ''})."
            )
        seen.add(callback.state_key)
