"""Checkpoint files: Lightning's, readable with `weights_only=True`, from which the net is rebuilt without its
training code.

Under the key "dfd" such a file carries a card (`dfd.detector.Card`) with the net's recipe: class path and
arguments as plain values. Only the net is built from it, never an optimizer or a data set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from dfd.models.net import Net, build, difference, shapes
from dfd.models.safetensors_export import SUFFIX, read_export
from dfd.models.seal import check_whole

USES = {
    "detector": "`dfd test` and `dfd score` use it",
    "generator": "`dfd generate` uses it",
}


def rebuild(
    recipe: Any,
    weights: Mapping[str, torch.Tensor],
    path: str | os.PathLike[str],
    allow: Iterable[str],
    role: str | None,
) -> Net:
    """The net of a recipe, with these weights.

    Args:
        recipe: class path and arguments.
        weights: as the net names them.
        path: the file that both came from, for errors.
        allow: packages whose code the recipe may name, beside dfd.
        role: what the net is to be; None takes any.

    Raises:
        ValueError: the recipe gives no net, or one of another role, or the weights do not fit it.
    """
    net = build(recipe, allow)
    if role not in (None, net.role):
        raise ValueError(
            f"{path} holds a {net.role} ({type(net).__name__}), where a {role} is needed: {USES[net.role]}."
        )
    if differs := difference(shapes(net), {name: tuple(value.shape) for name, value in weights.items()}):
        raise ValueError(
            f"The weights in {path} do not fit the {recipe['class_path']} that it names: {differs}. "
            "The file was put together from two trainings, or belongs to another version of dfd or timm."
        )
    net.load_state_dict(weights)
    return net


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Lightning's dictionary with dfd's card in it, its tensors left on the disk until they are used; or an
    export as one.

    Raises:
        ValueError: the file is damaged, or none that dfd wrote.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no checkpoint {path}. Give the path of a .ckpt file that `dfd fit` wrote."
        )
    if path.suffix == SUFFIX:
        return read_export(path)
    check_whole(path)
    try:
        # mmap: a checkpoint is two thirds optimizer state, which nobody reads here
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # hostile and broken files raise anything
        raise ValueError(f"{path} is not a checkpoint that dfd wrote. Give a .ckpt file.") from error
    if not (
        isinstance(checkpoint, dict)
        and isinstance(checkpoint.get("dfd"), dict)
        and isinstance(checkpoint.get("state_dict"), dict)
    ):
        raise ValueError(
            f"{path} is a torch file, but not a checkpoint that dfd wrote: it names no net to rebuild."
        )
    return checkpoint
