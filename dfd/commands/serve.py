"""Verb that puts a detector behind a web page and a REST service: serve."""

from __future__ import annotations

from pathlib import Path


def serve(
    checkpoint: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    hosts: tuple[str, ...] = (),
    tokens: Path | None = None,
    faces: Path | None = None,
    mesh: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
    batch: int = 8,
    max_bytes: int = 32_000_000,
    max_files: int = 20,
    seconds: float = 120.0,
    memory: int = 2000,
    queue: int = 64,
    keep: Path | None = None,
    keep_minutes: float = 60.0,
    allow: tuple[str, ...] = (),
    drawings: bool = False,
) -> None:
    """A web page for analysts and a REST service for programs, by one detector: the verdicts of dfd score,
    the evidence of dfd inspect, the maps of dfd explain.

    Each file is judged in a worker process within limits of time and memory; one that ends it loses its own
    request alone. Uploads are held in memory, never on a disk, unless --keep says so. SIGTERM and Ctrl-C stop
    it once the requests that are underway have their answers. /openapi.json describes the service.

    Args:
        checkpoint: File that dfd fit or dfd export wrote; nothing else is needed, and no network.
        host: Address to listen on; 0.0.0.0 lets other machines ask.
        port: To listen on; 0 takes a free one.
        hosts: Further names by which it may be asked, such as that of a proxy; others are refused.
        tokens: File of a line each: a name, scopes of score, inspect and metrics, and the SHA-256 of a token.
            Without it whoever reaches the port may ask.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        mesh: Mesh of 468 face points, a .tflite file, for finer measurements on faces, and for blinks and
            jitter in videos.
        device: Where the net runs, as torch names it.
        workers: Processes that judge, each with a detector of its own.
        batch: Files that a worker judges together, where so many wait.
        max_bytes: Of one file.
        max_files: Of one request.
        seconds: That a file may take; a map takes longest.
        memory: Megabytes that judging may take in a worker, beyond the loaded detector.
        queue: Requests that are underway at once; more are told to come again.
        keep: Folder in which uploads are kept, by their SHA-256.
        keep_minutes: For which each is kept; it is deleted by a service that runs, or by the next one.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
        drawings: The files are the toy set's drawings, the only ones that a detector of the toy set has a
            verdict on.
    """
    from dfd.serve.jobs import Setup
    from dfd.serve.keep import Keep
    from dfd.serve.limits import Limits
    from dfd.serve.serve import serve_detector, worker_threads

    limits = Limits(max_bytes, max_files, seconds, memory, queue)
    setup = Setup(
        checkpoint=checkpoint,
        faces=faces,
        mesh=mesh,
        device=device,
        allow=allow,
        drawings=drawings,
        threads=worker_threads(max(workers, 1)),
        memory=memory,
    )
    serve_detector(
        setup,
        limits,
        host=host,
        port=port,
        workers=workers,
        batch=batch,
        tokens=tokens,
        hosts=hosts,
        keep=None if keep is None else Keep(keep, keep_minutes),
    )


VERBS = (serve,)
