"""A gate as a checkpoint keeps it: plain facts and flat tensors, checked before anybody uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

MAX_BYTES = 3_000_000  # of all tensors
SPACES = ("dct", "early", "own")
# of a Gaussian's parts: S sources, K components, F features
SHAPES = {
    "mean": ("F",),
    "scale": ("F",),
    "components": ("K", "F"),
    "centers": ("S", "K"),
    "whitening": ("S", "K", "K"),
    "spread": (2,),
}
EARLY = "early.weights."


def strange_state(value: Any) -> str:
    """What keeps a stored value from being a gate's state; "" for nothing. Recipes are checked where they are
    built.
    """
    if not (isinstance(value, dict) and value.keys() == {"facts", "tensors"}):
        return "without facts and tensors"
    facts, tensors = value["facts"], value["tensors"]
    if not (isinstance(facts, dict) and isinstance(tensors, dict)):
        return "without facts and tensors"
    spaces = facts.get("spaces")
    if not (isinstance(spaces, list) and spaces and set(map(str, spaces)) <= set(SPACES)):
        return "with features that are none"
    texts = ("basis", "split")
    counts = ("images", "val_images", "sources")
    if not (
        all(isinstance(facts.get(name), str) and len(facts[name]) <= 1000 for name in texts)
        and all(type(facts.get(name)) is int and 0 <= facts[name] < 1 << 63 for name in counts)
        and isinstance(facts.get("early"), dict | None)
    ):
        return "without its basis, split and numbers of images"
    return _strange_tensors(spaces, tensors)


def _strange_tensors(spaces: list[str], tensors: Mapping[str, Any]) -> str:
    from dfd.models.checkpoint import strange_tensor

    for name, value in tensors.items():
        if not isinstance(name, str) or strange_tensor(value):
            return f"with {strange_tensor(value) or 'a tensor without a name'}"
        if value.is_complex() or (value.is_floating_point() and not value.isfinite().all()):
            return "with numbers that are not finite"
    if sum(value.numel() * value.element_size() for value in tensors.values()) > MAX_BYTES:
        return f"of more than {MAX_BYTES // 1_000_000} MB"
    wanted = {f"{space}.{part}" for space in spaces for part in SHAPES} | {"home", "world"}
    if wanted != {name for name in tensors if not name.startswith(EARLY)}:
        return "with other tensors than a gate has"
    for space in spaces:
        sizes: dict[Any, int] = {}
        for part, shape in SHAPES.items():
            value = tensors[f"{space}.{part}"]
            fits = value.dtype == torch.float32 and value.dim() == len(shape)
            if not fits or any(
                sizes.setdefault(name, length) != length if isinstance(name, str) else name != length
                for name, length in zip(shape, value.shape, strict=True)
            ):
                return f"with {space}.{part} of another shape"
        if not all(sizes.values()) or not (tensors[f"{space}.scale"] > 0).all():
            return f"with {space} features that have no scale"
        if not tensors[f"{space}.spread"][1] > 0:
            return f"with {space} distances that have no spread"
    home, world = tensors["home"], tensors["world"]
    if home.dtype != torch.float32 or home.dim() != 1 or not len(home):
        return "without the distances of home"
    if world.dtype != torch.int64 or world.shape != home.shape:
        return "without the worlds of home"
    return ""
