"""SIGTERM, SIGUSR1 and SIGHUP as flags that a run checks between two steps, or as a Ctrl-C of shorter work.

Slurm warns a job by SIGUSR1 some minutes before its time is up (`sbatch --signal=SIGUSR1@180`) and ends one
by SIGTERM, at any moment: while Python still imports, too. A terminal that is closed sends SIGHUP. A handler
that saves, or talks to other ranks, hangs half of the runs of two ranks; this one sets a number, which
`dfd.callbacks.Preemption` reads between two steps.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP, REQUEUE = 1, 2  # what a signal asks for; the most that any rank heard counts
ASKS = {signal.SIGTERM: STOP}
if hasattr(signal, "SIGUSR1"):  # Windows has none
    ASKS |= {signal.SIGUSR1: REQUEUE, signal.SIGHUP: STOP}


HANGUP = getattr(signal, "SIGHUP", None)


class StopSignals:
    """The signals of this process, from `listen` to `forget`.

    `heard` is 0, STOP or REQUEUE: the most that was asked for since.
    """

    def __init__(self) -> None:
        self.requested = 0
        self._process = 0
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> bool:
        """Begins to listen; False where somebody has begun already, or where this thread cannot."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return False
        self.requested, self._process = 0, os.getpid()
        for number in ASKS:
            # what nohup protects from the end of its terminal goes on; a scheduler is heard in any case
            if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hear)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)  # a parent may have blocked them
        return True

    def forget(self, leaving: bool = False) -> None:
        """Restores the handlers of before.

        Args:
            leaving: the process has nothing left but to end, and ignores these signals from here on. Python
                takes up to a second for that, in which one would change the exit code of what is done.
        """
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_IGN if leaving else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process:
            self.requested = max(self.requested, ASKS[signal.Signals(number)])
        # a forked process inherits the handler, and is ended by its parent in this way
        elif number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


stop_signals = StopSignals()


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, where it ends the work as Ctrl-C does: `number` of the signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextmanager
def ending_as_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated` within the block, so that what is half written is removed; later
    ones are not heard any more. What nohup protects from SIGHUP stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def hear(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # forked, with the handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    numbers = [number for number in (signal.SIGTERM, HANGUP) if number is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or SIGHUP sets within the block, for work without an end, which then
    finishes in order; the next such signal is answered as outside the block. What is ignored stays ignored.

    The main thread asks `is_set()` and never waits for the event: a handler runs between two of its steps,
    and would wait for a lock that it holds.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: FrameType | None) -> None:
        restore()
        event.set()

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, hear)
    try:
        yield event
    finally:
        restore()


@contextmanager
def held_back() -> Iterator[None]:
    """Blocks these signals for what starts within the block: threads, and processes with all their threads.

    In this thread they wait until the block is done. A process that is forked may have threads before its
    first line runs, since libraries (OpenTelemetry's, which wandb brings) begin theirs anew after each fork:
    what a process blocks for itself comes too late for them, and any thread that does not block a signal
    takes it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def heed_parent_only() -> None:
    """In a helper process that was started while signals were `held_back`: SIGTERM ends it where its parent
    sends it, and is ignored from elsewhere.

    Slurm sends its signals to every process of a job, and without its decoding processes a run could not end
    its step.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()  # not its parent to the system where a fork server began it
    asker = os.getppid() if parent is None else parent.pid
    threading.Thread(target=_await, args=(asker,), daemon=True).start()


def _await(asker: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != asker:
        pass
    os._exit(0)
