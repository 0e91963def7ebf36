"""Which of the processes that share a folder are alive, and a lock that a dead one cannot keep.

Nothing here trusts a clock of another machine, or a lock that the file server may not pass on to other nodes.
On one machine the kernel knows who lives: each worker holds a flock on its own file. Of another machine's
worker it is the file's time that tells, by whether it moves: it is looked at through open(), which makes NFS
ask the server.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from dfd.locks import try_flock

BEAT = 10.0  # seconds between two signs of life
# without one for so long, a worker on another machine is dead; NFS may keep a file's time back for 60
SILENCE = 90.0


class Lease:
    """This process among those that share `folder`, from `with` to its end or its death.

    A worker that is stopped or frozen for longer than SILENCE counts as dead elsewhere, and may find what it
    held taken over.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = f"{socket.gethostname().partition('.')[0]}-{os.getpid()}-{secrets.token_hex(3)}"
        # of other workers: the last sign of life, and when it was new to us
        self._seen: dict[str, tuple[int, float]] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Lease:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / self.name, "x", encoding="utf-8")
        try:
            try_flock(self._file)
        except OSError:  # a file system without locks: then it names no machine, and its time has to tell
            pass
        else:
            self._file.write(_machine())
            self._file.flush()
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        with suppress(OSError):
            (self.folder / self.name).unlink()
        self._file.close()

    def alive(self, name: str) -> bool:
        """Whether the worker of that name is."""
        if name == self.name:
            return True
        try:
            with open(self.folder / name, encoding="utf-8") as file:
                if file.read() == _machine():
                    return held(file)
                beat = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:  # it went as it should, and took its file with it
            return False
        except OSError:  # the file server has its troubles, which say nothing of the worker
            return True
        if self._seen.get(name, (None,))[0] != beat:
            self._seen[name] = (beat, time.monotonic())
        return time.monotonic() - self._seen[name][1] < SILENCE

    def inherits(self, dead: str) -> bool:
        """Whether it is this worker, of all that are alive, who may clear away what a dead one left: one only
        ever may.
        """
        while True:
            note = self.folder / f"{dead}.heir"
            try:
                os.symlink(self.name, note)
                return True
            except FileExistsError:
                dead = os.readlink(note)
            if dead == self.name:
                return True
            if self.alive(dead):
                return False

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # a file server that is away for a while
                os.utime(self.folder / self.name)


class Lock:
    """One worker at a time: a symbolic link with the holder's name, which every file system makes whole or
    not at all.

    A living holder is never robbed, however slow it is. A dead one's link is removed by its heir. May be
    taken within itself. filelock's locks for several machines go by age (its leases), which robs a slow
    holder, or leave a dead holder on another machine its lock for ever (SoftFileLock).
    """

    def __init__(self, path: Path, worker: Lease):
        self.path, self.worker = path, worker
        self._depth = 0

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Waits for it."""
        pause = 0.002
        while not self.try_acquire():
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.2)

    def try_acquire(self) -> bool:
        """Whether it is ours now."""
        if not self._depth and not (self._link() or (self._cleared() and self._link())):
            return False
        self._depth += 1
        return True

    def release(self) -> None:
        """Gives it back."""
        self._depth -= 1
        if not self._depth and self._holder() == self.worker.name:
            self.path.unlink(missing_ok=True)

    def _link(self) -> bool:
        # NFS looks at the folder anew, and not at what it remembers
        os.close(os.open(self.path.parent, os.O_RDONLY))
        try:
            os.symlink(self.worker.name, self.path)
        except FileExistsError:
            return self._holder() == self.worker.name  # NFS did it, lost the answer and did it again
        return True

    def _cleared(self) -> bool:
        """Whether the holder was dead and its link is gone now."""
        holder = self._holder()
        if holder and (self.worker.alive(holder) or not self.worker.inherits(holder)):
            return False
        if holder and self._holder() == holder:
            self.path.unlink(missing_ok=True)
        return True

    def _holder(self) -> str | None:
        try:
            return os.readlink(self.path)
        except FileNotFoundError:
            return None


def _machine() -> str:
    """The running kernel, by a number that no other has; a host's name where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def held(file: IO) -> bool:
    """Whether a living process has a flock on the open file; OSError where the file system knows no such
    thing.
    """
    return not try_flock(file, shared=True)
