"""Arrays that the processes of a machine share: one of them makes the file, all map it.

What grows with the number of samples is held once a node so, and not once a rank. The files lie in the cache
folder ($DFD_CACHE or ~/.cache/dfd), below `tables`. Who maps a file holds a lock on it (flock, which ends
with its process); whoever makes one removes those that nobody holds and that are old or quickly made again.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dfd.durable import sync
from dfd.locks import flock, try_flock

SMALL = 1 << 20  # samples: what belongs to fewer is not worth a file
_NAME = re.compile(r"[0-9a-f]{32}\.(table|order)(\.part)?")
_OLD = 30 * 24 * 3600  # seconds: a table that nobody opened for so long is removed
_ALIGNED = 64  # bytes

Layout = Mapping[str, tuple[Any, int]]  # name -> dtype, length
Fill = Callable[[dict[str, np.ndarray]], dict[str, Any]]


@dataclass(frozen=True)
class SharedArrays:
    """Arrays by name, which nobody writes to, and what else is known of them.

    Args:
        path: of the file that holds them; None where they are this process's own.
        handle: whose lock keeps the file.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    path: Path | None = None
    handle: "_Handle | None" = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """A spawned worker maps the file anew, and is sent no arrays."""
        if self.path is None:
            return SharedArrays, (self.arrays, self.facts)
        return _open, (self.path,)


class _Handle:
    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __del__(self):
        os.close(self.descriptor)


def make_arrays(layout: Layout, fill: Fill) -> SharedArrays:
    """Arrays of this process alone. `fill` writes to them, and returns facts that JSON can hold."""
    arrays = {name: np.zeros(length, kind) for name, (kind, length) in layout.items()}
    return SharedArrays(arrays, fill(arrays))


def share_arrays(name: str, layout: Layout, fill: Fill) -> SharedArrays:
    """The arrays of that name, made by the first process of the machine that asks, while others wait.

    Where the folder cannot be written or locked, each process has its own.

    Args:
        name: 32 hex digits of what they are made of, and .table or .order.
        layout, fill: as in `make_arrays`.
    """
    assert _NAME.fullmatch(name), name
    path = _folder() / name
    try:
        with _alone():
            if not path.exists():
                _remove_unused()
                _make(path, layout, fill)
            return _open(path)
    except OSError:
        return make_arrays(layout, fill)


def _folder() -> Path:
    return Path(os.environ.get("DFD_CACHE") or Path.home() / ".cache" / "dfd") / "tables"


@contextmanager
def _alone() -> Iterator[None]:
    """A lock on the folder."""
    _folder().mkdir(parents=True, exist_ok=True)
    with open(_folder() / ".lock", "a+b") as file:
        flock(file)
        yield


def _remove_unused() -> None:
    for entry in os.scandir(_folder()):
        if not (_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
            continue
        with suppress(OSError), open(entry.path, "rb") as file:
            passing = not entry.name.endswith(".table") or time.time() - entry.stat().st_mtime > _OLD
            if passing and try_flock(file):
                os.unlink(entry.path)


def _places(layout: Mapping[str, tuple[str, int]]) -> tuple[dict[str, int], int]:
    """Where each array begins, and where the last one ends."""
    places, end = {}, 0
    for name, (kind, length) in layout.items():
        places[name] = -(-end // _ALIGNED) * _ALIGNED
        end = places[name] + np.dtype(kind).itemsize * length
    return places, end


def _make(path: Path, layout: Layout, fill: Fill) -> None:
    """The arrays one after another, then what JSON holds of them, then its length."""
    part = path.with_name(path.name + ".part")
    kinds = {name: (np.dtype(kind).str, int(length)) for name, (kind, length) in layout.items()}
    places, end = _places(kinds)
    try:
        with open(part, "w+b") as file:
            file.truncate(end)
            if hasattr(os, "posix_fallocate") and end:  # a full disk is told here, and not by SIGBUS
                os.posix_fallocate(file.fileno(), 0, end)
            facts = fill(_map(file, kinds, places, "r+"))
            file.seek(0, os.SEEK_END)
            told = json.dumps({"layout": kinds, "facts": facts}).encode()
            file.write(told + len(told).to_bytes(8, "little"))
        sync(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _map(file: Any, kinds: Mapping[str, tuple[str, int]], places: Mapping[str, int], mode: str) -> dict:
    return {
        # an array of numpy's own class: a memmap takes a microsecond to be indexed
        name: np.asarray(np.memmap(file, kind, mode, places[name], (length,)))
        if length
        else np.zeros(0, kind)
        for name, (kind, length) in kinds.items()
    }


def _open(path: Path) -> SharedArrays:
    handle = _Handle(os.open(path, os.O_RDONLY))
    flock(handle.descriptor, shared=True)
    with suppress(OSError):
        os.utime(path)  # another user's file
    size = os.fstat(handle.descriptor).st_size
    length = int.from_bytes(os.pread(handle.descriptor, 8, size - 8), "little")
    told = json.loads(os.pread(handle.descriptor, length, size - 8 - length))
    kinds = {name: (kind, count) for name, (kind, count) in told["layout"].items()}
    with open(path, "rb") as file:
        arrays = _map(file, kinds, _places(kinds)[0], "r")
    return SharedArrays(arrays, told["facts"], path, handle)
