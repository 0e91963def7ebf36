"""Log messages on the command line: plain lines on the standard error.

dfd's modules log to `logging.getLogger(__name__)`. Only the command line sets a handler; in a notebook or
another program the messages go where its own logging sends them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dfd.terminal import printable


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """All messages of dfd at level INFO or above, as long as the block lasts."""
    logger, handler = logging.getLogger("dfd"), _StderrHandler()
    handler.setFormatter(_PlainFormatter())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or a handler of somebody else's would print them again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _PlainFormatter(logging.Formatter):
    """The message, with its level from WARNING on, and nothing in it that commands the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        return f"{record.levelname}: {text}" if record.levelno >= logging.WARNING else text


class _StderrHandler(logging.Handler):
    """Asks for `sys.stderr` at each message, since progress bars exchange it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)
