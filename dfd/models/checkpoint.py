"""A net that knows how it was made, and checkpoints that rebuild it without the code that trained it.

A checkpoint is Lightning's, readable with `weights_only=True`. Under the key "dfd" it carries the net's
recipe: class path and arguments as plain values. Only the net is built from it, never an optimizer or a data
set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from dfd.models.net import OURS, Net, _difference, _shapes, build
from dfd.models.safetensors_export import SUFFIX, read_export
from dfd.models.seal import check_whole

USES = {
    "detector": "`dfd test` and `dfd score` use it",
    "generator": "`dfd generate` uses it",
}
AVERAGE, PLAIN = (
    "average.module.",
    "net.",
)  # where a task keeps the average of its weights, and the weights themselves


def load_net(
    path: str | os.PathLike[str],
    map_location: str | torch.device = "cpu",
    allow: Iterable[str] = (OURS,),
    role: str | None = "detector",
) -> tuple[Net, dict[str, Any]]:
    """The net of a checkpoint, ready for use, and the facts stored with it: view, temperature, thresholds,
    data.

    Averaged weights are taken where the training kept an average. Needs no network and no file but this one.
    ValueError says what is wrong with a file that does not give a net, or not one of this `role`; None takes
    any.
    """
    checkpoint = read_checkpoint(Path(path))
    facts, weights = checkpoint["dfd"], checkpoint["state_dict"]
    net = build(facts.get("net"), allow)
    if role not in (None, net.role):
        raise ValueError(
            f"{path} holds a {net.role} ({type(net).__name__}), where a {role} is needed: {USES[net.role]}."
        )
    prefix = AVERAGE if any(name.startswith(AVERAGE) for name in weights) else PLAIN
    weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if difference := _difference(_shapes(net), {name: tuple(value.shape) for name, value in weights.items()}):
        raise ValueError(
            f"The weights in {path} do not fit the {facts['net']['class_path']} that it names: {difference}. "
            "The file was put together from two trainings, or belongs to another version of dfd or timm."
        )
    net.load_state_dict(weights)
    return net.to(map_location).eval(), facts


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Lightning's dictionary with dfd's facts in it, its tensors left on the disk until they are used; or an
    export as one.

    ValueError where the file is damaged, or none that dfd wrote.
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
