"""Who is alive, who inherits, and a lock that kill -9 does not leave shut."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dfd.sweep import lease as module
from dfd.sweep.lease import Lease, Lock

HOLD = """
import sys, time
from pathlib import Path
from dfd.sweep.lease import Lock, Lease
folder = Path(sys.argv[1])
with Lease(folder) as worker, Lock(folder / "lock", worker):
    print(worker.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A process that holds the lock, and its name as a worker."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


def test_the_dead_are_known_at_once_on_one_machine_and_their_lock_is_free(tmp_path, elsewhere):
    process, name = elsewhere
    with Lease(tmp_path) as mine:
        lock = Lock(tmp_path / "lock", mine)
        assert mine.alive(name) and mine.alive(mine.name) and not lock.try_acquire()
        process.send_signal(signal.SIGSTOP)
        assert mine.alive(name), "a stopped process holds its flock"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not mine.alive(name)
        start = time.monotonic()
        with lock:
            assert os.readlink(tmp_path / "lock") == mine.name
        assert time.monotonic() - start < 5
    assert not mine.alive("nobody-1-abc")
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.heir"}, "the living leave nothing"


def test_of_another_machine_the_time_of_the_file_tells(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Lease(tmp_path) as mine:
        other = tmp_path / "far-1-abc"
        other.write_text("another kernel")
        os.utime(other, (1, 1))  # a clock that is fifty years behind
        assert mine.alive(other.name)
        now += module.SILENCE - 1
        assert mine.alive(other.name)
        os.utime(other, (2, 2))
        now += module.SILENCE - 1
        assert mine.alive(other.name), "it gave a sign of life"
        now += module.SILENCE + 1
        assert not mine.alive(other.name)


def test_a_worker_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.05)
    with Lease(tmp_path) as mine:
        os.utime(tmp_path / mine.name, (1, 1))
        end = time.monotonic() + 30
        while (tmp_path / mine.name).stat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_dead_ones_lock_is_had_at_the_first_try(tmp_path, elsewhere):
    """Who takes it or leaves, such as the watch of a sweep, must not leave because it was only cleared away."""
    process, name = elsewhere
    process.kill()
    process.wait()
    with Lease(tmp_path) as mine:
        assert os.readlink(tmp_path / "lock") == name
        assert Lock(tmp_path / "lock", mine).try_acquire()


def test_of_all_the_living_one_inherits(tmp_path):
    with Lease(tmp_path) as first, Lease(tmp_path) as second, Lease(tmp_path) as third:
        assert second.inherits("dead-1-abc") and second.inherits("dead-1-abc")
        assert not first.inherits("dead-1-abc")
        os.unlink(tmp_path / second.name)  # the heir dies before it has done anything
        assert third.inherits("dead-1-abc")
        assert not first.inherits("dead-1-abc") and not first.inherits(second.name)


def test_the_lock_may_be_taken_within_itself_and_is_given_back_once(tmp_path):
    with Lease(tmp_path) as mine, Lease(tmp_path) as other:
        lock, others = Lock(tmp_path / "lock", mine), Lock(tmp_path / "lock", other)
        with lock:
            with lock:
                assert not others.try_acquire()
            assert not others.try_acquire()
        with others:
            lock.path.unlink()  # what a worker that was taken for dead finds when it comes back
            os.symlink(mine.name, lock.path)
        assert os.readlink(lock.path) == mine.name, "what is another's now stays"


COUNT = """
import os, sys
from pathlib import Path
from dfd.sweep.lease import Lock, Lease
folder, times = Path(sys.argv[1]), int(sys.argv[2])
with Lease(folder / "workers") as worker, open(folder / f"took-{os.getpid()}", "w") as took:
    lock = Lock(folder / "lock", worker)
    for _ in range(times):
        with lock:
            number = int((folder / "count").read_text())
            (folder / "next").write_text(str(number + 1))
            (folder / "next").replace(folder / "count")
        print(number, file=took, flush=True)
"""


@pytest.mark.slow
def test_one_at_a_time_though_some_are_killed_within_it(tmp_path):
    """Six processes draw numbers; four more are killed while they do. Nobody draws another's number."""
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    steady = [subprocess.Popen([*command, "100"]) for _ in range(6)]
    for _ in range(4):
        doomed = subprocess.Popen([*command, "1000000"])
        before = int(count.read_text())
        while int(count.read_text()) < before + 40:
            time.sleep(0.01)
        doomed.kill()
        doomed.wait()
    assert [process.wait(120) for process in steady] == [0] * 6
    taken = [int(line) for path in tmp_path.glob("took-*") for line in path.read_text().split()]
    assert len(taken) >= 600 and len(set(taken)) == len(taken)
