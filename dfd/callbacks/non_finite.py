"""NaN guard: steps whose loss or gradients are NaN or Inf are skipped, counted and named."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dfd.batch import Batch
from dfd.distributed import gather_objects
from dfd.run_record import NOT_FINITE, RunFailure, RunFolder
from dfd.terminal import printable

_log = logging.getLogger(__name__)


class FiniteGuard(Callback):
    """Skips each optimizer step whose loss or gradients are not finite on any rank, on all ranks, and ends a
    run of too many.

    The weights and the optimizer's state stay as they were; after a bad loss the buffers too (a forward pass
    that ends in NaN has left it in BatchNorm's statistics). An average of the weights takes in the same
    weights once more. Each skipped step is counted, said in a line, and the keys of its batch stand in
    not_finite.csv of the run folder.

    What it costs: the norm of the gradients, a copy of the buffers, with several ranks two all-reduces of one
    number. No GPU waits for it: the loss is looked at while the backward pass runs, and a fused optimizer is
    told on the device to leave its step out, which is counted one step later. Any other optimizer on a GPU
    costs one wait a step. Under 16-mixed the gradients are the GradScaler's affair, which looks for its scale
    by overflows; the loss is watched all the same.

    Args:
        max_in_a_row: skipped steps in a row that are tolerated; one more ends the run.
        max_total: skipped steps that are tolerated in a whole run, its resumed parts included.
    """

    def __init__(self, max_in_a_row: int = 5, max_total: int = 100):
        for name, value in (("max_in_a_row", max_in_a_row), ("max_total", max_total)):
            if value < 0:
                raise ValueError(
                    f"{name}={value} is negative. Use 0 to end the run at the first step that is not finite."
                )
        self.max_in_a_row, self.max_total = max_in_a_row, max_total
        self._in_a_row = self._total = 0
        self._step = _Step()
        self._late: tuple[Trainer, _Step, _Flag] | None = (
            None  # a step of which the device knows already, and we do not
        )
        self._buffers: list[list[Tensor]] = []  # of the task, by dtype
        self._before: list[list[Tensor]] = []  # what was in them before the step

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in task.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(by_type.values())
        self._before = [[buffer.clone() for buffer in alike] for alike in self._buffers]
        self._step, self._late = _Step(), None

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if self._step.judged:
            self._step = _Step()
        if not self._step.rows:  # with accumulated gradients a step is several batches
            for before, now in zip(self._before, self._buffers, strict=True):
                torch._foreach_copy_(before, now)
        self._step.rows.append(batch["row"])
        self._step.valid.append(batch["valid"])

    def on_before_backward(self, trainer: Trainer, task: LightningModule, loss: Tensor) -> None:
        mine = ~torch.isfinite(loss.detach()).all()
        self._step.mine.append(mine)
        self._step.loss.append(_Flag(_on_any_rank(mine, trainer)))

    def on_before_optimizer_step(self, trainer: Trainer, task: LightningModule, optimizer: Optimizer) -> None:
        step = self._step
        if not step.loss:  # of several optimizers that step on one backward pass the first has judged for all
            return
        self._settle()
        step.judged, step.number, step.epoch = True, trainer.global_step, trainer.current_epoch
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if any([flag.read() for flag in step.loss]):
            for before, now in zip(self._before, self._buffers, strict=True):
                torch._foreach_copy_(now, before)
            if not scaled:  # the scaler leaves the step out by itself, and wants to see why
                _drop_gradients(task)
            self._count(trainer, step, "loss")
        elif scaled:
            self._count(trainer, step, "")
        else:
            self._judge_gradients(trainer, task)
        step.loss.clear()
        step.mine.clear()

    def _judge_gradients(self, trainer: Trainer, task: LightningModule) -> None:
        bad = _on_any_rank(_not_finite(task), trainer)
        if _runs_ahead(bad) and all(map(_can_be_told, trainer.optimizers)):
            for optimizer in trainer.optimizers:
                optimizer.found_inf = bad.float()  # as a GradScaler does: their kernels then change nothing
            self._late = trainer, self._step, _Flag(bad)
            return
        if bad:
            _drop_gradients(task)
        self._count(trainer, self._step, "gradients" if bad else "")

    def _settle(self) -> None:
        """Counts the step before, where only the device knew of it."""
        if self._late is not None:
            (trainer, step, flag), self._late = self._late, None
            self._count(trainer, step, "gradients" if flag.read() else "")

    def _count(self, trainer: Trainer, step: _Step, what: str) -> None:
        """`what` is not finite, "" for nothing. Called on all ranks at once."""
        if not what:
            self._in_a_row = 0
            return
        self._in_a_row, self._total = self._in_a_row + 1, self._total + 1
        guilty = what == "gradients" or any(bool(flag) for flag in step.mine)  # gradients are everybody's
        found = _keys(trainer, step) if guilty else []
        everyone = gather_objects(found)
        path = RunFolder(trainer.default_root_dir).not_finite
        keys = [key for rank in everyone for key in rank]
        if trainer.is_global_zero:
            _append(path, step, what, everyone)
            _log.warning(
                f"step {step.number} is skipped: its {what} {'are' if what == 'gradients' else 'is'} not "
                f"finite ({self._in_a_row} in a row, {self._total} in all). Keys of its batch: "
                f"{printable(', '.join(keys[:3]))}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}, "
                f"in {path}."
            )
        rate = ", ".join(f"{group['lr']:.2g}" for group in trainer.optimizers[0].param_groups)
        slower = f"a smaller --model.optimizer.lr (now {rate}), or --trainer.gradient_clip_val=1"
        # one batch after the other: that is no picture's doing
        in_a_row = f"so many are hardly the pictures' doing: the weights have run away. Use {slower}"
        in_all = f"look at those pictures, or use {slower}"
        for name, count, limit, why in (
            ("in a row ", self._in_a_row, self.max_in_a_row, in_a_row),
            ("", self._total, self.max_total, in_all),
        ):
            if count > limit:
                raise RunFailure(
                    f"{count} steps {name}were not finite (NaN or Inf), the last one step {step.number}, "
                    f"whose batch holds {', '.join(keys[:3])}; {why}. All keys are in {path}. The weights "
                    "are as they were before. The same command goes on from the last checkpoint.",
                    NOT_FINITE,
                )

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._settle()

    def state_dict(self) -> dict[str, int]:
        self._settle()
        return {"in_a_row": self._in_a_row, "total": self._total}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._in_a_row, self._total = state["in_a_row"], state["total"]


@dataclass
class _Step:
    """What is known of one optimizer step."""

    rows: list[Tensor] = field(default_factory=list)  # (B,) of each of its batches
    valid: list[Tensor] = field(default_factory=list)  # (B,) bool, likewise
    mine: list[Tensor] = field(default_factory=list)  # whether this rank's loss is bad, for each of them
    loss: list[_Flag] = field(default_factory=list)  # whether any rank's is
    judged: bool = False
    number: int = 0
    epoch: int = 0


class _Flag:
    """A truth value on its way from the device, asked for without waiting for what the device is given to do
    after it.
    """

    def __init__(self, value: Tensor):
        self._value, self._there = value, None
        if value.is_cuda:
            self._value = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(value, non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record()

    def read(self) -> bool:
        if self._there is not None:
            self._there.synchronize()
        return bool(self._value)


def _on_any_rank(flag: Tensor, trainer: Trainer) -> Tensor:
    if trainer.world_size == 1:
        return flag
    number = flag.to(torch.int32)  # NCCL reduces no truth values
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
    return number.bool()


def _not_finite(task: LightningModule) -> Tensor:
    """Whether any gradient of this rank holds NaN or Inf, or is so large that its norm does."""
    gradients = [weight.grad for weight in task.parameters() if weight.grad is not None]
    gradients = [each.to_local() if isinstance(each, DTensor) else each for each in gradients]
    gradients = [each for each in gradients if each.numel()]  # a shard may be empty
    if not gradients:
        return torch.zeros((), dtype=torch.bool, device=task.device)
    return ~torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all()


def _runs_ahead(value: Tensor) -> bool:
    """Whether to look at it is to wait for a device."""
    return value.is_cuda


def _can_be_told(optimizer: Optimizer) -> bool:
    """Whether a tensor on the device can hold its step back: a fused one's, of weights that are no shards."""
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return fused and not isinstance(optimizer.param_groups[0]["params"][0], DTensor)


def _drop_gradients(task: LightningModule) -> None:
    """An optimizer passes over a weight without a gradient: no step, no decay, no moments."""
    for weight in task.parameters():
        weight.grad = None


def _keys(trainer: Trainer, step: _Step) -> list[str]:
    """The keys of a step's images, without those that could not be decoded."""
    rows = torch.cat(step.rows)[torch.cat(step.valid)].cpu().numpy()
    return (
        [f"row {row}" for row in rows]
        if trainer.datamodule is None
        else trainer.datamodule.describe(rows)["key"].tolist()
    )


def _append(path: Path, step: _Step, what: str, keys: list[list[str]]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["epoch", "step", "rank", "what", "key"])
        writer.writerows(
            [step.epoch, step.number, rank, what, key] for rank, mine in enumerate(keys) for key in mine
        )
