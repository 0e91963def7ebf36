"""Which pictures an evaluation judges, in words: two runs that differ in nothing else must not look alike."""

from __future__ import annotations

from collections.abc import Callable

from lightning import LightningDataModule


def conditions(data: LightningDataModule, stage: str) -> dict[str, str]:
    """The roots and the split of a stage (val, test or predict), and the stages that its pictures go through, "" for none."""
    split = "val" if stage == "val" else "test"
    val_augment = data.val_augment if split == "val" and not data.corruption else []
    return {
        "roots": ", ".join(map(str, data.roots)),
        "split": split,
        "corruption": " ".join(map(_name, data.corruption)),
        "val_augment": " ".join(map(_name, val_augment)),
    }


def sentence(found: dict[str, str]) -> str:
    """The conditions as one line: "test split of shards/140k, after Corruption('jpeg', 75)"."""
    after = found["corruption"] or found["val_augment"]
    return f"{found['split']} split of {found['roots']}, " + (f"after {after}" if after else "pictures as found")


def _name(stage: Callable) -> str:
    if type(stage).__repr__ is object.__repr__:
        return type(stage).__name__
    return getattr(stage, "__name__", repr(stage))
