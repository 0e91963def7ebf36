"""File locks, which end with their process in whatever way it dies: filelock's, and flock of an open file.

`take` is filelock's. `flock` and `try_flock` are for what filelock cannot do: a lock that several share (its
ReadWriteLock is an SQLite file, which network file systems do not lock reliably, and its SoftReadWriteLock
goes by age), a lock of the very file that is read or written, the question whether somebody else holds one,
and a lock that a child process inherits.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# what a file system without locks answers
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def take(path: Path, wait: bool = False) -> FileLock | None:
    """The lock of a file, until it is released or this process ends; what the process forks does not inherit
    it. The file stays there. None on a file system without locks.

    Raises:
        BlockingIOError: another process or thread holds it, and this one is not to wait.
        OSError: the file cannot be opened.
    """
    from filelock import FileLock, Timeout

    # no soft lock in its place: that one outlives a killed process
    lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(errno.EAGAIN, "another process holds it", str(path)) from error
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return lock


def flock(file: IO | int, shared: bool = False) -> None:
    """Waits for the lock of an open file, which ends when all processes that inherited the file have closed
    it.

    Raises:
        OSError: the file system has no locks, or the operating system no flock.
    """
    kind = _kind(shared)
    fcntl.flock(file, kind)


def try_flock(file: IO | int, shared: bool = False) -> bool:
    """Whether the lock is ours now; False where another holds it.

    Raises:
        OSError: as `flock`.
    """
    kind = _kind(shared)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kind(shared: bool) -> int:
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this operating system has no flock")
    return fcntl.LOCK_SH if shared else fcntl.LOCK_EX
