"""Check of a custody log: the first line that is not as it was written, and what happened to it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from dfd.forensics.custody.lines import START, line_hash, may_begin_a_line, parsed
from dfd.terminal import printable

NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a named pipe is then not waited for

# changed: its content is not what was written. removed: lines before it are missing. moved: it was written
# elsewhere in the log. inserted: it was not written by the log's writers. cut off: it has no end. foreign:
# it is no line of a custody log. missing: the expected hash is nowhere.
Kind = Literal["changed", "removed", "moved", "inserted", "cut off", "foreign", "missing"]


@dataclass(frozen=True)
class Fault:
    """The first place where a log is not as it was written.

    Args:
        line: number in the file, from 1.
        kind: what happened to it.
        why: a sentence.
    """

    line: int
    kind: Kind
    why: str


@dataclass(frozen=True)
class Verified:
    """What a log holds.

    Args:
        num: entries before the first fault.
        last: hash of the last of them; START without any.
        first_time: and
        last_time: of these entries, UTC.
        fault: the first one; None where there is none.
        cut_off: lines that were cut off while they were written, of which the next entry says so; from 1.
        size: bytes up to the end of the last whole line.
        torn: the bytes of a last line without an end, b"" where there is none.
    """

    num: int
    last: str
    first_time: str
    last_time: str
    fault: Fault | None
    cut_off: tuple[int, ...] = ()
    size: int = 0
    torn: bytes = b""


def verify(path: Path, expect: str | None = None) -> Verified:
    """Checks a whole log, and says the first line that was changed, removed, moved or put in.

    Args:
        path: of the log.
        expect: the hash of a line that was noted elsewhere: one of the lines has to have it.

    Raises:
        ValueError: there is no such file, or it is a folder, a pipe or a device.
        OSError: it cannot be read.
    """
    if not os.path.lexists(path):
        raise ValueError(f"{path}: no such file. `dfd inspect --custody {path}` begins a log.")
    check_regular(path, os.stat(path))
    with os.fdopen(os.open(path, os.O_RDONLY | NO_WAIT), "rb", buffering=0) as file:
        return verify_from(file, None, expect)


def summary(path: Path, found: Verified) -> str:
    """What a check found, in a few lines for a terminal."""
    entries = f"{found.num} {'entry' if found.num == 1 else 'entries'}"
    span = f", {found.first_time} to {found.last_time}" if found.num else ""
    noted = [
        f"Line {line} was cut off while it was written; the next entry says so." for line in found.cut_off
    ]
    if found.fault is not None:
        where = f"{path}, line {found.fault.line}: {found.fault.why}"
        return "\n".join([where, *noted, f"Before it: {entries}{span}."])
    if not found.num:
        return f"{path}: it holds no line."
    return "\n".join(
        [
            f"{path}: {entries}{span}; each follows from the one before.",
            *noted,
            "Lines taken off the end, or a log rewritten whole, are noticed by --expect HASH alone: note the "
            "last hash elsewhere, on paper or in a mail.",
            f"Last hash: {found.last}",
        ]
    )


def check_regular(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{path} is no file: a folder, a pipe or a device. Name a file for the log.")


def verify_from(file: BinaryIO, before: Verified | None, expect: str | None = None) -> Verified:
    """Reads on from where an earlier check ended, or from the start."""
    file.seek(before.size if before else 0)
    lines, torn, size = _read(file)
    check = _Check(before, lines)
    for at, line in enumerate(lines):
        if not check.takes(at, line):
            break
    fault = check.fault
    if fault is None and check.unread is not None:
        fault = check.unreadable(len(lines) - 1)
    if fault is None and not check.num and torn and not may_begin_a_line(torn):
        fault = check.unreadable(len(lines))
    if fault is None and torn:
        fault = Fault(
            check.number(len(lines)),
            "cut off",
            "it has no end: a process or the machine ended while it was written. Nothing has to be done: the "
            "next entry says so, and the chain goes on.",
        )
    if fault is None and expect is not None and expect not in check.hashes:
        fault = Fault(
            check.number(len(lines) - 1),
            "missing",
            f"up to here no line has the hash {printable(expect)[:80]}: lines were taken off the end, or "
            "the log was written anew.",
        )
    size += before.size if before else 0
    return Verified(
        check.num, check.last, check.first_time, check.last_time, fault, tuple(check.cut_off), size, torn
    )


def _read(file: BinaryIO) -> tuple[list[bytes], bytes, int]:
    """The whole lines, without their ends; the bytes behind the last one; and the size of the first."""
    data = file.read()
    *lines, torn = data.split(b"\n")
    return lines, torn, len(data) - len(torn)


class _Check:
    """The state of a check that goes down the lines."""

    def __init__(self, before: Verified | None, lines: Sequence[bytes]):
        self.offset = before.num if before else 0
        self.num, self.last = (before.num, before.last) if before else (0, START)
        self.first_time, self.last_time = (before.first_time, before.last_time) if before else ("", "")
        self.fault: Fault | None = None
        self.unread: bytes | None = None  # a line that is none, unless the next one says that it was cut off
        self.cut_off: list[int] = []
        self.parsed = [parsed(line) for line in lines]
        self.places = {said["hash"]: at for at, said in enumerate(self.parsed) if said}
        self.hashes = {self.last}

    def number(self, at: int) -> int:
        return self.offset + at + 1

    def takes(self, at: int, line: bytes) -> bool:
        """Whether the chain goes on with this line."""
        said = self.parsed[at]
        if self.unread is not None:
            if said is None or said.get("cut_off") != hashlib.sha256(self.unread).hexdigest():
                self.fault = self.unreadable(at - 1)
                return False
            self.cut_off.append(self.number(at - 1))
            self.unread = None
        if said is None or self._is_noted(at, line):
            self.unread = line
            return True
        if line_hash({name: value for name, value in said.items() if name != "hash"}) != said["hash"]:
            why = "its content was changed: it has not the hash that it names."
            self.fault = Fault(self.number(at), "changed", why)
            return False
        if said["before"] != self.last or said["number"] != self.num + 1:
            self.fault = self._broken(at, said)
            return False
        self.num, self.last, self.last_time = self.num + 1, said["hash"], said["time"]
        self.first_time = self.first_time or said["time"]
        self.hashes.add(self.last)
        return True

    def _is_noted(self, at: int, line: bytes) -> bool:
        """Whether the next line says of this one, which lacked but its end, that it was cut off."""
        behind = self.parsed[at + 1] if at + 1 < len(self.parsed) else None
        return behind is not None and behind.get("cut_off") == hashlib.sha256(line).hexdigest()

    def unreadable(self, at: int) -> Fault:
        if not self.num:
            return Fault(self.number(at), "foreign", "it is no line of a custody log.")
        return Fault(self.number(at), "changed", "it was changed: it is no line of a custody log any more.")

    def _broken(self, at: int, said: Mapping[str, Any]) -> Fault:
        """Why a line that is whole does not follow the one before."""
        here = self.number(at)
        if said["hash"] in self.hashes:
            return Fault(here, "moved", "it is a copy of a line that stands before it.")
        if said["before"] == START and at + self.offset > 0:
            return Fault(here, "moved", "it is the first line of a log, and stands in the middle.")
        place = self.places.get(said["before"])
        if place is None and said["number"] != self.num + 1:
            why = f"lines before it were removed: it was number {said['number']} when it was written."
            return Fault(here, "removed", why)
        if place is None:
            why = "it is not the line that stood here when the next one was written."
            return Fault(self.number(max(at - 1, 0)), "changed", why)
        if place < at - 1:
            why = "it was put in: the lines behind it were written without it."
            return Fault(self.number(place + 1), "inserted", why)
        return Fault(here, "moved", "it does not stand where it was written: lines were moved.")
