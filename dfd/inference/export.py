"""Export: the trained net of a checkpoint as safetensors or ONNX, with its card and without its training."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfd.detector.card import AVERAGE, NET, load_net
from dfd.detector.onnx_net import SUFFIX as ONNX
from dfd.models.safetensors_export import SUFFIX, beside, write_export
from dfd.models.seal import sha256_of
from dfd.outputs import check_file

ELSEWHERE = re.compile(r"[/~]|[A-Za-z]:[/\\]|\\\\|\w+://")  # begins an absolute path or an address


def export(checkpoint: Path, out: Path, allow: Iterable[str] = ("dfd.",), int8: Path | None = None) -> str:
    """Writes the net that judges, the average of the training where it kept one, and returns what to tell the
    user. The suffix of `out` says how: safetensors, or ONNX; with `int8`, shards, as `write_onnx` says.

    Raises:
        ValueError: no net in the checkpoint, code from outside `allow` in it, `out` taken or of another
            suffix, or a net that ONNX cannot hold.
        OSError: disk full or unwritable, in words.
    """
    check_file(out, f"--out {out}")  # of a folder or a device no other suffix is advised
    if out.suffix not in (SUFFIX, ONNX):
        names = f"{out.with_suffix(SUFFIX)} or {out.with_suffix(ONNX)}"
        raise ValueError(f"--out {out}: an export is safetensors or ONNX, so call it {names}.")
    if int8 is not None and out.suffix != ONNX:
        raise ValueError(f"--int8 {int8}: only ONNX is written in 8 bits. Use --out {out.with_suffix(ONNX)}.")
    check_file(beside(out), f"--out {beside(out)}")
    taken = [file for file in (out, beside(out)) if file.exists()]
    # one of the two alone, of this checkpoint, is what a killed run of the same command left
    if len(taken) == 2 or any(sha256_of(checkpoint).encode() not in file.read_bytes() for file in taken):
        raise ValueError(f"{taken[0]} exists. Choose another name or remove it.")
    net, card = load_net(checkpoint, allow=allow, role=None)
    task = _without_paths(card.task)
    if task and "ema_decay" in task["init_args"]:
        # one net is written: a task that judges with it must not look for an average beside it
        task = {**task, "init_args": {**task["init_args"], "ema_decay": None}}
    exported = replace(
        card,
        weights_in=NET,
        weights="moving average" if card.weights_in == AVERAGE else card.weights or "last step",
        checkpoint_sha256=sha256_of(checkpoint),
        ema_decay=None,
        net=_without_paths(card.net),
        task=task,
        data=_without_paths(card.data),
        # which pictures trained it stays at home
        seen={},
    )
    parameters = sum(weight.numel() for weight in net.parameters())
    what = f"{type(net).__name__}, {parameters:,} parameters: {out}, {beside(out)}"
    if out.suffix == ONNX:
        from dfd.inference.onnx_export import write_onnx

        return f"{what}\n{write_onnx(net, exported, out, int8)}"
    plain = exported.to_plain()
    del plain["seen"]
    write_export(net.state_dict(), plain, out)
    return what


def _without_paths(made: Any) -> Any:
    """Stored arguments without the places of the machine that trained: shards, weights and whatever else is
    an absolute path or an address by their last name alone, folders to write into not at all.
    """
    if isinstance(made, dict):
        return {
            name: _last_names(value) if name == "roots" else _without_paths(value)
            for name, value in made.items()
            if name not in ("cache", "folder")
        }
    if isinstance(made, list):
        return [_without_paths(value) for value in made]
    return _last_names(made) if isinstance(made, str) and ELSEWHERE.match(made) else made


def _last_names(value: Any) -> Any:
    if isinstance(value, str):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, dict):
        return {_last_names(root): weight for root, weight in value.items()}
    return [_last_names(each) for each in value] if isinstance(value, list) else value
