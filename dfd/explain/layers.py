"""Layers of a net by name: what their filters look like, and what they answer to a picture."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfd.explain.unchanged import has_gradients, net_of, ready, unchanged


@dataclass(frozen=True)
class Activations:
    """The channels of a layer that count most for an image.

    Args:
        layer: the layer's name.
        maps: (B, K, h, w) float32, the strongest channel first.
        channel: (B, K) int64, their numbers.
        weight: (B, K) what each adds to the logit, to first order (gradient times activation, summed); of a
            net without gradients the mean activation.
    """

    layer: str
    maps: Tensor
    channel: Tensor
    weight: Tensor


def find_layer(net: nn.Module, name: str | None = None) -> tuple[str, nn.Module]:
    """A layer with its name: one of `net.cam_layers`, the first where no name is given, or any module of the
    net by its dotted name.

    Raises:
        ValueError: there is none of that name, or none was named and the net names none itself.
    """
    layers = dict(getattr(net, "cam_layers", {}))
    if name is None:
        if not layers:
            raise ValueError(
                f"this {type(net).__name__} names no layer whose output is a map of the picture. Name one by "
                "layer=, or use 'integrated_gradients', 'smoothgrad' or 'occlusion', which need none."
            )
        return next(iter(layers.items()))
    if name in layers:
        return name, layers[name]
    modules = {key: module for key, module in net.named_modules() if key}
    if name in modules:
        return name, modules[name]
    near = difflib.get_close_matches(name, modules, n=3, cutoff=0.4)
    maps = f" has maps of the picture in {', '.join(layers)}" if layers else " names no maps of the picture"
    raise ValueError(
        f"layer={name!r}: this {type(net).__name__}{maps}, and no module of that name."
        + (f" Near it: {', '.join(near)}." if near else "")
    )


def activations(detector: Any, image: Tensor, layer: str | None = None, most: int = 16) -> Activations:
    """What a layer answers to images (B, 3, H, W) in [0, 1]: its channels that weigh most in the logit.

    Args:
        layer: as in `find_layer`.
        most: how many channels.

    Raises:
        ValueError: there is no such layer, or its output is no map (B, C, h, w).
    """
    kept: list[Tensor] = []
    with unchanged(detector) as net:
        name, module = find_layer(net, layer)
        image = ready(image, net)
        follows = has_gradients(net, image)
        handle = module.register_forward_hook(lambda module, given, output: kept.append(output))
        try:
            logit = net(image.requires_grad_(follows))
        finally:
            handle.remove()
        maps = kept[0] if kept else None
        if not isinstance(maps, Tensor) or maps.dim() != 4:
            shape = tuple(maps.shape) if isinstance(maps, Tensor) else "no tensor"
            raise ValueError(
                f"the layer {name!r} gives {shape}, no map (B, C, h, w) of the picture. Name a convolution "
                "or a stage of them."
            )
        weight = maps.mean((2, 3))
        if follows and maps.requires_grad:
            (gradient,) = torch.autograd.grad(logit.sum(), maps, allow_unused=True)
            if gradient is not None:
                weight = (gradient * maps).sum((2, 3))
        channel = weight.abs().argsort(1, descending=True)[:, :most]
        picked = maps.gather(1, channel[..., None, None].expand(-1, -1, *maps.shape[2:]))
        return Activations(name, picked.detach().float(), channel, weight.gather(1, channel).detach())


def filters(detector: Any, layer: str | None = None) -> tuple[str, Tensor]:
    """The name and the filters (out, in, h, w) float32 of a convolution: the one of that name, or the first
    inside it; without a name the net's first.

    Raises:
        ValueError: there is no such layer, or no convolution in it.
    """
    net = net_of(detector)
    name, module = ("", net) if layer is None else find_layer(net, layer)
    for inner, each in module.named_modules():
        if isinstance(each, nn.Conv2d):
            return ".".join(filter(None, (name, inner))), each.weight.detach().clone().float()
    raise ValueError(
        f"there is no convolution in {name or type(net).__name__!r}, so it has no filters to draw. Name "
        "another layer."
    )
