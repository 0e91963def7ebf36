"""Sends what W&B's server has not got of runs: the engine of `dfd sync`."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from dfd import run_record
from dfd.durable import check_folder
from dfd.interpreters import fresh

TIMEOUT = 15  # seconds for W&B's server to answer
ENDING = 45  # seconds more for W&B's programs to start and to end, which at times they do not
HEADER, BLOCK = 7, 1 << 15  # bytes of a .wandb file: LevelDB's log format behind a header
WHOLE, FIRST, LAST, PIECES = 1, 2, 4, (1, 2, 3, 4)  # kinds of a piece of a record
MAGIC = b":W&B"

LOGIN = """
import sys, wandb
try:
    wandb.login(verify=True, timeout=int(sys.argv[1]))
    print("reached", flush=True)
except wandb.errors.UsageError as error:
    sys.exit("no key: " + str(error))
except Exception as error:
    sys.exit(str(error).partition(chr(10))[0])
"""


def sync(folders: Sequence[Path], say: Callable[[str], None] = print) -> None:
    """Sends every run in and below some folders that W&B's server has not all of, once.

    A run that was started several times has a part for each, logged offline or online; they are sent in their
    order and become one run of W&B's. What was sent is marked and never sent again. A run that still goes on
    is left out.

    Args:
        say: gets a line a run folder.

    Raises:
        ValueError: no such folder, or nothing in it that W&B logged; wandb is not installed; no key;
            no server that answers; a part that W&B did not take.
    """
    waiting: dict[Path, list[Path]] = {}  # run folder -> parts to send
    for folder in folders:
        found = _parts(folder)
        if not found:
            raise ValueError(
                f"{folder} holds no run that W&B logged: it was made with WANDB_MODE=disabled, or is no run "
                "folder. Give one that dfd fit made, or a folder above."
            )
        for run, parts in found.items():
            record = run_record.read(run)
            if record is not None and run_record.state(record)[0] == "running":
                say(f"{run}: still running; send it when it has ended")
                continue
            waiting[run] = [part for part in parts if not _marker(part).exists() and _trim(part)]
            if not waiting[run]:
                say(f"{run}: nothing new")
    parts = [part for each in waiting.values() for part in each]
    if not parts:
        return
    if find_spec("wandb") is None:
        raise ValueError("dfd sync needs W&B's client: pip install 'dfd[train]'.")
    _check_server()
    said = _send(parts)
    for part in parts:  # one that W&B cannot read keeps it from sending the others
        if len(parts) > 1 and not _marker(part).exists():
            said += _send([part])
    for run, mine in waiting.items():
        if sent := [part for part in mine if _marker(part).exists()]:
            say(f"{run}: sent {_contents(sent)}")
            if cut := sum(not has_end(part) for part in sent):
                say(f"{run}: {cut} of them cut off; what is missing there stands in metrics.csv")
    for link in dict.fromkeys(re.findall(r"View run .* at (http\S+)", said)):
        say(link)
    if lost := [part for part in parts if not _marker(part).exists()]:
        raise ValueError(f"W&B did not take {', '.join(map(str, lost))}: {_last_line(said)}")


def _parts(folder: Path) -> dict[Path, list[Path]]:
    """Run folder -> its .wandb files, the oldest first; of the folder itself and of all below it."""
    check_folder(folder, missing="Name the folder of a run.", needed="Name the folder of a run.")
    found: dict[Path, list[Path]] = {}
    # run-DATE_TIME-ID, and offline-run-DATE_TIME-ID
    begun = lambda part: (part.parents[2], part.parent.name.removeprefix("offline-"))  # noqa: E731
    for part in sorted(folder.rglob("wandb/*run-*/*.wandb"), key=begun):
        found.setdefault(part.parents[2], []).append(part)
    return found


def _marker(part: Path) -> Path:
    """What `wandb sync` leaves beside a file that it has sent."""
    return part.with_name(f"{part.name}.synced")


def mark_sent(part: Path) -> None:
    """Notes that W&B has all of a .wandb file."""
    _marker(part).touch()


def has_end(part: Path) -> bool:
    """Whether a .wandb file holds its run to the end: not where W&B was killed, or its disk was full."""
    from wandb.proto.wandb_internal_pb2 import Record  # ty: ignore[missing-module-member]

    data = part.read_bytes()
    last = deque((record for _, record in _records(data)), maxlen=20)
    return data[:4] != MAGIC or any(Record.FromString(record).HasField("exit") for record in last)


def _trim(part: Path) -> bool:
    """Cuts off a record that a kill left half written, which W&B would refuse and send anew each time.

    Returns:
        Whether anything is left to be sent.
    """
    data = part.read_bytes()
    if data[:4] != MAGIC:  # of a later version: W&B's own affair
        return True
    whole = max((end for end, _ in _records(data)), default=HEADER)
    if whole < len(data):
        os.truncate(part, whole)
    return whole > HEADER


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each whole record of a .wandb file ends, and the record."""
    at, record = HEADER, b""
    while data[:4] == MAGIC and at + 7 <= len(data):
        if (left := BLOCK - at % BLOCK) < 7:  # too short for a piece: filled up with zeros
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind not in PIECES or at > len(data):
            return
        record = piece if kind in (WHOLE, FIRST) else record + piece
        if kind in (WHOLE, LAST):
            yield at, record


def _check_server() -> None:
    done = _python("-c", LOGIN, str(TIMEOUT), seconds=TIMEOUT + ENDING)
    if "reached" not in done.stdout.splitlines():
        words = _last_line(done.stderr)
        if words.startswith("no key: "):
            raise ValueError("W&B has no key: run wandb login once, or set WANDB_API_KEY.")
        raise ValueError(f"W&B cannot be reached, or refuses the key: {words}")


def _send(parts: Sequence[Path]) -> str:
    """Runs `wandb sync`, whose exit code says nothing of single parts, and returns what it printed."""
    folders = (str(part.parent.absolute()) for part in parts)
    done = _python("-m", "wandb", "sync", "--include-online", *folders)
    return done.stdout + done.stderr


def _python(*args: str, seconds: float | None = None) -> subprocess.CompletedProcess:
    """A process of its own: the settings of W&B's library stay those of its first use. After `seconds` it is
    killed with all that it started.
    """
    environment = {**os.environ, "WANDB_MODE": "online", "WANDB_SILENT": "false"}
    environment.setdefault("WANDB_ERROR_REPORTING", "false")
    environment.pop("WANDB_SERVICE", None)  # of a run in this process
    with TemporaryDirectory(prefix="dfd-sync-") as logs:  # W&B's own, which else lie in the current folder
        process = subprocess.Popen(
            fresh(*args),
            env={**environment, "WANDB_DIR": logs},
            cwd=logs,  # a stranger's folder may hold wandb/settings, which name a server
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()
        except BaseException:  # Ctrl-C does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return subprocess.CompletedProcess(args, process.returncode, *said)


def _contents(parts: Sequence[Path]) -> str:
    files = [path for part in parts for path in part.parent.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    return f"{len(parts)} part{'s' * (len(parts) > 1)}, {len(files)} files, {megabytes:.1f} MB"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
