"""A large source prepared by the tasks of a job array: which task does what, and whether all have."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dfd.durable import atomic_write


@dataclass(frozen=True)
class ArrayTask:
    """One task of a job array: every `of`-th piece, beginning with the `number`-th (from 1)."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "ArrayTask":
        """Of "3/16".

        Raises:
            ValueError: it is not of that form, or the number is not from 1 to the second one.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        part = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= part.number <= part.of:
            raise ValueError(
                f"--shard {text}: needed is I/N with I from 1 to N, such as 3/16, the third of 16 tasks."
            )
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, piece: int) -> bool:
        return piece % self.of == self.number - 1


def finish_task(state: Path, part: ArrayTask) -> None:
    """Says that a part has all its pieces."""
    with atomic_write(state / f"part-{part.number}-of-{part.of}") as note:
        note.write_text("done\n")


def check_tasks(state: Path) -> None:
    """Raises ValueError unless every part that `--shard` was to make is there."""
    found = [
        re.fullmatch(r"part-(\d+)-of-(\d+)", name) for name in (os.listdir(state) if state.is_dir() else ())
    ]
    parts = [ArrayTask(int(name[1]), int(name[2])) for name in found if name]
    if not parts:
        raise ValueError(
            f"{state.parent}: no part is finished. Make them first: --shard 1/N to --shard N/N, then --merge."
        )
    counts: Mapping[int, set[int]] = {
        part.of: {other.number for other in parts if other.of == part.of} for part in parts
    }
    best = max(counts, key=lambda of: len(counts[of]) / of)
    if missing := sorted(set(range(1, best + 1)) - counts[best]):
        named = ", ".join(f"{number}/{best}" for number in missing[:10]) + (
            " ..." if len(missing) > 10 else ""
        )
        raise ValueError(
            f"{state.parent}: {len(missing)} of {best} parts are not finished: --shard {named}. Then --merge."
        )
