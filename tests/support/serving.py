"""Detectors to serve, and `dfd serve` as a process of its own on a free port of the loopback address."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from unruly_net import Unruly

from dfd.media.crops import View
from dfd.models import recipe

VIEW = View(size=64, crops=5, longest=256, margin=1.35)
PATIENCE = 120  # seconds until a process says something: the machine may be busy


def save_detector(path: Path, **changes) -> Path:
    """A checkpoint of `Unruly` as `dfd fit` lays it out; words change its facts."""
    net = Unruly()
    facts = {
        "version": "0",
        "net": recipe(net),
        "view": dict(vars(VIEW)),
        "calibration": {"kind": "temperature", "temperature": 1.7},
        "thresholds": {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3},
        "calibrated_on": {"split": "val", "images": 300, "groups": 120},
        "selected_on": "val/auroc",
        **changes,
    }
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": facts, "state_dict": state}, path)
    return path


def png(colour: tuple[int, int, int], size: int = 96) -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), colour, np.uint8)).save(file, "PNG")
    return file.getvalue()


@dataclass
class Served:
    """A running service."""

    address: str
    process: subprocess.Popen

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(checkpoint: Path, *options: str) -> Iterator[Served]:
    """`dfd serve`, until the block ends."""
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        "serve",
        str(checkpoint),
        "--port",
        "0",
        "--allow",
        "unruly_net",
        *options,
    ]
    # the nets of these tests lie beside this file; signals of a terminal, to the whole group, are no test's own
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Served(_address(process), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _address(process: subprocess.Popen) -> str:
    """What it prints once it listens."""
    until, said = time.monotonic() + PATIENCE, ""
    while select.select([process.stdout], [], [], max(until - time.monotonic(), 0))[0]:
        line = process.stdout.readline()
        said += line
        if found := re.search(r"http://\S+:\d+", line):
            return found[0]
        if not line:
            break
    raise AssertionError(f"dfd serve did not begin:\n{said}")
