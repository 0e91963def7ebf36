"""Screen of `dfd watch`: lines that stay, a status line that is written over, and the last figures."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from dfd.terminal import commanding, is_terminal, many, printable

ON_TERMINAL, IN_LOG = 0.2, 10.0  # seconds between two status lines
KEPT = 100_000  # latencies of which quantiles are taken, the latest: above an hour at 25 a second


class WatchScreen:
    """Lines on stdout; on stderr one status line, on a terminal always the same one, in a log now and then a
    further one.
    """

    def __init__(self) -> None:
        self.terminal = is_terminal(sys.stderr)
        self.shared = self.terminal and is_terminal(sys.stdout)
        self.colour = is_terminal(sys.stdout) and "NO_COLOR" not in os.environ
        self._due, self._standing = time.monotonic(), False

    def line(self, text: str) -> None:
        """A line that stays, whose words from strangers are printable."""
        if self.shared:
            self.clear()
        print(text, file=commanding(sys.stdout) if self.colour else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """A line on stderr that stays."""
        self.clear()
        print(printable(text), file=sys.stderr, flush=True)

    def due(self) -> bool:
        """Whether it is time for a status line."""
        return time.monotonic() >= self._due

    def status(self, text: str) -> None:
        self._due = time.monotonic() + (ON_TERMINAL if self.terminal else IN_LOG)
        if not self.terminal:
            print(text, file=sys.stderr, flush=True)
            return
        # a line that wraps cannot be written over; some terminals do not know their width
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
        print(f"\r\033[K{printable(text)[:width]}", end="", file=commanding(sys.stderr), flush=True)
        self._standing = True

    def clear(self) -> None:
        """Takes the status line away."""
        if self._standing:
            print("\r\033[K", end="", file=commanding(sys.stderr), flush=True)
            self._standing = False


class Latencies:
    """Seconds from the arrival of what was judged to its decision."""

    def __init__(self) -> None:
        self.count, self.busy = 0, 0.0
        self.arrived, self.first, self.last = 0.0, 0.0, 0.0  # time.monotonic: first arrival, decisions
        self._kept: deque[float] = deque(maxlen=KEPT)

    def add(self, arrived: float, begun: float, done: float) -> float:
        """Milliseconds between arrival and decision, all three on the clock of time.monotonic.

        Args:
            begun: when judging began.
        """
        if not self.count:
            self.arrived, self.first = arrived, done
        self.count, self.busy, self.last = self.count + 1, self.busy + done - begun, done
        self._kept.append(done - arrived)
        return (done - arrived) * 1000

    @property
    def rate(self) -> float:
        """Decisions a second, from the first to the last one; 0 of fewer than two."""
        return (self.count - 1) / (self.last - self.first) if self.last > self.first else 0.0

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Milliseconds, of the latest KEPT."""
        return [float(each) * 1000 for each in np.quantile(self._kept, shares)]

    def in_words(self, what: str) -> str:
        """ "250 frames looked at in 10.0 s: 25.0 images/s; latency p50 21, p90 30, p99 52 ms; ..." """
        if not self.count:
            return f"0 {what}s looked at"
        # files come when they come: their rate says nothing of the detector
        rate = f": {self.rate:.1f} images/s" if what == "frame" and self.count > 1 else ""
        middle, high, highest = self.quantiles((0.5, 0.9, 0.99))
        return (
            f"{many(self.count, what)} looked at in {self.last - self.arrived:.1f} s{rate}; "
            f"latency p50 {middle:.0f}, p90 {high:.0f}, p99 {highest:.0f} ms; "
            f"that took {1000 * self.busy / self.count:.0f} ms each"
        )
