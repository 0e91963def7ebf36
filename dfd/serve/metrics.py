"""Prometheus metrics of the service: requests, seconds, verdicts, batches, workers, what is underway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from dfd.serve.admission import Admission
    from dfd.serve.pool import WorkerPool

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What /metrics shows, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter("dfd_requests", "Requests that were answered.", ["route", "status"], **own)
        self.seconds = Histogram(
            "dfd_request_seconds", "From a request to its answer.", ["route"], buckets=_SECONDS, **own
        )
        self.verdicts = Counter("dfd_faces", "Faces by their verdict or status.", ["verdict"], **own)
        self.ended = Counter("dfd_workers_ended", "Workers that were replaced, and why.", ["reason"], **own)
        self.batch = Histogram("dfd_batch_jobs", "Files that were judged together.", buckets=_SIZES, **own)

    def told(self, what: str, number: int) -> None:
        """What a pool tells of its work."""
        if what == "batch":
            self.batch.observe(number)
        else:
            self.ended.labels(what).inc()

    def watch(self, pool: WorkerPool, admission: Admission) -> None:
        """Shows how a pool and the admission stand whenever somebody looks."""
        own = {"registry": self.registry}
        for name, text, value in (
            ("dfd_workers", "Workers with their detector loaded.", lambda: len(pool.processes)),
            ("dfd_waiting_jobs", "Files that wait for a worker.", lambda: pool.waiting),
            ("dfd_requests_underway", "Requests that are underway.", lambda: admission.requests),
            ("dfd_bytes_underway", "Bytes of these.", lambda: admission.held),
        ):
            Gauge(name, text, **own).set_function(value)

    def count(self, answer: dict[str, Any]) -> None:
        """Counts the faces of a file's answer."""
        for face in answer.get("scores", ()):
            self.verdicts.labels(face["verdict"] or face["status"]).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
