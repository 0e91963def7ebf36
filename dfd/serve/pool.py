"""Worker pool of the service: a bounded queue of jobs, batches, time limits, and workers that are replaced.

A thread looks after each worker. A worker that ends or takes too long loses the job that it was at: the
others of its batch are judged again, each alone.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from dfd.malloc import hand_back_pages
from dfd.serve.faults import Fault, busy, too_slow, worker_ended
from dfd.serve.jobs import Job, Setup
from dfd.serve.limits import Limits
from dfd.serve.worker import HAND_BACK, work

# seconds: of loading a detector at most; between looks at an idle worker; before another try to start one
LOADING, LOOK, PAUSE = 300.0, 1.0, 5.0


@dataclass
class _Waiting:
    """A job in the queue, with the promise of its answer."""

    job: Job
    alone: bool = False
    answer: Future[dict[str, Any]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class WorkerPool:
    """Processes that judge jobs, each with a detector of its own.

    Args:
        setup: what each of them loads.
        limits: of seconds.
        count: of processes.
        batch: scores that a worker judges together, where so many wait.
        told: is called with ("batch", its size), ("ended", 1) and ("too_slow", 1) as that happens.

    Raises:
        ValueError: the first worker says that the detector cannot be loaded.
        ModuleNotFoundError: it needs a package that is not installed.
    """

    def __init__(
        self,
        setup: Setup,
        limits: Limits,
        count: int = 1,
        batch: int = 8,
        told: Callable[[str, int], None] = lambda what, number: None,
    ):
        self.setup, self.limits, self.count, self.batch, self._told = setup, limits, count, batch, told
        self.about: dict[str, Any] = {}
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._ready: dict[int, int] = {}  # process ids by the number of their thread
        first = self._start()
        self._threads = [
            threading.Thread(target=self._tend, args=(number, first if number == 0 else None), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def processes(self) -> list[int]:
        """Ids of the workers that have loaded their detector."""
        return list(self._ready.values())

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken yet."""
        return len(self._queue)

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """The promise of an answer; a `Fault` is its exception."""
        waiting = _Waiting(job)
        with self._changed:
            if self._closing:
                raise Fault(
                    503, "stopping", "The service is being stopped. Send the request to it later.", 30
                )
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.answer

    def close(self) -> None:
        """Ends the workers; who still waits is told that the service stops."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._fail(
            list(self._queue),
            Fault(503, "stopping", "The service was stopped before it came to this file.", 30),
        )

    def _start(self) -> _Worker:
        """A worker with its detector loaded; ValueError or ModuleNotFoundError where it cannot be."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self.setup), daemon=True, name="dfd-serve-worker"
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        try:
            loaded = ours.poll(LOADING)
            facts = (
                json.loads(ours.recv_bytes()) if loaded else {"fault": f"it took longer than {LOADING:g} s"}
            )
        except (EOFError, OSError):
            facts = {"fault": "its process was ended, perhaps for want of memory"}
        if "fault" in facts:
            worker.end()
            if "missing" in facts:
                raise ModuleNotFoundError(facts["fault"], name=facts["missing"])
            raise ValueError(facts["fault"])
        self.about = facts
        return worker

    def _tend(self, number: int, worker: _Worker | None) -> None:
        for turn in itertools.count(1):
            if turn % HAND_BACK == 0:
                hand_back_pages()
            if worker is None:
                worker = self._replace(number)
            if worker is None:
                break
            self._ready[number] = worker.process.pid or 0
            jobs = self._take()
            if jobs is None:
                break
            if not worker.process.is_alive():
                self._put_back(jobs)
                jobs, lost = [], True
            else:
                lost = bool(jobs) and not self._judge(worker, jobs)
            if lost:
                self._ready.pop(number, None)
                worker.end()
                worker = None
        if worker is not None:
            worker.end()
        self._ready.pop(number, None)

    def _replace(self, number: int) -> _Worker | None:
        """A new worker; None where the service stops meanwhile."""
        while not self._closing:
            try:
                return self._start()
            except (ValueError, OSError, ModuleNotFoundError) as error:
                if not self._ready:
                    why = f"No worker can be started: {error}. Whoever runs the service must look at it."
                    with self._changed:
                        waiting, self._queue = list(self._queue), deque()
                    self._fail(waiting, Fault(503, "no_worker", why, 30))
                with self._changed:
                    self._changed.wait(PAUSE)
        return None

    def _take(self) -> list[_Waiting] | None:
        """What to judge next: one job, or several scores; nothing after a moment without; None at the end."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(LOOK)
            if self._closing:
                return None
            self._drop_late()
            if not self._queue:
                return []
            jobs = [self._queue.popleft()]
            while self._queue and len(jobs) < self.batch and all(map(_joins, (*jobs, self._queue[0]))):
                jobs.append(self._queue.popleft())
        return [each for each in jobs if each.alone or each.answer.set_running_or_notify_cancel()]

    def _drop_late(self) -> None:
        """Of the queue, what has waited for longer than a worker may take."""
        while self._queue and time.monotonic() - self._queue[0].since > self.limits.seconds:
            late = self._queue.popleft()
            self._fail([late], busy(f"No worker came free within {self.limits.seconds:g} s", 5))

    def _put_back(self, jobs: Sequence[_Waiting]) -> None:
        for each in jobs:
            # others' time is not this job's
            each.alone, each.since = True, time.monotonic()
        with self._changed:
            self._queue.extendleft(reversed(jobs))
            self._changed.notify()

    def _judge(self, worker: _Worker, jobs: Sequence[_Waiting]) -> bool:
        """Has jobs answered; whether the worker is good for more."""
        self._told("batch", len(jobs))
        left = deque(jobs)
        until = time.monotonic() + self.limits.seconds
        fault = worker_ended()
        try:
            worker.pipe.send([each.job for each in jobs])
            while left:
                if not worker.pipe.poll(max(until - time.monotonic(), 0)):
                    fault = too_slow(self.limits.seconds)
                    break
                _set(left[0], json.loads(worker.pipe.recv_bytes()))
                left.popleft()
            else:
                return True
        # it has ended; or a file made it write what is no answer
        except (EOFError, OSError, ValueError, TypeError):
            pass
        self._told(fault.code, 1)
        # of several, nobody knows which one it was: each again, alone
        if len(left) > 1:
            self._put_back(left)
        else:
            self._fail(left, fault)
        return False

    def _fail(self, waiting: Sequence[_Waiting], fault: Fault) -> None:
        for each in waiting:
            with suppress(Exception):  # who asked has left, and cancelled it
                each.answer.set_exception(fault)


def _joins(each: _Waiting) -> bool:
    return each.job.kind == "score" and not each.alone


def _set(waiting: _Waiting, answer: dict[str, Any]) -> None:
    if not isinstance(answer, dict):
        raise TypeError("an answer is an object")
    if "fault" in answer:
        waiting.answer.set_exception(Fault(**answer["fault"]))
    else:
        waiting.answer.set_result(answer)
