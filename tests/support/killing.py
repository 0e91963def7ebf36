"""Processes that are killed at a chosen one of their calls to the disk."""

import os
import signal
from collections.abc import Callable

CALLS = ("open", "mkdir", "link", "fsync", "rename", "replace", "unlink", "rmdir")


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Runs `act` in a forked process that is killed before its call of this number (from 0) to the disk; whether
    it came so far.
    """
    if (child := os.fork()) == 0:
        try:
            left = [number]
            for name in CALLS:
                setattr(os, name, _deadly(getattr(os, name), left))
            act()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _deadly(function: Callable, left: list[int]) -> Callable:
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call
