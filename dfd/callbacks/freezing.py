"""Freezing: parts of a net are held still for the first epochs of a fine-tuning."""

from difflib import get_close_matches

from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from dfd.batch import Batch


class FreezeThenUnfreeze(Callback):
    """Keeps the weights and running statistics of some modules as they are for the first epochs.

    Their parameters stay trainable and in the optimizer all along: changing `requires_grad` or the groups
    half-way makes ranks diverge silently under DDP. Instead their gradients are dropped before each step
    (before clipping too, so that they do not count towards its norm), which also spares them weight decay,
    and their BatchNorm layers run in eval mode.

    Args:
        modules: names as in the task, such as `net.rgb`.
        epochs: how many epochs they are held.
    """

    def __init__(self, modules: list[str], epochs: int = 1):
        if epochs < 1:
            raise ValueError(f"epochs={epochs} holds nothing. Use 1 or more, or leave the callback out.")
        self.modules, self.epochs = modules, epochs
        self._held: list[nn.Module] = []
        self._stilled: list[nn.Module] = []  # BatchNorm layers that this callback has put into eval mode

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        known = dict(task.named_modules())
        for name in self.modules:
            if not name or name not in known:
                near = get_close_matches(name, known, n=3, cutoff=0.5)
                hint = (
                    f"Did you mean {' or '.join(near)}?"
                    if near
                    else f"Try one of {', '.join(list(known)[1:6])}."
                )
                raise ValueError(f"FreezeThenUnfreeze: the task has no module {name!r}. {hint}")

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        # now: strategies replace layers after the setup
        self._held = [task.get_submodule(name) for name in self.modules]

    def on_train_batch_start(
        self, trainer: Trainer, task: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if self._holds(trainer):
            norms = (
                part for module in self._held for part in module.modules() if isinstance(part, _BatchNorm)
            )
            self._stilled += [norm.eval() for norm in norms if norm.training]
        else:
            while self._stilled:
                self._stilled.pop().train()

    def on_before_optimizer_step(self, trainer: Trainer, task: LightningModule, optimizer: Optimizer) -> None:
        if self._holds(trainer):
            for module in self._held:
                for weight in module.parameters():
                    weight.grad = None

    def _holds(self, trainer: Trainer) -> bool:
        return trainer.current_epoch < self.epochs
