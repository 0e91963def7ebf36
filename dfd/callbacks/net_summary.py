"""Summary of what a fit trains: each net, its parts, and how many of their parameters learn."""

from collections.abc import Iterator

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary
from torch import nn


class NetSummary(ModelSummary):
    """Prints a line a net at the start of a fit.

    It stands for Lightning's own table, which lists metrics and losses as layers, and gives 0 FLOPs. What a
    net costs is measured by `dfd compare --on`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for line in summary(pl_module):
                print(line, flush=True)


def summary(task: nn.Module) -> Iterator[str]:
    """A line for each module of a task that has parameters, such as "net: SmallCNN, 993 parameters, which all
    learn (stem 864; head 129)".
    """
    for name, net in task.named_children():
        held, learn = _counts(net)
        if not held:
            continue
        parts = [(part, _counts(module)[0]) for part, module in net.named_children()]
        shown = "; ".join(f"{part} {count:,}" for part, count in parts if count)
        words = f"of which {learn:,} learn" if learn else "none of which learns"
        if learn == held:
            words = "which all learn"
        yield f"{name}: {type(net).__name__}, {held:,} parameters, {words}{f' ({shown})' if shown else ''}"


def _counts(module: nn.Module) -> tuple[int, int]:
    """Parameters, and those that learn."""
    sizes = [(each.numel(), each.requires_grad) for each in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
