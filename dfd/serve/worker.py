"""Worker process of the service: loads the detector once, judges jobs from a pipe within a memory limit."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd.malloc import hand_back_pages
from dfd.serve.faults import Fault, too_much_memory
from dfd.serve.jobs import Job, Setup

if TYPE_CHECKING:
    from dfd.detector import Detector

# messages between two times that freed memory is handed back, which takes some milliseconds
HAND_BACK = 500
# what C libraries say in place of a MemoryError
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "insufficient memory",
    "bad allocation",
    "bad_alloc",
)


def work(pipe: Connection, setup: Setup) -> None:
    """Says by the pipe what was loaded, or why nothing was; then answers each list of jobs, a message a job.

    What comes in are `Job`s; what goes out is JSON, since a process that reads strangers' files may be made
    to write anything, and JSON runs no code where it is read.
    """
    # systemd and a terminal signal every process of the service; the parent alone says when to end
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", str(setup.threads))  # torch and exports read it
    try:
        detector, facts = _load(setup)
    except ModuleNotFoundError as error:
        _send(pipe, {"fault": str(error), "missing": error.name})
        return
    except (ValueError, OSError) as error:
        _send(pipe, {"fault": _words(error)})
        return
    if setup.device == "cpu":  # what a GPU's driver maps counts as memory of the process
        _limit_memory(setup.memory)
    _send(pipe, facts)
    for number in itertools.count(1):
        if number % HAND_BACK == 0:
            hand_back_pages()
        try:
            jobs = pipe.recv()
        except EOFError:
            return
        for answer in _answers(detector, jobs, setup):
            _send(pipe, answer)


def _load(setup: Setup) -> tuple[Detector, dict[str, Any]]:
    from dfd.detector import load
    from dfd.media.face_mesh import FaceMesh
    from dfd.serve.judging import about

    if setup.mesh is not None:
        FaceMesh(setup.mesh)  # one that cannot be read is said at the start
    detector = load(
        setup.checkpoint, setup.faces, setup.device, setup.allow, setup.batch_size, setup.drawings
    )
    return detector, about(detector, setup.checkpoint)


def _answers(detector: Detector, jobs: Sequence[Job], setup: Setup) -> Iterator[dict[str, Any]]:
    """One answer a job, in their order; several jobs are scores, which are judged together."""
    from dfd.serve import judging, maps

    if len(jobs) > 1:
        try:
            yield from judging.score(detector, jobs)
            return
        except Exception:  # one of them is at fault: each again, alone
            pass
    for job in jobs:
        try:
            if job.kind == "score":
                yield judging.score(detector, [job])[0]
            elif job.kind == "clip":
                yield judging.score_video(detector, job)
            elif job.kind == "inspect":
                yield judging.inspect(detector, job, setup)
            else:
                yield maps.explain(detector, job)
        except Fault as fault:
            yield {"fault": fault.plain()}
        except Exception as error:
            yield {"fault": _fault(error, setup).plain()}


def _words(error: Exception) -> str:
    """The message; of an OSError without its number, and with the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _fault(error: Exception, setup: Setup) -> Fault:
    said = str(error).lower()
    if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
        return too_much_memory(setup.memory)
    if isinstance(error, ValueError):
        return Fault(422, "not_judged", f"The file cannot be judged: {error}")
    return Fault(
        500,
        "failed",
        f"The file was not judged, by a fault of dfd: {type(error).__name__}: {str(error)[:300]}. The "
        "service goes on. Please report it, with the file if you may.",
    )


def _limit_memory(megabytes: int) -> None:
    """No more private memory than the loaded detector has, and so much beside it."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="utf-8")
    used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    limit = used * 1024 + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _send(pipe: Connection, value: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(value).encode())


def _end_with_parent() -> None:
    """A worker whose parent was killed would judge for nobody."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
