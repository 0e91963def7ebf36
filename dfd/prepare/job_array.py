"""Job array: which task prepares which pieces of a large source, and whether all tasks are finished."""

import os
import re
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
        array_task = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= array_task.number <= array_task.of:
            raise ValueError(
                f"--task {text}: needed is I/N with I from 1 to N, such as 3/16, the third of 16 tasks."
            )
        return array_task

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, piece: int) -> bool:
        return piece % self.of == self.number - 1


def finish_task(state: Path, array_task: ArrayTask) -> None:
    """Notes that a task has done all its pieces."""
    with atomic_write(state / f"part-{array_task.number}-of-{array_task.of}") as note:
        note.write_text("done\n", encoding="utf-8")


def check_tasks(state: Path) -> None:
    """Raises ValueError unless every task of one array is finished."""
    names = os.listdir(state) if state.is_dir() else ()
    found = [re.fullmatch(r"part-(\d+)-of-(\d+)", name) for name in names]
    finished = [ArrayTask(int(name[1]), int(name[2])) for name in found if name]
    if not finished:
        raise ValueError(
            f"{state.parent}: no part is finished. Make them first: --task 1/N to --task N/N, then --merge."
        )
    numbers = {task.of: {other.number for other in finished if other.of == task.of} for task in finished}
    # tasks of several arrays may have been here: the one that got furthest is meant
    best = max(numbers, key=lambda of: len(numbers[of]) / of)
    if missing := sorted(set(range(1, best + 1)) - numbers[best]):
        named = ", ".join(f"{number}/{best}" for number in missing[:10])
        more = " ..." if len(missing) > 10 else ""
        raise ValueError(
            f"{state.parent}: {len(missing)} of {best} parts are not finished: --task {named}{more}. Then "
            "--merge."
        )
