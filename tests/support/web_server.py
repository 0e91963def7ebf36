"""A plain web server in a process of its own, which fails as it is told to.

    python web_server.py FOLDER

prints its port and serves FOLDER. FOLDER/.faults.json, read anew for each request, maps a file's name to
[fault, times]: the first `times` GETs of it fail (a status, or one of FAULTS), those after them do not.
FOLDER/.log gets a line a request: method, name, and the byte that it begins at ("Range: bytes=N-").
"""

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

FAULTS = {
    "stall": "half of the file, then nothing more, the connection open",
    "mute": "no answer, the connection open",
    "truncate": "half of the file, then the end, where more was announced",
    "damage": "one byte is another one",
    "long": "ten times as much as the file holds",
    "slow": "the file, over three seconds",
    "whole": "the file from its beginning, whatever was asked for",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    folder: Path
    failed: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        name = self.path.rpartition("/")[2]
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(ranged[1]) if ranged else 0
        with self.lock:
            with open(self.folder / ".log", "a") as log:
                print(self.command, name, start, file=log)
            faults = self.folder / ".faults.json"
            fault, times = json.loads(faults.read_text()).get(name, ("", 0)) if faults.exists() else ("", 0)
            fault = fault if body and self.failed[name] < times else ""
            self.failed[name] += bool(fault)
        path = self.folder / name
        if not path.is_file() or fault.isdigit():
            self.send_response(int(fault) if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "mute":
            time.sleep(600)
        data = path.read_bytes()
        if fault == "damage":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault == "long":
            data *= 10
        whole, start = len(data), 0 if fault == "whole" else start
        if start >= whole > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        if not body:
            return
        if fault == "slow":
            for at in range(30):
                self.wfile.write(data[at * len(data) // 30 : (at + 1) * len(data) // 30])
                self.wfile.flush()
                time.sleep(0.1)
            return
        self.wfile.write(data[: len(data) // 2] if fault in ("stall", "truncate") else data)
        if fault == "stall":
            self.wfile.flush()
            time.sleep(600)
        self.close_connection = fault == "truncate"

    def log_message(self, *args: object) -> None:
        pass


class Site:
    """A running server: its URL, what it should do wrong, and what it was asked."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/shards"

    def fail(self, **faults: tuple[str, int]) -> None:
        """Names with "_" for "-" and without ".tar"."""
        self.fail_files({f"{name.replace('_', '-')}.tar": fault for name, fault in faults.items()})

    def fail_files(self, named: dict[str, tuple[str, int]]) -> None:
        part = self.folder / ".faults.part"
        part.write_text(json.dumps(named))
        part.replace(self.folder / ".faults.json")

    def asked(self, method: str = "GET") -> Counter[str]:
        """Names of files with how often they were asked for."""
        return Counter(name for done, name, _ in self._log() if done == method)

    def starts(self, name: str) -> list[int]:
        """The bytes that GETs of a file began at."""
        return [int(start) for done, each, start in self._log() if (done, each) == ("GET", name)]

    def _log(self) -> list[list[str]]:
        log = self.folder / ".log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    process = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        yield Site(folder, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
