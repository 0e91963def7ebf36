"""From a checkpoint, which holds a training, to a file that holds the trained net."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dfd.models.checkpoint import AVERAGE, load_net, read_checkpoint
from dfd.models.safetensors_export import SUFFIX, beside, write_export
from dfd.models.seal import sha256_of


def export(checkpoint: Path, out: Path, allow: Iterable[str] = ("dfd.",)) -> str:
    """Writes the net that judges, the average of the training where it kept one, and returns what to tell the
    user.

    Raises:
        ValueError: no net in the checkpoint, code from outside `allow` in it, or `out` taken or of another
            suffix.
        OSError: disk full or unwritable, in words.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"--out {out}: the file is safetensors, so call it {out.with_suffix(SUFFIX)}.")
    for taken in (out, beside(out)):
        if taken.exists():
            raise ValueError(f"{taken} exists. Choose another name or remove it.")
    net, facts = load_net(checkpoint, allow=allow, role=None)
    averaged = any(name.startswith(AVERAGE) for name in read_checkpoint(checkpoint)["state_dict"])
    facts = {
        name: value for name, value in facts.items() if name != "seen"
    }  # which pictures trained it stays at home
    facts |= {
        "weights": "moving average" if averaged else "last step",
        "checkpoint_sha256": sha256_of(checkpoint),
    }
    # what is written is one net: a task that judges with it must not wait for an average beside it
    if "ema_decay" in facts:
        facts["ema_decay"] = None
    if (task := facts.get("task")) and "ema_decay" in task["init_args"]:
        facts["task"] = {**task, "init_args": {**task["init_args"], "ema_decay": None}}
    write_export(net.state_dict(), facts, out)
    return f"{type(net).__name__}, {sum(weight.numel() for weight in net.parameters()):,} parameters: {out}, {beside(out)}"
