"""A sweep's trial: a process that ends with this one, and the metric that it writes into metrics.csv."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dfd.durable import atomic_write
from dfd.interpreters import users_environment
from dfd.launcher import without_ranks
from dfd.locks import try_flock
from dfd.run_record import RunFolder
from dfd.sweep.lease import held

GRACE = 60.0  # seconds that a stopped trial has to write its checkpoint

# Becomes the command, to which Linux sends SIGTERM when the process that began it is gone, by kill -9 too
# (prctl's PR_SET_PDEATHSIG). A program of its own, since Python between fork and exec may wait for ever for a
# thread's lock.
BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class Trial:
    """A command, running. What it prints goes to `<folder>.log`, which is locked as long as one of its
    processes lives.

    In a folder that holds a finished run of dfd nothing is begun: it has ended well already.

    Args:
        folder: the run folder, in which it writes metrics.csv.
        metric: a column of that; each number in it is a value, counted from 1, as W&B counts iterations.
        devices: of CUDA, for this trial alone; None leaves the choice to it.

    Raises:
        FileNotFoundError: there is no such program.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, metric: str, devices: Sequence[str] | None = None
    ):
        self.command, self.folder, self.metric = command, folder, metric
        self._table = RunFolder(folder).metrics
        self.log = log_of(folder)
        self.reported = 0  # of its values, those that the study has
        self.pruned = False
        self._stopped: float | None = None
        self._stamp: tuple[int, int] | None = None
        self._values: dict[object, float] = {}
        self._keep_values()
        self._process = None if RunFolder(folder).summary.exists() else self._begin(devices)

    def values(self) -> list[float]:
        """The metric's values so far, with those of earlier attempts in this folder."""
        with suppress(OSError):  # not there yet
            found = self._table.stat()
            if (stamp := (found.st_mtime_ns, found.st_size)) != self._stamp:
                self._values |= _column(self._table.read_text(encoding="utf-8"), self.metric)
                self._stamp = stamp
        return list(self._values.values())

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        if self._stopped is not None and time.monotonic() - self._stopped > GRACE:
            self._signal(signal.SIGKILL)
        return self._process.poll() if self._process else 0

    def stop(self) -> None:
        """Asks it and all its processes to end; those that have not after GRACE are killed."""
        if self._stopped is None:
            self._stopped = time.monotonic()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and all its processes at once."""
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()

    def mute(self) -> bool:
        """Whether it ended well and never had the metric's name to write."""
        return self.exit_code() == 0 and self.metric not in self._columns()

    def complaint(self) -> str:
        """Why it ended without a result, in a line: the last one that it printed, as a rule."""
        code = self.exit_code()
        if code == 0:
            columns = ", ".join(self._columns())
            what = f"it has the columns {columns}" if columns else "there is none"
            return f"it ended well, but without a finite {self.metric} in {self._table.name}: {what}"
        with open(self.log, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "it said nothing")
        how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        return f"{how}: {last[:300]}"

    def _columns(self) -> list[str]:
        with suppress(OSError), open(self._table, newline="", encoding="utf-8") as table:
            return next(csv.reader(table), [])
        return []

    def _begin(self, devices: Sequence[str] | None) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        # eight sweeps that srun started train eight nets, and not one
        environment = {**without_ranks(users_environment()), "PATH": path}
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if shutil.which(self.command[0], path=path) is None:
            raise FileNotFoundError(
                errno.ENOENT, "there is no such program, or it may not be run", self.command[0]
            )
        bound = (
            [sys.executable, "-I", "-S", "-c", BOUND, str(os.getpid())]
            if sys.platform.startswith("linux")
            else []
        )
        with open(self.log, "ab") as log:
            with suppress(OSError):  # a file system without locks
                try_flock(log)  # flock, since the trial inherits it
            return subprocess.Popen(
                [*bound, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the sweep, which stops its trials itself
            )

    def _keep_values(self) -> None:
        """Copies an earlier attempt's metrics.csv aside, since Lightning's CSVLogger deletes it, and reads
        all such copies.
        """
        copies = sorted(self.folder.glob("metrics-*.csv"))
        if self._table.exists():
            with atomic_write(self.folder / f"metrics-{len(copies) + 1:03d}.csv") as temporary:
                shutil.copyfile(self._table, temporary)
        for copy in copies:
            self._values |= _column(copy.read_text(encoding="utf-8"), self.metric)
        self.values()

    def _signal(self, number: signal.Signals) -> None:
        # until it is waited for, its number is no one else's
        if self._process and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _column(text: str, name: str) -> dict[object, float]:
    """The finite numbers of a CSV's column, by epoch and step; a last line that is still being written is
    left for later.
    """
    whole = text[: text.rfind("\n") + 1]
    values: dict[object, float] = {}
    for at, row in enumerate(csv.DictReader(io.StringIO(whole))):
        with suppress(TypeError, ValueError):  # no such column, or an empty field
            values[(row.get("epoch"), row.get("step")) if {"epoch", "step"} & row.keys() else at] = float(
                row.get(name)
            )
    return {key: value for key, value in values.items() if math.isfinite(value)}


def log_of(folder: Path) -> Path:
    """Where the trial in that run folder prints to."""
    return folder.with_name(f"{folder.name}.log")


def lingers(folder: Path) -> bool:
    """Whether a process still writes to the log of the trial in that run folder, though the worker that began
    it is dead.
    """
    try:
        with open(log_of(folder), "rb") as log:
            return held(log)
    except OSError:  # it had not begun, or the file system has no locks
        return False
