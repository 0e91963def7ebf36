"""New files of a folder: pictures and clips as they appear in it, each once and when it is complete."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_hidden, is_litter

QUIET = 1.0  # seconds that a file must not have changed for


class _State(NamedTuple):
    """By which a file is known again under another name, and as another one where its bytes were changed."""

    device: int
    inode: int
    size: int
    changed: int


class NewFiles:
    """The files of a folder and of those in it, without hidden ones and those without a picture's or a
    video's suffix, under which programs write what is not complete.

    A file is complete once it has kept its size and its time for QUIET seconds; one that is renamed is the
    same file, one that is written again is another.

    Memory grows with the files that lie in the folder, not with those that have passed through it.

    Args:
        folder: it.
        all: give those too that are there already.
        clock: seconds.
    """

    def __init__(self, folder: Path, all: bool = False, clock: Callable[[], float] = time.monotonic):
        self.folder, self.clock = folder, clock
        self.others: list[Path] = []  # files of other suffixes that the last look met
        self._given: set[_State] = set() if all else set(self._list().values())
        self.left_out = len(self._given)  # files that were there before
        self._waiting: dict[_State, float] = {}  # since when it has not changed

    def look(self) -> list[Path]:
        """The files that have become complete since the last call, the earliest written first.

        Raises:
            OSError: the folder is gone or cannot be read.
        """
        found = self._list()
        now = self.clock()
        here = set(found.values())
        self._given &= here
        self._waiting = {state: self._waiting.get(state, now) for state in here - self._given}
        done = {state for state, since in self._waiting.items() if now - since >= QUIET}
        self._given |= done
        ready = {state: path for path, state in found.items() if state in done}  # a hard link is no other
        return [ready[state] for state in sorted(ready, key=lambda state: (state.changed, str(ready[state])))]

    def _list(self) -> dict[Path, _State]:
        found, others = {}, []
        with os.scandir(self.folder):  # os.walk passes over a folder that is gone
            pass
        for root, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(root, name)
                inside = path.relative_to(self.folder).as_posix()
                if is_hidden(inside) or is_litter(inside):
                    continue
                if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                    others.append(path)
                    continue
                try:
                    facts = path.stat()
                except OSError:
                    continue  # renamed or removed meanwhile, or a link to nothing
                if stat.S_ISREG(facts.st_mode):
                    found[path] = _State(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        self.others = others
        return found
