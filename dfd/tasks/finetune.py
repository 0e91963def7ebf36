"""Fine-tuning: which weights of a net learn, how fast, and what stands still.

A `ClassificationTask` takes one of these classes as `finetune`. A weight that does not learn is not in the
optimizer, so that no weight decay moves it, and a part of which no weight learns runs in eval mode, so that
its running statistics stand still too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dfd.models import LoRANet, Net
from dfd.models.depth import backbones, distances, head_of, on_top


class FineTuning:
    """Full fine-tuning: all weights learn alike. The others derive from it and say what differs."""

    # of the epoch: its number, parts that run in eval mode, and weights that wait for a later one
    _now: tuple[int, list[nn.Module], set[str]] = (-1, [], set())

    # what a way of fine-tuning says

    def prepare(self, net: Net) -> Net:
        """The net that is trained, whose weights that never learn ask for no gradient."""
        self._now = (-1, [], set())
        learning = self.learning(net)
        for name, weight in net.named_parameters():
            weight.requires_grad_(name in learning)
        return net

    def learning(self, net: nn.Module) -> set[str]:
        """Names of the weights that learn at some time of the training."""
        return {name for name, _ in net.named_parameters()}

    def learning_in(self, net: nn.Module, epoch: int) -> set[str]:
        """Names of the weights that learn in an epoch, counted from 0."""
        return self.learning(net)

    def rates(self, net: nn.Module) -> dict[str, float]:
        """The share of the learning rate that each weight gets, in (0, 1], by its name."""
        return {name: 1.0 for name in self.learning(net)}

    def still(self, net: nn.Module, epoch: int) -> list[nn.Module]:
        """Parts that run in eval mode in an epoch: the largest ones of which no weight learns."""
        learning = self.learning_in(net, epoch)
        if all(name in learning for name, _ in net.named_parameters()):
            return []
        lower = {part for _, backbone in backbones(net) for part in backbone.modules()}
        # what has no weights and lies on top of the backbones keeps measuring what it is given
        return [
            part for part in _still(net, learning) if part in lower or any(True for _ in part.parameters())
        ]

    def after_step(self, net: nn.Module) -> None:
        """Called when the optimizer has changed the weights."""

    # what a task asks of it

    def groups(self, net: nn.Module) -> dict[float, list[nn.Parameter]]:
        """The weights that learn by their share of the learning rate, the largest first. Within a group they
        are in the net's order, by which a resumed optimizer knows them.
        """
        rates = self.rates(net)
        groups: dict[float, list[nn.Parameter]] = {
            share: [] for share in sorted(set(rates.values()), reverse=True)
        }
        for name, weight in net.named_parameters():
            if name in rates:
                groups[rates[name]].append(weight)
        return groups

    def begin_batch(self, net: nn.Module, epoch: int) -> None:
        """Puts what does not learn in this epoch into eval mode, and what no longer stands still out of
        it.
        """
        before, still, _ = self._now
        if before != epoch:
            for part in still:
                part.train()
            waiting = self.learning(net) - self.learning_in(net, epoch)
            self._now = (epoch, self.still(net, epoch), waiting)
        for part in self._now[1]:
            if part.training:
                part.eval()

    def before_step(self, net: nn.Module) -> None:
        """Drops the gradients of weights that wait; before clipping, so that they do not count towards the
        norm.
        """
        if waiting := self._now[2]:
            for name, weight in net.named_parameters():
                if name in waiting:
                    weight.grad = None


class LinearProbe(FineTuning):
    """The head alone learns, and what else is new on top of the backbones, on the features of frozen ones."""

    def learning(self, net: nn.Module) -> set[str]:
        head_of(net)
        return on_top(net)


class StayPositive(FineTuning):
    """Stay-Positive (Rajan and Lee, 2502.07778): the head alone learns, and none of its weights is below
    zero.

    Where features are not negative either, nothing that a picture has makes it more real: it is fake for the
    traces that it has, and real for want of them. Begin with a trained detector (`init_from`). The paper's
    features come out of a ReLU. So do those of ResNet, DenseNet, VGG, Xception and SmallCNN; of others
    `SingleStream(rectify=True)` takes what is above zero.
    """

    def learning(self, net: nn.Module) -> set[str]:
        head_of(net)
        return {name for name, _ in net.named_parameters() if name.startswith("head.")}

    def prepare(self, net: Net) -> Net:
        net = super().prepare(net)
        head_of(net).register_forward_pre_hook(_refuse_negative)
        self.after_step(net)
        return net

    @torch.no_grad()
    def after_step(self, net: nn.Module) -> None:
        head_of(net).weight.clamp_(min=0)


class NormLayers(FineTuning):
    """The head and the gains and offsets of all normalization layers learn (LayerNorm: GenD, 2508.06248;
    BatchNorm: Frankle et al., 2003.00152).

    Args:
        statistics: whether the running means and variances of BatchNorm follow the new pictures, too.
    """

    def __init__(self, statistics: bool = False):
        self.statistics = statistics

    def learning(self, net: nn.Module) -> set[str]:
        head_of(net)
        norms = {f"{name}." for name, part in net.named_modules() if _is_norm(part)}
        of_norms = {name for name, _ in net.named_parameters() if f"{name.rpartition('.')[0]}." in norms}
        return on_top(net) | of_norms

    def still(self, net: nn.Module, epoch: int) -> list[nn.Module]:
        norms = [part for part in net.modules() if isinstance(part, _BatchNorm)]
        still = super().still(net, epoch)
        if not self.statistics:
            return [*still, *norms]
        return [part for part in still if part not in norms]


class LayerDecay(FineTuning):
    """All weights learn, and the more slowly the nearer to the image they are (Clark et al., 2003.10555).

    Args:
        decay: share of the learning rate from one layer to the one before it, in (0, 1].
    """

    def __init__(self, decay: float = 0.75):
        if not 0 < decay <= 1:
            raise ValueError(f"decay={decay} is a share, above 0 and up to 1. Use .75 as a start.")
        self.decay = decay

    def rates(self, net: nn.Module) -> dict[str, float]:
        return {name: self.decay**layers for name, layers in distances(net).items()}


class GradualUnfreezing(FineTuning):
    """The head learns first, then layer by layer joins it, from the last to the first (ULMFiT, Howard and
    Ruder, 1801.06146).

    All weights stay in the optimizer all along: changing `requires_grad` half-way makes ranks diverge under
    DDP. Gradients of those that wait are dropped before each step.

    Args:
        epochs: from one step of the unfreezing to the next.
        layers: how many layers join at each.
    """

    def __init__(self, epochs: int = 1, layers: int = 1):
        for name, value in (("epochs", epochs), ("layers", layers)):
            if value < 1:
                raise ValueError(f"{name}={value}: nothing would be unfrozen. Use 1 or more.")
        self.epochs, self.layers = epochs, layers

    def learning_in(self, net: nn.Module, epoch: int) -> set[str]:
        joined = epoch // self.epochs * self.layers
        return {name for name, layers in distances(net).items() if layers <= joined}


class LoRA(FineTuning):
    """The head learns, and of each linear layer a correction of low rank (Hu et al., 2106.09685), by peft.

    Whatever is loaded from the checkpoint to judge pictures has the corrections added to its weights.

    Args:
        rank: of the corrections.
        alpha: they are scaled by alpha / rank.
        dropout: share of their inputs that is dropped in training.
        targets: names of the layers to correct, or how such names end: ["qkv", "proj"]. By default all linear
            layers of the net, or where there is none all convolutions without groups.
    """

    def __init__(
        self, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, targets: list[str] | None = None
    ):
        self.options = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": targets}

    def prepare(self, net: Net) -> Net:
        return super().prepare(LoRANet(net, **self.options))

    def learning(self, net: nn.Module) -> set[str]:
        return net.new_weights()


def _still(part: nn.Module, learning: set[str], prefix: str = "") -> Iterator[nn.Module]:
    names = [f"{prefix}{name}" for name, _ in part.named_parameters()]
    kept = bool(names) or any(True for _ in part.buffers())
    if kept and not any(name in learning for name in names):
        yield part
        return
    for name, child in part.named_children():
        yield from _still(child, learning, f"{prefix}{name}.")


def _is_norm(part: nn.Module) -> bool:
    """torch's normalization layers, those that timm derives from them, and those called so."""
    known = (nn.LayerNorm, nn.GroupNorm, _BatchNorm, nn.RMSNorm)
    return isinstance(part, known) or type(part).__name__.lower().startswith(("rmsnorm", "layernorm"))


def _refuse_negative(head: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    """ValueError where features that a Stay-Positive head is trained on are below zero."""
    if head.training and bool((given[0] < 0).any()):
        raise ValueError(
            "Stay-Positive needs features that are not negative, and this net gives some below zero. Use "
            "--model.net.rectify=true with dfd.models.SingleStream, or a backbone that ends in a ReLU, such "
            "as resnet50."
        )
