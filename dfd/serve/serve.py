"""`dfd serve`: checks what it was given, starts workers, listens with uvicorn until it is told to stop."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from dfd.media.file_kinds import refuse_lfs_pointer
from dfd.parallel import usable_cores
from dfd.serve.app import make_app
from dfd.serve.guards import known_hosts
from dfd.serve.jobs import Setup
from dfd.serve.keep import Keep
from dfd.serve.limits import Limits
from dfd.serve.metrics import Metrics
from dfd.serve.pool import WorkerPool
from dfd.serve.service import Service
from dfd.serve.tokens import Tokens

# seconds: an idle connection is closed; a last answer may take beyond the limit of a file
IDLE, LAST = 10, 15


def serve_detector(
    setup: Setup,
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    batch: int = 8,
    tokens: Path | None = None,
    hosts: Sequence[str] = (),
    keep: Keep | None = None,
) -> None:
    """Serves a detector until SIGTERM or Ctrl-C: requests that are underway are answered first.

    Args:
        tokens: file of `Tokens`; None lets everybody ask who reaches the port.
        hosts: further names by which the service may be asked.

    Raises:
        ValueError: what is wrong with the checkpoint, the port, or a file.
        ModuleNotFoundError: the detector needs a package that is not installed.
    """
    refuse_lfs_pointer(setup.checkpoint)
    known = Tokens() if tokens is None else Tokens.read(tokens)
    if workers < 1 or batch < 1:
        raise ValueError(f"--workers {workers} --batch {batch}: each takes at least 1.")
    metrics = Metrics()
    with _listening(host, port) as listener:
        pool = WorkerPool(setup, limits, workers, batch, metrics.told)
        service = Service(pool, limits, metrics, known, keep)
        app = make_app(service, known_hosts(host, hosts))
        port = listener.getsockname()[1]
        print(f"serving {setup.checkpoint.name}: http://{_shown(host)}:{port}/  (Ctrl-C ends it)", flush=True)
        if not known and not _is_loopback(host):
            print(
                f"Whoever reaches port {port} of this machine may ask: there are no --tokens.",
                file=sys.stderr,
                flush=True,
            )
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=round(limits.seconds) + LAST,
        )
        try:
            _Server(config).run(sockets=[listener])
        finally:
            pool.close()
    print("stopped; every request that was underway had its answer.", flush=True)
    if keep is not None and (left := keep.left()):
        print(left, flush=True)


def worker_threads(workers: int) -> int:
    """Threads of torch in each worker, so that all workers together have one a core."""
    return max(1, usable_cores() // workers)


class _Server(uvicorn.Server):
    """A server for which a signal to stop is the end of its work, not of its process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again after a stop in good order
        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before: dict[int, Any] = {
            number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; before a detector is loaded, so that a taken port is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # by its protocol asyncio knows where to switch Nagle's algorithm off, which costs each answer 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except (OSError, OverflowError) as error:
        listener.close()
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise ValueError(
            f"cannot listen on {host}, port {port}: {why}. Choose another --port, or 0 for a free one."
        ) from error
    with listener:
        yield listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
