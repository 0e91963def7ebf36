"""Locks keep others out, and go with the process that holds them."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import dfd
from dfd.locks import flock, take, try_flock
from dfd.training.run_folder import LOCK, hold

# holds a run folder, and leaves behind a forked process as a loader worker may be
HOLDER = """
import os, sys, time
from pathlib import Path
from dfd.training.run_folder import hold

hold(Path(sys.argv[1]))
if not os.fork():
    time.sleep(60)
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_lock_is_waited_for_or_refused(tmp_path):
    path, taken = tmp_path / "lock", []
    path.write_text("what the holder wrote")
    lock = take(path)
    with pytest.raises(BlockingIOError):
        take(path)
    waiting = threading.Thread(target=lambda: taken.append(take(path, wait=True)))
    waiting.start()
    time.sleep(0.2)
    assert not taken
    lock.release()
    waiting.join(10)
    taken[0].release()
    assert path.read_text() == "what the holder wrote"


def test_where_the_file_system_has_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    assert take(tmp_path / "lock") is None and take(tmp_path / "lock", wait=True) is None
    with open(tmp_path / "lock", "a") as file, pytest.raises(OSError, match="not implemented"):
        try_flock(file)


def test_where_the_system_has_no_flock_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.locks.fcntl", None)
    with open(tmp_path / "lock", "a") as file, pytest.raises(OSError, match="no flock"):
        flock(file)


def test_several_share_a_flock_and_none_beside_them_has_it_alone(tmp_path):
    with open(tmp_path / "lock", "a") as one, open(tmp_path / "lock") as two:
        flock(one, shared=True)
        assert try_flock(two, shared=True) and not try_flock(two)


@pytest.mark.slow
def test_a_killed_fit_holds_its_run_folder_no_longer_though_its_workers_live(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(dfd.__file__).parents[1])}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert int(holder.stdout.readline()) == holder.pid
        with pytest.raises(ValueError, match=rf"another dfd fit \(pid {holder.pid} on .+\) trains there"):
            hold(tmp_path)
        holder.kill()
        holder.wait()
        hold(tmp_path)
        hold(tmp_path)  # a second fit of the same process
        assert (tmp_path / LOCK).read_text().startswith(f"pid {os.getpid()} on ")
    finally:
        os.killpg(holder.pid, 9)
        holder.stdout.close()
