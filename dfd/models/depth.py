"""Depth of a net's weights: how many layers lie between each and the head."""

from __future__ import annotations

from torch import nn

from dfd.models.net import Net


def head_of(net: nn.Module) -> nn.Module:
    """The last layer of a detector, features (B, F) -> logits (B, 1), under the name `head`.

    Raises:
        ValueError: the net has none of that name.
    """
    head = getattr(net, "head", None)
    if not isinstance(head, nn.Module):
        raise ValueError(
            f"{type(net).__name__} has no layer `head`, features (B, F) -> logits (B, 1), which is asked for "
            "here. Call its last layer so."
        )
    return head


def distances(net: nn.Module) -> dict[str, int]:
    """For each weight, by its name, how many layers lie behind it: 0 for the head and all else that is new
    on top of the backbones, 1 for the last layer of a backbone, and most for its first one; one more for what
    a spectrum learns in front of it.

    A backbone is a part with `num_features`. Its layers are those of its `depths`; without such a method each
    part of it counts as one, in the order in which they were made.
    """
    away = {name: 0 for name, _ in net.named_parameters()}
    for prefix, backbone in backbones(net):
        depths = backbone.depths() if hasattr(backbone, "depths") else _parts(backbone)
        behind = max(depths.values(), default=0) + 1
        away |= {f"{prefix}.{name}": behind - depth for name, depth in depths.items()}
    first = max(away.values(), default=0) + 1
    return {name: first if name.startswith("spectrum.") else layers for name, layers in away.items()}


def on_top(net: nn.Module) -> set[str]:
    """Names of the weights of the head and of all else that is new on top of the backbones."""
    return {name for name, layers in distances(net).items() if layers == 0}


def backbones(net: nn.Module) -> list[tuple[str, Net]]:
    """The outermost parts of a net that give features, with their names."""
    found: list[tuple[str, Net]] = []
    for name, part in net.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer, _ in found)
        if name and isinstance(part, Net) and hasattr(part, "num_features") and not inside:
            found.append((name, part))
    return found


def _parts(backbone: Net) -> dict[str, int]:
    order: dict[str, int] = {}
    return {
        name: order.setdefault(name.partition(".")[0], len(order)) for name, _ in backbone.named_parameters()
    }
