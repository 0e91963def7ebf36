"""Checkpoint files: Lightning's, readable with `weights_only=True`, from which the net is rebuilt without its
training code.

Under the key "dfd" such a file carries a card (`dfd.detector.Card`) with the net's recipe: class path and
arguments as plain values. Only the net is built from it, never an optimizer or a data set.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dfd.media.file_kinds import PICTURE, file_kind, refuse_lfs_pointer
from dfd.models.checkpoint_path import instead_of
from dfd.models.net import OURS, ForeignCode, Net, build, class_paths, difference, shapes
from dfd.models.safetensors_export import SUFFIX, read_export
from dfd.models.seal import check_whole
from dfd.terminal import as_written

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
    with _at_most(4 * len(weights) + 1000, path):
        _check_shapes(recipe, weights, path)
        try:
            net = build(recipe, allow)
        except _TooLarge:
            raise
        except ForeignCode as error:
            raise ForeignCode(error.path, str(path)) from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if role not in (None, net.role):
        raise ValueError(
            f"{path} holds a {net.role} ({type(net).__name__}), where a {role} is needed: {USES[net.role]}."
        )
    _check_fit(net, weights, recipe, path)
    for name, value in net.state_dict().items():
        if value.is_complex() != weights[name].is_complex():
            raise ValueError(f"The weights in {path} do not fit its net: {name} is {weights[name].dtype}.")
    net.load_state_dict(weights)
    return net


def _check_shapes(recipe: Any, weights: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """ValueError where a recipe of dfd's own nets asks for other weights than the file holds, so that no file
    of a few kilobytes makes a net of terabytes.
    """
    if not all(isinstance(each, str) and each.startswith(OURS) for each in class_paths(recipe)):
        return  # code that the user trusts, which may look at the numbers that it makes
    try:
        with torch.device("meta"):  # shapes without numbers
            net = build(recipe)
    except _TooLarge:
        raise
    except (ValueError, NotImplementedError, RuntimeError):
        return  # a fault of the recipe, which `build` names, or a net that looks at its numbers
    _check_fit(net, weights, recipe, path)


def _check_fit(
    net: Net, weights: Mapping[str, torch.Tensor], recipe: Any, path: str | os.PathLike[str]
) -> None:
    if differs := difference(shapes(net), {name: tuple(value.shape) for name, value in weights.items()}):
        raise ValueError(
            f"The weights in {path} do not fit the {recipe['class_path']} that it names: {differs}. "
            "The file was put together from two trainings, or belongs to another version of dfd or timm."
        )


class _TooLarge(ValueError):
    """A recipe asks for many more weights than its file holds."""


@contextmanager
def _at_most(parameters: int, path: str | os.PathLike[str]) -> Iterator[None]:
    """ValueError as soon as a net with more parameters is made: a recipe may ask for any number of layers."""
    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += 1
        if made > parameters:
            raise _TooLarge(
                f"{path} asks for a net of more than {parameters} weights, and the file holds far fewer: dfd "
                "did not write it."
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Lightning's dictionary with dfd's card in it, its tensors left on the disk until they are used; or an
    export as one.

    Raises:
        ValueError: the file is damaged, or none that dfd wrote.
    """
    if not path.is_file():
        give = "Give the path of a .ckpt file that `dfd fit` wrote."
        raise ValueError(f"There is no checkpoint {as_written(path)}. {instead_of(path, give)}")
    if file_kind(path) is PICTURE:
        raise ValueError(f"{path} is a picture. The checkpoint comes first: give a .ckpt file.")
    refuse_lfs_pointer(path)
    if path.suffix in (".onnx", ".xml"):
        raise ValueError(
            f"{path} is an export to ONNX or OpenVINO, of which torch makes no net again: it is for dfd "
            "score, explain, inspect and evaluate. Give the checkpoint here, or its export as safetensors."
        )
    if path.suffix == SUFFIX:
        return read_export(path)
    check_whole(path)
    _check_stored(path)
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
    for name, value in checkpoint["state_dict"].items():
        what = strange_tensor(value) if isinstance(name, str) else "a weight without a name"
        if what:
            raise ValueError(f"{path} holds {what} among its weights: dfd did not write it.")
    if not _knows_its_steps(checkpoint):
        raise ValueError(
            f"{path} does not say how far its training was, as Lightning here writes it: dfd did not write "
            "it, or it belongs to another version. `dfd export` of a whole one takes the net out."
        )
    return checkpoint


def _check_stored(path: Path) -> None:
    """ValueError for an archive with compressed records, as torch writes none: it reads them, and a file of
    kilobytes would fill the memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a checkpoint that dfd wrote. Give a .ckpt file.") from error
    if not stored:
        raise ValueError(f"{path} holds compressed records, as no checkpoint does: dfd did not write it.")


def strange_tensor(value: Any) -> str:
    """What keeps a stored value from being a tensor whose numbers lie in its file; "" for nothing."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    if value.layout != torch.strided or value.is_quantized:
        return "a sparse or quantized tensor"
    if value.device.type != "cpu":
        return f"a tensor without values (on {value.device.type})"
    # a stride of 0 makes terabytes of one number
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"a tensor {tuple(value.shape)} of more numbers than the file holds"
    return ""


def _knows_its_steps(checkpoint: dict[str, Any]) -> bool:
    """Whether what a resumed fit reads of Lightning's loops is there, where a checkpoint has them at all."""
    try:
        progress = checkpoint.get("loops", {}).get("fit_loop")
        if not progress:
            return True
        batches = progress["epoch_loop.batch_progress"]
        counts = (
            *(progress["epoch_progress"]["current"][name] for name in ("ready", "processed")),
            batches["current"]["ready"],
            progress["epoch_loop.state_dict"]["_batches_that_stepped"],
            checkpoint["global_step"],
        )
        return isinstance(batches["is_last_batch"], bool) and all(
            type(count) is int and 0 <= count < 1 << 63 for count in counts
        )
    except (KeyError, TypeError, AttributeError):
        return False
