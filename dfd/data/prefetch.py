"""Prefetch of remote shards: those of this window are held open, the next window is fetched meanwhile."""

import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfd.data.open_files import max_open_files
from dfd.shards.cache import Cache
from dfd.shards.fetch import Remote, rng

_AGAIN = 0.5  # seconds until what could not be fetched ahead is tried again


@dataclass(frozen=True)
class Schedule:
    """Which shards a loader reads when.

    Args:
        windows: epoch -> the shards of each window; a loader reads one window after another.
        ahead: windows that are fetched while one is read.
        repeats: whether another epoch follows.
    """

    windows: Callable[[int], list[np.ndarray]]
    ahead: int
    repeats: bool

    def following(self, epoch: int, windows: list[np.ndarray], at: int) -> list[np.ndarray]:
        """The windows to be fetched while window `at` of `windows`, the epoch's, is read."""
        coming = windows[at + 1 : at + 1 + self.ahead]
        if self.repeats and len(coming) < self.ahead:
            coming += self.windows(epoch + 1)[: self.ahead - len(coming)]
        return coming


class ShardFiles:
    """Descriptors of remote shards, for one process at a time: a worker that was forked or spawned begins
    with none.

    Nobody tells a worker what comes next, and nobody need: windows are a pure function of the epoch, which
    comes with each row. So each reading process has a thread that fetches for all of its machine; locks give
    each file to one of them.

    Args:
        shards: of all roots; those on disk are none of its business.
    """

    def __init__(self, shards: Sequence[Path | Remote], cache: Cache, schedule: Schedule):
        self.shards, self.cache, self.schedule = shards, cache, schedule
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._handles: dict[int, int] = {}  # of a window, those that were used last
        self._limit = max_open_files()
        self._epoch, self._at = -1, -1
        self._windows: list[np.ndarray] = []
        self._turn: dict[int, int] = {}
        self._keep: set[str] = set()
        self._goals: queue.SimpleQueue[list[list[Remote]] | None] | None = None

    def open(self, epoch: int, shard: int) -> int:
        """A descriptor of the shard, good until the next call.

        Raises:
            FetchError: it could not be had.
        """
        if self._process != os.getpid():
            self.close()  # what was open at the fork is the parent's to hold
            self._begin()
        if epoch != self._epoch or shard not in self._handles:
            self._turn_to(epoch, shard)
            if shard not in self._handles:
                while len(self._handles) >= self._limit:
                    os.close(self._handles.pop(next(iter(self._handles))))
                self._handles[shard] = self.cache.open(self.shards[shard], self._keep, self.close)
        self._handles[shard] = self._handles.pop(shard)  # the last used one comes last
        return self._handles[shard]

    def close(self) -> None:
        """Lets all shards go that are held open."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _turn_to(self, epoch: int, shard: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._at, self._windows = epoch, -1, self.schedule.windows(epoch)
            self._turn = {number: at for at, window in enumerate(self._windows) for number in window.tolist()}
        at = self._turn.get(shard)
        if at is None or at == self._at:  # None: read out of turn, by hand
            return
        self._at = at
        here = set(self._windows[at].tolist())
        for number in [number for number in self._handles if number not in here]:
            os.close(self._handles.pop(number))
        coming = self.schedule.following(epoch, self._windows, at)
        goals = [
            [remote for number in window.tolist() if isinstance(remote := self.shards[number], Remote)]
            for window in (self._windows[at], *coming)
        ]
        self._keep = {remote.name for remote in goals[0]}
        if self._goals is None:
            self._goals = queue.SimpleQueue()
            threading.Thread(target=_fetch_ahead, args=(self._goals, self.cache), daemon=True).start()
            # the thread must not outlive its loader
            weakref.finalize(self, self._goals.put, None).atexit = False
        self._goals.put(goals)

    def __getstate__(self) -> dict:
        return {"shards": self.shards, "cache": self.cache, "schedule": self.schedule}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._begin()

    def __del__(self):
        if self.__dict__.get("_process") == os.getpid():
            self.close()


def _fetch_ahead(goals: "queue.SimpleQueue[list[list[Remote]] | None]", cache: Cache) -> None:
    """Fetches the windows of the last goal, one after another, until None comes."""
    windows: list[list[Remote]] | None = []
    while windows is not None:
        missing = []
        keep = {remote.name for window in windows for remote in window}
        for window in windows:
            # each process in an order of its own: they share the work instead of waiting for one another
            for remote in rng.sample(window, len(window)):
                if not goals.empty():
                    break
                if not cache.fetch_ahead(remote, keep):
                    missing.append(remote)
            if missing:  # a later window's would take the room that these want
                break
        with suppress(queue.Empty):
            windows = goals.get(timeout=_AGAIN if missing else None)
            while not goals.empty():
                windows = goals.get()
