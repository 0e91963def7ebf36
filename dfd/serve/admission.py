"""Admission: back-pressure of the service, a bound on requests and bytes that are underway at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from dfd.serve.faults import busy
from dfd.serve.limits import Limits
from dfd.serve.uploads import too_large


class Admission:
    """Requests and bytes that are underway. Used in the event loop alone.

    Args:
        limits: of both.
    """

    def __init__(self, limits: Limits):
        self.limits, self.requests, self.held = limits, 0, 0
        self._seconds: deque[float] = deque([1.0], maxlen=50)  # that late requests took

    def took(self, seconds: float) -> None:
        """Remembers how long a request was underway."""
        self._seconds.append(seconds)

    @contextmanager
    def enter(self, length: str | None) -> Iterator[None]:
        """Counts a request as long as the block lasts, before its body is read.

        Args:
            length: its Content-Length; None of one that does not say it, which counts as the largest.

        Raises:
            Fault: 413 where it is too large by its own word, 429 where too much is underway.
        """
        size = int(length) if length and length.isdecimal() else self.limits.max_request
        if size > self.limits.max_request:
            raise too_large("The request has", size, self.limits.max_request)
        if self.requests >= self.limits.queue or self.held + size > self.limits.max_held:
            wait = math.ceil(sum(self._seconds) / len(self._seconds))
            raise busy(
                f"{self.requests} requests are underway, which is all that this service takes at once", wait
            )
        self.requests += 1
        self.held += size
        try:
            yield
        finally:
            self.requests -= 1
            self.held -= size
