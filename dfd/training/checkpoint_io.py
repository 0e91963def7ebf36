"""Checkpoints that survive: how Lightning's are written, whatever the strategy.

Lightning's own writer passes through $TMPDIR and never asks the disk: a kill while it copies destroys the
last good file, and a folder that cannot be written goes unnoticed.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins import CheckpointIO

from dfd.durable import atomic_write, meant_name, sync
from dfd.models.checkpoint import read_checkpoint
from dfd.models.safetensors_export import SUFFIX, read_export
from dfd.models.seal import check_whole, previous, save_sealed

LIGHTNING = {"pytorch-lightning_version": lightning.__version__}  # without it nothing can be loaded


class DurableCheckpointIO(CheckpointIO):
    """Writes a checkpoint whole or not at all, sealed with its sha256, and keeps the version before it.

    `dfd fit` uses it; elsewhere: `Trainer(plugins=[DurableCheckpointIO()])`. A save is a temporary file in
    the same folder, fsync, replace, fsync of the folder; after that, what lay there becomes
    `NAME-previous.ckpt`. So whatever kills the process at whatever moment, at least one of the two is whole.
    The folder is local or mounted, and one run's own: what killed runs left there half-written is swept away.

    Saving raises OSError where the folder cannot be written or the disk is full, and ValueError for a state
    that `weights_only=True` would not read back; the files of before are then untouched. Reading is always
    with `weights_only=True`, and raises ValueError for a damaged file.

    Args:
        judging: read weights and card alone, as `dfd validate`, `test` and `predict` need no more of a file.
    """

    def __init__(self, judging: bool = False) -> None:
        self.judging = judging
        self._written: set[Path] = set()  # by this process: known to be whole

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        path = local(path)
        if storage_options is not None:
            raise ValueError(
                f"storage_options={storage_options!r}: checkpoints go to a local folder, which takes none."
            )
        keep = self._is_whole(path)
        try:
            _sweep(path)
            with ExitStack() as after:
                if keep:
                    # takes its name once the new one has its own
                    _link(path, after.enter_context(atomic_write(previous(path))))
                with atomic_write(path) as temporary:
                    save_sealed(checkpoint, temporary)
                    # once: it takes as long as the save, and what is saved does not change its types
                    if not self._written:
                        _read_back(temporary)
                sync(path.parent)
        except OSError as error:
            why = (error.strerror or str(error)).rstrip(".")
            kept = f" {path} is whole, and a run can go on from it." if keep else ""
            raise OSError(error.errno, f"no checkpoint saved: {why}.{kept}") from error
        self._written.add(path)

    def _is_whole(self, path: Path) -> bool:
        """Whether a checkpoint lies there that is worth keeping: a damaged one must not drive out the whole
        one before it.
        """
        try:
            if path not in self._written:
                check_whole(path)
        except (OSError, ValueError):
            return False
        return path.is_file()

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = local(path)
        refuse_code(weights_only)
        if path.suffix == SUFFIX:
            return {**read_export(path), **LIGHTNING}
        check_whole(path)
        if self.judging:
            checkpoint = read_checkpoint(path)
            return {name: checkpoint[name] for name in ("state_dict", "dfd")} | LIGHTNING
        return torch.load(path, map_location=map_location, weights_only=True)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Removes a checkpoint, the version before it, and what is left of others; nothing that is not called
        NAME.ckpt. A failure is a warning: nothing is lost.
        """
        path = local(path)
        if path.suffix != ".ckpt" or ".." in path.parts:
            # which one is the oldest is read from a checkpoint, and that may be a stranger's
            warnings.warn(f"{path} is not removed: it has no checkpoint's name.", stacklevel=2)
            return
        try:
            _sweep(path)
            for each in (previous(path), path):
                if each.is_dir():  # a sharded one
                    shutil.rmtree(each)
                else:
                    each.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"{path} cannot be removed: {error.strerror}. Remove it by hand.", stacklevel=2)


def local(path: str | os.PathLike[str]) -> Path:
    """ValueError for a URL, which as a path would quietly become a folder of that name."""
    if "://" in str(path):
        raise ValueError(
            f"{path}: checkpoints are written to a local or mounted folder. Name one, and copy them from "
            "there."
        )
    return Path(path)


def refuse_code(weights_only: bool | None) -> None:
    """ValueError for what Lightning would take as leave to unpickle."""
    if weights_only is False:
        raise ValueError("weights_only=False would run whatever code a checkpoint holds. Leave it out.")


def _sweep(path: Path) -> None:
    """Removes what killed processes left of a checkpoint and of the version before it."""
    names = {path.name, previous(path).name}
    # where it may not be removed, nothing may be written: that is said in a moment
    with suppress(OSError):
        for part in path.parent.iterdir():
            if meant_name(part.name) in names:
                part.unlink()


def _link(path: Path, name: Path) -> None:
    """A second name for a file; a copy where the file system has no links."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)


def _read_back(path: Path) -> None:
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch tells what it stumbled over within a page of advice to trust the file
        what = re.search(r"GLOBAL (\S+)", str(error))
        what = what[1] if what else type(error).__name__
        raise ValueError(
            f"the checkpoint could not be read again with weights_only=True: it holds a {what}. "
            "Let callbacks and modules save numbers, strings, tensors, and lists and dicts of them only."
        ) from error
