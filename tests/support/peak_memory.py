"""How much memory something takes at most."""

import ctypes
import os
from pathlib import Path

_RESETS = Path("/proc/self/clear_refs")
MEASURES = os.access(_RESETS, os.W_OK)  # Linux
_LEFT = 30_000_000  # bytes that the heap may keep of earlier files; to trim it for each of them takes seconds
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if MEASURES else None  # glibc's


class Peak:
    """The most memory that this process held since `begin`, above what it had then; the kernel keeps count."""

    def __init__(self):
        self._start = self._trimmed = 0

    def begin(self) -> None:
        # what an earlier file left in the heap would serve this one unseen
        if _malloc_trim is not None and self._most() - self._trimmed > _LEFT:
            _malloc_trim(0)
            self._trimmed = self._reset()
        self._start = self._reset()

    def megabytes(self) -> float:
        return (self._most() - self._start) / 1e6

    def _most(self) -> int:
        status = Path("/proc/self/status").read_bytes()
        return int(status.partition(b"VmHWM:")[2].split(maxsplit=1)[0]) * 1024

    def _reset(self) -> int:
        """The most so far is now what there is."""
        _RESETS.write_bytes(b"5")
        return self._most()
