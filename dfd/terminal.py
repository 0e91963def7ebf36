"""Printable text, and standard streams that no text can command, break or bring down.

Names, reasons and words come from strangers' files. On the command line `sys.stdout` and `sys.stderr` are
`ScreenStream`s, so that no caller of print can forget to escape them. In a notebook streams are as they were.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TextIO


def printable(text: str, keep: str = "\n\t") -> str:
    """`text` with all that is not printable escaped, commands to the terminal and broken UTF-8 included, but
    for `keep` and for spaces of other widths, as in names of Japanese or of macOS.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in keep or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


class ScreenStream(io.TextIOBase):
    """A text stream over another one, for print, logging, warnings and tracebacks.

    What is not printable, or not in the encoding, is written as an escape. Nothing raises: what cannot be
    written (a closed pipe, a full disk) is lost, and `fault` says why, so that work is done and saved whoever
    listens. It calls itself no terminal, so that libraries send it no commands either; `commanding` gives the
    stream for those of our own.

    Args:
        stream: where it goes; None for a stream that was closed before the program began.
        strict: escape commands to the terminal.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: TextIO | None, strict: bool = True):
        self.stream, self.strict = stream, strict
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        # shared with the stream that `commanding` makes of it
        self.faults: list[OSError] = [] if stream is not None else [OSError(errno.EBADF, "it is closed")]

    @property
    def fault(self) -> OSError | None:
        return self.faults[0] if self.faults else None

    def write(self, text: str) -> int:
        shown = printable(text, keep="\n\t\r") if self.strict else text
        # an unprintable letter of a strict encoding, and lone surrogates where commands are let through
        shown = shown.encode(self.encoding, "backslashreplace").decode(self.encoding)
        if self.stream is not None and not self.faults:
            with self._lost():
                self.stream.write(shown)
        return len(text)

    def flush(self) -> None:
        if self.stream is not None and not self.faults:
            with self._lost():
                self.stream.flush()

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.faults.append(error)
            _empty(self.stream)
        except ValueError:  # "I/O operation on closed file": somebody closed it meanwhile
            self.faults.append(OSError(errno.EBADF, "it is closed"))

    def isatty(self) -> bool:
        return not self.strict and is_terminal(self.stream)

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)  # buffer, mode, name and the like


def many(number: int, what: str) -> str:
    """A number of things, in words: "1 file", "2 files", "2 families"."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("y") else f"{number} {what}s"


def as_written(path: os.PathLike[str] | str) -> str:
    """A path as its user wrote it: pathlib takes one of the two slashes of an address away."""
    return re.sub(r"^(\w{2,}):/(?=[^/])", r"\1://", os.fspath(path))


def is_terminal(stream: Any) -> bool:
    """Whether people watch a stream, the one below a `ScreenStream`."""
    stream = stream.stream if isinstance(stream, ScreenStream) else stream
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:  # closed
        return False


def commanding(stream: Any) -> Any:
    """The same stream for colours and bars of our own: commands to the terminal pass. Whoever writes to it
    makes strangers' words `printable` first.
    """
    if not isinstance(stream, ScreenStream):
        return stream
    passing = ScreenStream(stream.stream, strict=False)
    passing.faults = stream.faults
    return passing


def nobody_reads(stream: Any) -> bool:
    """Whether what is printed is lost from now on: the reader of a pipe has left, or a disk is full."""
    return isinstance(stream, ScreenStream) and stream.fault is not None


@contextmanager
def screen_streams() -> Iterator[tuple[ScreenStream, ScreenStream]]:
    """`sys.stdout` and `sys.stderr` as `ScreenStream`s, as long as the block lasts, and tracebacks of what
    leaves it as printable text.
    """
    _fill_closed()
    before = sys.stdout, sys.stderr
    out, err = ScreenStream(before[0]), ScreenStream(before[1])
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    except Exception:
        sys.excepthook = _print_traceback
        raise
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _print_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    print("".join(traceback.format_exception(kind, error, where)), file=ScreenStream(sys.stderr), end="")


def _fill_closed() -> None:
    """Opens the null device as each standard descriptor that was closed, or the next file that is opened
    would get its number, and with it whatever a library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _empty(stream: Any) -> None:
    """Points the descriptor of a stream that takes no more to the null device: what its buffer still holds
    would raise when Python ends.
    """
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
