"""SIGTERM and SIGHUP to the verbs that make data, alone and as Slurm and a terminal send them, to all of their
processes: one line, the code of the signal, nothing half written, and the same command does the rest.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

import dfd
from dfd.prepare.index import index_root
from dfd.prepare.pipeline import prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="macOS cannot say who sent a signal"),
]
IMAGES = 1200
VERBS = ("prepare", "index", "reencode", "audit")
# verb, seconds since it listens, signal, whether to all of its processes
TRIALS = [(verb, 0.6, end, True) for verb in VERBS for end in (signal.SIGTERM, signal.SIGHUP)] + [
    ("prepare", begun, signal.SIGTERM, False) for begun in (0.0, 0.6)
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("signalled") / "faces", np.random.default_rng(0)
    for name in ("real", "fake"):
        (folder / name).mkdir(parents=True)
    for number in range(IMAGES):
        picture = rng.integers(0, 255, (160, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / ("fake" if number % 2 else "real") / f"{number:04d}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def shards(faces) -> Path:
    prepare(faces, faces.parent / "shards", workers=2)
    return faces.parent / "shards"


def told(verb: list, end: signal.Signals, group: bool, begun: float) -> tuple[int, str]:
    """Exit code and words of a verb that is signalled `begun` seconds after it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dfd.cli", *map(str, verb)],
        env={**os.environ, "PYTHONPATH": str(Path(dfd.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    caught = Path(f"/proc/{process.pid}/status")
    while (
        process.poll() is None
        and not int(caught.read_text().partition("SigCgt:")[2].split()[0], 16) >> (end - 1) & 1
    ):
        time.sleep(0.005)
    time.sleep(begun)
    (os.killpg if group else os.kill)(process.pid, end)
    said = process.communicate(timeout=60)[1]
    deadline = time.monotonic() + 10
    while alive := session(process.pid):
        assert time.monotonic() < deadline, f"processes are left: {alive}"
        time.sleep(0.02)
    return process.returncode, said


def session(leader: int) -> list[str]:
    """The processes of a session that have not ended; who is to reap them may never do so."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ends meanwhile
            state, _, _, of = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == leader and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def linked(shards: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in shards.glob("*.tar"):
        os.link(path, folder / path.name)
    return folder


@pytest.mark.parametrize(
    ("verb", "begun", "end", "group"), TRIALS, ids=lambda value: str(getattr(value, "name", value))
)
def test_it_ends_in_one_line_and_leaves_nothing_half_written(
    verb, begun, end, group, faces, shards, tmp_path
):
    out = tmp_path / "out"
    if verb == "index":  # of what was made elsewhere, and has no table yet
        shards = linked(shards, tmp_path / "elsewhere")
    arguments = {
        "prepare": [faces, "--out", out],
        "index": [shards],
        "reencode": [shards, "--out", out, "--jpeg=75", "--size=96"],
        "audit": [shards, "--out", out],
    }[verb]
    before = {path: path.stat().st_mtime_ns for path in sorted(shards.rglob("*"))}
    code, said = told([verb, *arguments, *([] if verb == "index" else ["--workers=2"])], end, group, begun)
    if code == 0:
        pytest.skip("done before the signal came")
    last = said.splitlines()[-1]
    goes_on = "; the same command goes on from there" if verb == "prepare" else ""
    assert code == 128 + end and last == f"ended by {end.name}{goes_on}", said
    assert "Traceback" not in said
    assert {path: path.stat().st_mtime_ns for path in sorted(shards.rglob("*"))} == before
    if verb == "prepare":
        assert prepare(faces, out, workers=2).images == IMAGES
    elif verb == "index":
        assert index_root(shards).images == IMAGES
    else:
        assert not out.exists(), sorted(out.rglob("*"))
