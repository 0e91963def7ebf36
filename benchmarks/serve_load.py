"""Load on `dfd serve`: requests a second beside bare onnxruntime, latency, and memory over many requests.

Starts the service on the loopback address with one worker, sends pictures from several clients at once, and in
turns within one run lets onnxruntime judge the same crops in batches of the same size, alone in a process.
Damaged files come in between. Then goes on for --requests requests and watches the memory of both processes;
at the end the worker is killed, and the next request is asked for.

    python benchmarks/serve_load.py best.onnx photos/ --seconds 20 --requests 100000

Promised: at least .8 of bare onnxruntime's pictures a second, memory flat, nothing lost but a killed request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BOUNDARY = "dfd-load"
HOSTILE = (b"", b"no picture", b"\xff\xd8\xff\xe0" + bytes(2000), b"PK\x03\x04" + bytes(500))


def body(data: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="it.jpg"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


class Service:
    """`dfd serve` in a process of its own."""

    def __init__(self, detector: Path, batch: int):
        words = [sys.executable, "-m", "dfd.cli", "serve", str(detector), "--port", "0", "--workers", "1"]
        self.process = subprocess.Popen(
            [*words, "--batch", str(batch), "--queue", "256"], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        self.port = int(line.split("127.0.0.1:")[1].split("/")[0])

    @property
    def pids(self) -> list[int]:
        """The service, its worker, and what looks after these."""
        done = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True)
        return [self.process.pid, *map(int, done.stdout.split())]

    @property
    def worker(self) -> int:
        return max(self.pids[1:], key=megabytes)

    def memory(self) -> float:
        """Megabytes that all its processes hold."""
        return sum(map(megabytes, self.pids))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def ask(connection: http.client.HTTPConnection, data: bytes) -> int:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/v1/score?whole=true", body(data), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def load(
    port: int, pictures: Sequence[bytes], clients: int, seconds: float, most: int | None = None
) -> tuple[list[float], Counter[int]]:
    """Seconds of each answer to a whole picture, and how often each status came."""
    times, statuses, lock = [], Counter(), threading.Lock()
    end, left = time.monotonic() + seconds, [most if most is not None else 1 << 60]

    def client(number: int) -> None:
        connection, at = http.client.HTTPConnection("127.0.0.1", port, timeout=120), number
        while time.monotonic() < end:
            with lock:
                if left[0] <= 0:
                    return
                left[0] -= 1
            at += clients
            hostile = at % 50 == 0
            data = HOSTILE[at // 50 % len(HOSTILE)] if hostile else pictures[at % len(pictures)]
            start = time.perf_counter()
            status = ask(connection, data)
            with lock:
                statuses[status] += 1
                if status == 200 and not hostile:
                    times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, statuses


def bare(detector: Path, pictures: Sequence[bytes], batch: int, seconds: float) -> float:
    """Pictures a second of onnxruntime alone, on crops that are ready: logits, and what familiarity needs."""
    import dfd

    known = dfd.load(detector)
    faces = [face for data in pictures for face in known.crop_faces(data, whole=True)]
    stacks = [face.crops for face in faces if face.crops is not None]
    inputs = known.runtime.inputs(np.concatenate((stacks * batch)[:batch]), None)
    if known.gate is not None:
        inputs["middle"] = np.stack([stack[-1] for stack in (stacks * batch)[:batch]])
    session, count, start = known.runtime.session, 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        session.run(None, inputs)
        count += batch
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", type=Path, help="an export to ONNX")
    parser.add_argument("pictures", type=Path, help="folder of pictures that it can judge with --whole")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000, help="over which memory is watched")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    pictures = [file.read_bytes() for file in sorted(args.pictures.iterdir()) if file.is_file()]
    service = Service(args.detector, args.batch)
    try:
        load(service.port, pictures, args.clients, 3)
        ratios, latencies, statuses = [], [], Counter()
        for _ in range(args.rounds):
            times, seen = load(service.port, pictures, args.clients, args.seconds)
            alone = bare(args.detector, pictures, args.batch, args.seconds)
            ratios.append(len(times) / args.seconds / alone)
            latencies += times
            statuses += seen
            print(
                f"{len(times) / args.seconds:.1f} requests/s, onnxruntime alone {alone:.1f} pictures/s",
                flush=True,
            )
        p50, p99 = np.quantile(latencies, (0.5, 0.99)) * 1000
        print(
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) of onnxruntime alone; "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms with {args.clients} clients; answers {dict(statuses)}"
        )
        held = [service.memory()]
        for _ in range(4):
            load(service.port, pictures, args.clients, 1e6, args.requests // 4)
            held.append(service.memory())
        shown = ", ".join(f"{each:.0f}" for each in held)
        print(f"memory over {args.requests:,} requests, MB: {shown}")
        os.kill(service.worker, signal.SIGKILL)
        start, status = time.monotonic(), 0
        while status != 200 and time.monotonic() - start < 60:
            status = ask(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60), pictures[0])
        print(json.dumps({"after a killed worker": status, "seconds": round(time.monotonic() - start, 1)}))
    finally:
        service.stop()


if __name__ == "__main__":
    main()
