"""Process pool: work over several processes, without holding its tasks or results in memory."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

from dfd.interpreters import safe_path
from dfd.signals import HANGUP, heed_parent_only

# what ends the work in the parent alone, though a terminal or Slurm sends it to all its processes
ENDS = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]
SHARED_MEMORY = Path("/dev/shm")
# bytes of it that a process takes: locks, queues, and what is no picture of a batch
SHARED_MEMORY_EACH = 1 << 16
MORE_SHARED_MEMORY = "Make it larger: mount -o remount,rw,size=1G /dev/shm, or docker run --shm-size=1g"


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_processes(asked: int | None) -> int:
    """How many processes to start: as many as asked for, by default one a core.

    Raises:
        ValueError: asked for none.
    """
    if asked is not None and asked < 1:
        raise ValueError(
            f"{asked} workers: it takes at least 1. Without the option, every usable core gets one "
            f"({usable_cores()} here)."
        )
    return asked or usable_cores()


def shared_memory_fault(processes: int) -> str:
    """Why so many processes could not hand on their work through /dev/shm; "" where they can."""
    try:
        multiprocessing.get_context().Lock()
    except OSError as error:
        return f"/dev/shm, through which processes hand on their work, cannot be used: {error.strerror}"
    if SHARED_MEMORY.is_dir():
        disk = os.statvfs(SHARED_MEMORY)
        free, needed = disk.f_bavail * disk.f_frsize, SHARED_MEMORY_EACH * processes
        if free < needed:
            return (
                f"/dev/shm, through which processes hand on their work, has {free >> 10} KB left, and "
                f"{processes} of them need {needed >> 10}"
            )
    return ""


def _method() -> str:
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def start_server(prepared: str) -> None:
    """Starts what will start the processes of pools, unless it runs. It imports `prepared`, which takes a
    moment, on its own: who will need a pool may begin with this, and read and plan meanwhile.

    Args:
        prepared: a module that all processes need.
    """
    if _method() != "forkserver":
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(["__main__", prepared])
    with safe_path():
        with _undisturbed():  # a block of its own: when it starts, it unblocks signals here
            resource_tracker.ensure_running()
        # while the server imports what is prepared, Ctrl-C would get a traceback of it
        with _undisturbed():
            forkserver.ensure_running()


class ProcessPool:
    """Processes that stay for several rounds of work: fresh ones, not forks of a process that may hold
    threads and a GPU.

    Args:
        count: of processes; at least 1.
        prepared: a module that they import before the first task; see `start_server`.

    Raises:
        ValueError: /dev/shm is full or read-only.
    """

    def __init__(self, count: int, prepared: str):
        if fault := shared_memory_fault(count):
            raise ValueError(f"{fault}. {MORE_SHARED_MEMORY}.")
        self.count = count
        start_server(prepared)
        context = multiprocessing.get_context(_method())
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Yields `function(task)` of each task, in the order in which they finish; the first error ends it.

        Tasks are taken from their iterator only as workers come free.

        Raises:
            ChildProcessError: a worker was killed.
        """
        running: set[Future] = set()
        try:
            for task in tasks:
                with (
                    safe_path(),
                    _undisturbed(),
                ):  # it may start a process, and half started nobody waits for it
                    running.add(self._pool.submit(function, task))
                if len(running) > 2 * self.count:  # one task waits for each worker
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a worker process was killed, perhaps for want of memory. Run the same command again (it "
                f"goes on where it stopped), with fewer workers than {self.count} if it happens again."
            ) from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The signals of ENDS wait until the block is done, and reach no process that starts in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # other threads may take the signal
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ENDS}
    masks = hasattr(signal, "pthread_sigmask")  # Windows has none
    if masks:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # is inherited by what starts
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, and so is the rest
    heed_parent_only()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
