"""One process at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dfd.locks import try_flock

LOCK = ".prepare.lock"  # beside the state, which is removed while the lock is held


@contextmanager
def exclusive(out: Path, shared: bool = False) -> Iterator[None]:
    """Keeps other `dfd prepare`s out of `out` until the block ends or this process dies, in whatever way.

    With `shared`, those that share it too may be in there at the same time: the tasks of a job array.

    On a file system without locks nobody is kept out.

    Raises:
        ValueError: another process is in there; says which.
    """
    path = out / LOCK
    with _take(path, shared):
        try:
            yield
        finally:
            if not shared:  # others may hold it
                path.unlink(missing_ok=True)


def _take(path: Path, shared: bool) -> TextIO:
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  open is what holds the lock; "w" would wipe the holder's number
        try:
            # flock, since the tasks of a job array share the lock
            free = try_flock(file, shared)
        except OSError:  # no locks here
            free = True
        if not free:
            with file:
                file.seek(0)
                holder = file.read() or "unknown"
            raise ValueError(
                f"another dfd prepare (pid {holder}) is writing {path.parent}; wait for it or choose another "
                "--out."
            )
        if _is_at(path, file):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
        file.close()  # whoever held it removed it between our opening and our locking it


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
