"""Outputs that a user names: what may be written there, and how, so that nothing of anybody's is lost.

A name may be that of a file, or of a link, a pipe, a device. One rule for all verbs:

- nothing yet, or an earlier file of the same kind: written beside it and then put in its place, whole or not
  at all;
- a link: what it leads to is written, the link stays;
- a pipe, a terminal or another character device, /dev/stdout, /dev/fd/N: written through as the lines come,
  where lines are what is written; never read, renamed or replaced;
- a folder, a socket, a block device, somebody else's file: refused before any work.

What a killed process left unfinished is removed by the next one with the same output. A lock (flock) tells it
from what a living process is writing.
"""

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from dfd.durable import MAX_NAME, atomic_write, explain_os_error, kind_of, meant_name, temporary_name
from dfd.locks import try_flock
from dfd.terminal import ScreenStream, is_terminal

# in a folder that grows: locked by the process that fills it
WRITER = ".writer"
_LINKS = 40  # links in a row that Linux follows
# Windows has neither, nor the things that they are for
_NO_WAIT, _NO_LINKS = getattr(os, "O_NONBLOCK", 0), getattr(os, "O_NOFOLLOW", 0)
_NO_TTY = getattr(os, "O_NOCTTY", 0)


def check_file(path: Path, what: str, heads: tuple[bytes, ...] | None = None) -> None:
    """Refuses, before any work, a name that no file can be written to.

    Args:
        what: how the message calls the file, such as "--csv scores.csv".
        heads: an existing file is replaced if it begins with one of these, or is empty; None: any file. Of a
            table its whole header line with its end, see `table_heads`: what somebody adds below it cannot be
            known from what dfd wrote there, a column that somebody adds can.

    Raises:
        ValueError: says what is there, and what to name instead.
    """
    target = _target(path)
    if len(os.fsencode(target.name)) > MAX_NAME:
        raise ValueError(f"{what}: the name is longer than {MAX_NAME} bytes. Choose a shorter one.")
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # of its folder others speak, who make it
        return
    except OSError as error:
        raise ValueError(f"{what} cannot be written: {error.strerror}. Choose another name.") from error
    if kind := kind_of(mode):
        raise ValueError(f"{what} is {kind}, where a file is to be written. Choose the name of a file.")
    if not os.access(target, os.W_OK):
        raise ValueError(f"{what} is there already and may not be written. Choose another name.")
    if heads is not None:
        try:
            with target.open("rb") as file:
                head = file.read(max(map(len, heads)))
        except OSError as error:
            raise ValueError(f"{what} is there already and cannot be read: {error.strerror}.") from error
        if head and not head.startswith(heads):
            raise ValueError(
                f"{what} is there already, and dfd did not write it, or somebody changed its first line. "
                "Choose a new name; nothing was written."
            )


def table_heads(columns: Iterable[str]) -> tuple[bytes, ...]:
    """The header line of a table of dfd's own, with either end that dfd writes: see `check_file`."""
    line = ",".join(columns)
    return f"{line}\r\n".encode(), f"{line}\n".encode()


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """An empty temporary file, locked, that takes its name once the block ends well; after an error nothing
    is left. A link is followed and stays.

    Raises:
        OSError: as `atomic_write`.
    """
    target, handle = _target(path), None
    remove_leftovers(target.parent, {target.name})
    try:
        with atomic_write(target) as part:
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with suppress(OSError):  # a file system without locks: what is left stays
                try_flock(handle)
            yield part
    finally:  # not before the file has its name: until then an unlocked one is a leftover
        if handle is not None:
            os.close(handle)


@contextmanager
def output_folder(out: Path, whole: str) -> Iterator[Path]:
    """A folder beside `out` that takes its name once the block ends well: `out` is whole or not there.

    Where another process finished `out` meanwhile, its result stays and this one is dropped.

    Args:
        whole: name of the file by which a finished one is known.

    Raises:
        ValueError: `out` exists with something in it, or is where a disk is mounted.
        OSError: disk full or unwritable, in words.
    """
    check_new_folder(out)
    out = _target(out)
    remove_leftovers(out.parent, {out.name})
    part, handle = temporary_name(out), None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.mkdir()
        except FileNotFoundError as error:  # as /proc says it
            words = f"{out} cannot be made: {out.parent} takes no new folders. Choose another folder."
            raise OSError(error.errno, words) from error
        handle = os.open(part / WRITER, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # a file system without locks
            try_flock(handle)
        yield part
        try:
            os.replace(part, out)
        except OSError:
            if not (out / whole).is_file():
                raise
        (out / WRITER).unlink(missing_ok=True)
    except OSError as error:
        raise explain_os_error(error, out.parent) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def lies_within(place: Path, folder: Path) -> bool:
    """Whether a place, there or not, is that folder or lies in it, by whatever names: over links, or with
    letters of another case.
    """
    real = Path(os.path.realpath(place))
    for each in (real, *real.parents):
        with suppress(OSError):
            if os.path.samefile(each, folder):
                return True
    return False


def check_new_folder(out: Path, *sources: Path) -> None:
    """ValueError for a folder that lies in what is read, that is not new and empty, or that cannot be put in
    its place as a whole.
    """
    for source in sources:
        if lies_within(out, source):
            raise ValueError(f"{out} lies in {source}, which is only read. Choose a folder beside it.")
    if not os.path.lexists(_target(out)):
        return
    if not out.is_dir():
        kind = kind_of(os.lstat(_target(out)).st_mode) or "a file"
        raise ValueError(f"{out} is {kind}, where a folder is to be made. Choose another name.")
    if any(out.iterdir()):
        raise ValueError(f"{out} exists and is not empty. Choose another folder or remove it.")
    if os.path.ismount(out):
        raise ValueError(
            f"{out} is where a disk is mounted, so it cannot become whole in one step. Name a folder in it, "
            f"such as {out / 'out'}."
        )


def remove_leftovers(folder: Path, names: Container[str]) -> None:
    """Removes what killed processes left of outputs: temporary files and folders of these names that no
    living process has locked. What cannot be removed stays.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if meant_name(entry.name) not in names:
                continue
            left = Path(entry.path)
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    _remove_folder(left)
                elif entry.is_file(follow_symlinks=False) and _is_dead(left):
                    left.unlink()


def _remove_folder(left: Path) -> None:
    if not os.path.lexists(left / WRITER):
        left.rmdir()  # killed before it wrote anything; else it is not ours
    elif _is_dead(left / WRITER):
        shutil.rmtree(left)


def _is_dead(path: Path) -> bool:
    """Whether nobody holds the lock of a file; OSError where that cannot be known."""
    # writable, since NFS makes of flock a lock that needs it
    handle = os.open(path, os.O_RDWR | _NO_LINKS | _NO_WAIT)
    try:
        return try_flock(handle)
    finally:
        os.close(handle)


def is_stdout(path: str | Path) -> bool:
    """Whether a name means the standard output: -, /dev/stdout, or the file or pipe that it goes to."""
    if str(path) == "-" or _own_descriptor(Path(path)) == 1:
        return True
    try:
        there, out = os.stat(path), os.fstat(1)
    except OSError:
        return False
    # not for devices: /dev/null is no output
    return os.path.samestat(there, out) and (stat.S_ISREG(out.st_mode) or stat.S_ISFIFO(out.st_mode))


def is_stream(path: Path) -> bool:
    """Whether what is written there goes on at once: to a pipe, a character device, an open descriptor."""
    if _own_descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def open_stream(path: str | Path) -> Iterator[TextIO]:
    """A name for which `is_stdout` or `is_stream` is true, opened for text as it goes into files: UTF-8, and
    names of files with the bytes that they have.

    Raises:
        ValueError: it may not be written.
        OSError: nobody reads any more, or a device is full; in words.
    """
    if is_stdout(path):
        with _opened_stdout() as file:
            yield file
        return
    try:
        handle = _opened(Path(path))
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}. Choose another name.") from error
    try:
        with open(handle, "w", buffering=1, encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
    except OSError as error:
        words = {errno.ENOSPC: f"no space left for {path}.", errno.EPIPE: f"nobody reads {path} any more."}
        raise OSError(error.errno, words.get(error.errno, error.strerror)) from error


@contextmanager
def _opened_stdout() -> Iterator[TextIO]:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None or is_terminal(sys.stdout):  # a notebook's; people's eyes, not the bytes of a file
        yield sys.stdout
        return
    sys.stdout.flush()
    file = TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield file
        file.flush()
    except BrokenPipeError as error:
        if not isinstance(sys.stdout, ScreenStream):
            raise
        sys.stdout.faults.append(error)  # as for whatever else is printed
    finally:
        with suppress(OSError):
            file.detach()


def _opened(path: Path) -> int:
    number = _own_descriptor(path)
    if number is not None:
        return os.dup(number)
    try:
        handle = os.open(path, os.O_WRONLY | _NO_TTY | _NO_WAIT)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        print(f"waiting for somebody to read {path}", file=sys.stderr, flush=True)
        return os.open(path, os.O_WRONLY | _NO_TTY)
    os.set_blocking(handle, True)
    return handle


def _own_descriptor(path: Path) -> int | None:
    """The number of the descriptor that /dev/stdout, /dev/fd/N, /proc/self/fd/N or a link to one means."""
    at = path.absolute()
    for _ in range(_LINKS):
        folder = os.path.realpath(at.parent)
        if at.name.isdecimal() and re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", folder):
            return int(at.name)
        try:
            at = Path(folder, os.readlink(at))
        except OSError:
            return None
    return None


def _target(path: Path) -> Path:
    """What a link leads to, and anything else as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
