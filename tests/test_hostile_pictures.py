"""Ten thousand hostile pictures: none crashes, hangs or eats the memory of what reads it, and no tool breaks.

The test run does 10,000, `make soak` 100,000. HOSTILE_FILES and HOSTILE_SEED choose others.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile_pictures import MUTATIONS, hostile_files, mutated, seeds, small_pictures
from hostile_run import READERS, problems
from hypothesis import given, settings
from peak_memory import MEASURES, Peak

from dfd.forensics import Tool, examine
from dfd.forensics.finding import Method
from dfd.media.decode import Undecodable, decode
from dfd.media.formats import FORMATS
from dfd.media.structure import picture_format

pytestmark = pytest.mark.skipif(not MEASURES, reason="memory is read from /proc")
RUN = Path(__file__).parent / "support" / "hostile_run.py"
SEED = int(os.environ.get("HOSTILE_SEED") or 0)
PROCESSES = min(4, os.cpu_count() or 1)
CHUNK = 1250  # files a process, whose start takes 3 s; a crash costs what is left of them


def run_many(start: int, count: int, tmp_path: Path, folder: str) -> list[dict]:
    """Problems of `count` files, in a process of its own; one that dies is a problem of the file it was at."""
    found, end = [], start + count
    while start < end:
        command = [
            sys.executable,
            str(RUN),
            str(SEED),
            str(start),
            str(end - start),
            *([folder] if folder else []),
        ]
        with open(tmp_path / f"errors-{start}", "wb") as errors:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, check=False, timeout=1800)
        lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
        found += [line for line in lines if "problem" in line]
        if lines and "through" in lines[-1] and not done.returncode:
            return found
        at = max((line["at"] for line in lines if "at" in line), default=start)
        last = (tmp_path / f"errors-{start}").read_text("utf-8", "replace")[-600:]
        found.append({"file": at, "problem": f"the process ended with {done.returncode}: {last}"})
        start = at + 1
    return found


def hostile(count: int, tmp_path: Path) -> None:
    root = os.environ.get("DFD_REAL_DATA")
    folder = str(Path(root) / "data" / "exif-samples") if root else ""
    starts = range(0, count, CHUNK)
    with ThreadPoolExecutor(PROCESSES) as pool:
        chunks = list(pool.map(lambda at: run_many(at, min(CHUNK, count - at), tmp_path, folder), starts))
    found = [line for chunk in chunks for line in chunk]
    assert not found, (
        f"{len(found)} of {count} files, {Counter(line.get('done') for line in found)}: {found[:10]}"
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_hostile_pictures(tmp_path):
    hostile(int(os.environ.get("HOSTILE_FILES") or 10_000), tmp_path)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_hundred_thousand_hostile_pictures(tmp_path, request):
    """Under `make soak` alone: elsewhere the ten thousand above are enough."""
    if "soak" not in request.config.option.markexpr:
        pytest.skip("make soak does these")
    hostile(int(os.environ.get("HOSTILE_FILES") or 100_000), tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that is refused
@settings(max_examples=150, deadline=None)
@given(hostile_files())
def test_any_hostile_picture_is_read_or_refused(data):
    for read in READERS.values():
        read(data)


# that the run finds what it looks for


def test_every_format_is_mutated_and_many_of_the_files_still_open():
    assert {picture_format(data) for data in small_pictures().values()} >= set(FORMATS) - {"HEIF"}
    files, opened = seeds(), 0
    for number in range(400):
        try:
            decode(mutated(3, number, files)[1])
            opened += 1
        except Undecodable:
            pass
    assert 60 < opened < 300  # a reader that refuses everything would be tested by nothing
    assert mutated(3, 7, files) == mutated(3, 7, files) != mutated(4, 7, files)
    assert len({mutation.__name__ for mutation in MUTATIONS}) == 10


class Breaks:
    """A tool that does as it is told, so many times."""

    def __init__(self, kind: str, times: int = 99):
        self.kind, self.times = kind, times

    def __call__(self, data: bytes):
        self.times -= 1
        kind = self.kind if self.times >= 0 else ""
        if kind == "raises":
            raise KeyError("x")
        start = time.process_time()
        while kind == "slow" and time.process_time() < start + 0.6:
            pass
        if kind == "large":
            assert len(b"x" * 330_000_000)  # and free again
        return Method("breaks", "test")("clear", "whole")


BROKEN = {"raises": "KeyError", "slow": "processor time", "large": "MB of memory"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_tool_that_breaks_a_promise_is_named(monkeypatch, kind):
    monkeypatch.setattr("hostile_run.TOOLS", (Tool(Method("breaks", "test"), Breaks(kind), "file"),))
    found = list(problems(small_pictures()["gif"], Peak()))
    assert [name for name, _ in found] == ["breaks"] and BROKEN[kind] in found[0][1], found


@pytest.mark.parametrize("kind", ["raises", "large"])
def test_a_promise_broken_once_is_no_less_broken(monkeypatch, kind):
    """Where no tool alone does it again."""
    monkeypatch.setattr("hostile_run.TOOLS", (Tool(Method("breaks", "test"), Breaks(kind, 1), "file"),))
    found = list(problems(small_pictures()["gif"], Peak()))
    assert [name for name, _ in found] == ["all tools together"] and BROKEN[kind] in found[0][1], found


def test_memory_is_counted_where_the_heap_keeps_what_is_freed():
    """As training sets it: what one file freed would be there for the next, which would then seem to take none."""
    code = (
        "from dfd.malloc import keep_pages; from peak_memory import Peak\n"
        "keep_pages(); peak = Peak()\n"
        "for _ in range(3): peak.begin(); b'x' * 330_000_000; print(int(peak.megabytes()))"
    )
    path = os.pathsep.join([str(RUN.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert all(320 < int(each) < 345 for each in done.stdout.split()) and len(done.stdout.split()) == 3, done


def test_a_process_that_dies_is_a_problem_of_its_file(tmp_path, monkeypatch):
    script = tmp_path / "dies.py"
    script.write_text(
        "import json, os, sys\n"
        "seed, start, count = map(int, sys.argv[1:4])\n"
        "for number in range(start, start + count):\n"
        "    print(json.dumps({'at': number}), flush=True)\n"
        "    if number == 3: os.abort()\n"
        "print(json.dumps({'through': count}))\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys.modules[__name__], "RUN", script)
    found = run_many(0, 9, tmp_path, "")
    assert [line["file"] for line in found] == [3] and "ended with -6" in found[0]["problem"]


def test_all_tools_answer_a_picture_that_is_none():
    from dfd.forensics import TOOLS

    for data in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"RIFF    WEBP"):
        assert not [each for each in examine(data, TOOLS).findings if each.status == "failed"]
