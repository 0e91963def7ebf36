"""Frame queue between reading and judging: bounded, and a full one drops its oldest frame."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """A frame on its way to the detector.

    Args:
        number: from 0, of those that the source gave.
        seconds: since the first frame: of a clip by its own clock, else by arrival.
        arrived: on the clock of time.monotonic.
        pixels: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    seconds: float
    arrived: float
    pixels: np.ndarray


class FrameQueue:
    """Frames from one thread to another, the newest of them.

    Args:
        size: frames that may wait.

    Attributes:
        dropped: frames that nobody will see.
        ended: the source gives no more.
        fault: why it gives no more; "" where it came to its end.
        error: what the reading thread raised that is no fault of the source.

    Raises:
        ValueError: size is below 1.
    """

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"queue={size}: at least one frame must be able to wait. Use 1 or more.")
        self.size, self.dropped = size, 0
        self.ended, self.fault = False, ""
        self.error: BaseException | None = None
        self._frames: deque[Frame] = deque()
        self._notes: deque[str] = deque()
        self._change = threading.Condition()

    def put(self, frame: Frame) -> None:
        with self._change:
            if len(self._frames) == self.size:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._change.notify()

    def get(self, seconds: float) -> Frame | None:
        """The oldest frame that waits; None where none comes within so many seconds, or ever."""
        with self._change:
            self._change.wait_for(lambda: self._frames or self.ended, seconds)
            return self._frames.popleft() if self._frames else None

    def say(self, note: str) -> None:
        """Leaves a line for the thread that writes."""
        self._notes.append(note)

    def notes(self) -> list[str]:
        """The lines that were left since the last call."""
        return [self._notes.popleft() for _ in range(len(self._notes))]

    def end(self, fault: str = "", error: BaseException | None = None) -> None:
        with self._change:
            self.ended, self.fault, self.error = True, fault, error
            self._change.notify()

    @property
    def finished(self) -> bool:
        """Whether no frame waits and none will come."""
        with self._change:
            return self.ended and not self._frames
