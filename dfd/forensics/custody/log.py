"""Custody log: adding lines to it, from any number of processes, each on the disk before the next."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import BinaryIO

from dfd.durable import explain_os_error, sync
from dfd.forensics.custody.check import NO_WAIT, Verified, check_regular, verify, verify_from
from dfd.forensics.custody.lines import Entry, new_line
from dfd.locks import NO_LOCKS, flock


def append(path: Path, entry: Entry, who: str | None = None) -> str:
    """Adds a line, on the disk when this returns, and returns its hash. A new log begins where there is no
    file.

    Any number of processes may append at once. A last line that was cut off, since a process or the machine
    ended while it was written, stays, and the new line says so.

    Args:
        path: of the log.
        entry: what to say.
        who: did it; by default the user and the machine.

    Raises:
        ValueError: the file is no custody log, or its chain is broken; the words say where.
        OSError: it cannot be written, or locked, in words.
    """
    return CustodyLog(path).append(entry, who)


class CustodyLog:
    """A log for several lines: what was checked once is not read again.

    Args:
        path: of the log; opened with each line, so that the file can be moved away meanwhile.

    Raises:
        ValueError: the file is no custody log, or its chain is broken.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        self._checked: Verified | None = None
        self._file: tuple[int, int] = (0, 0)  # device and inode
        if path.exists() or path.is_symlink():
            _refuse(path, verify(path))

    def append(self, entry: Entry, who: str | None = None) -> str:
        """As the function `append`."""
        try:
            return self._append(entry, who or _user())
        except OSError as error:
            if error.errno in NO_LOCKS:
                words = f"{self.path} lies on a file system without locks. Name a log on another one."
                raise OSError(error.errno, words) from error
            raise explain_os_error(error, self.path.parent) from error

    def _append(self, entry: Entry, who: str) -> str:
        new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_WAIT, 0o644)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            check_regular(self.path, os.fstat(handle))
            flock(file)  # ends with the file
            known = self._verified(file)
            _refuse(self.path, known)
            line, digest, time = new_line(
                entry, who, number=known.num + 1, before=known.last, torn=known.torn
            )
            text = (b"\n" if known.torn else b"") + line
            written = 0
            while written < len(text):
                written += os.write(handle, text[written:])
            os.fsync(handle)
            self._remember(file, known, digest, time)
        if new:
            sync(self.path.parent)
        return digest

    def _verified(self, file: BinaryIO) -> Verified:
        """Of the open file; only what was added since the last time is read."""
        facts = os.fstat(file.fileno())
        same = self._checked is not None and self._file == (facts.st_dev, facts.st_ino)
        self._file = facts.st_dev, facts.st_ino
        if same and facts.st_size >= self._checked.size:
            return verify_from(file, self._checked)
        return verify_from(file, None)

    def _remember(self, file: BinaryIO, known: Verified, digest: str, time: str) -> None:
        size = os.fstat(file.fileno()).st_size
        first = known.first_time or time
        self._checked = Verified(known.num + 1, digest, first, time, None, size=size)


def _refuse(path: Path, known: Verified) -> None:
    if known.fault is not None and known.fault.kind != "cut off":
        raise ValueError(
            f"{path}, line {known.fault.line}: {known.fault.why} Nothing was added. Keep the file as it "
            "is, and begin another log."
        )


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # of a number without a name
        name = str(getattr(os, "getuid", lambda: "unknown")())
    return f"{name}@{socket.gethostname()}"
