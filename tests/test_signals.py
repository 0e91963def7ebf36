"""Signals are remembered from the first moment, and reach those that they are meant for."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest

import dfd
from dfd.signals import ASKS, HANGUP, REQUEUE, STOP, StopSignals, heed_parent_only, held_back

_begins_threads = 0  # the process whose forks begin a thread


def test_the_most_that_was_asked_counts_and_handlers_come_back():
    told, before = StopSignals(), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    assert told.listen() and not told.listen()
    assert told.requested == 0
    os.kill(os.getpid(), signal.SIGUSR1)
    assert told.requested == REQUEUE
    os.kill(os.getpid(), signal.SIGTERM)
    assert told.requested == REQUEUE > STOP
    told.forget()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


@pytest.mark.skipif(HANGUP is None, reason="Windows has no SIGHUP")
@pytest.mark.parametrize(("inherited", "heard"), [(signal.SIG_DFL, STOP), (signal.SIG_IGN, 0)])
def test_a_closed_terminal_stops_a_run_unless_nohup_keeps_it(inherited, heard):
    told, before = StopSignals(), signal.signal(HANGUP, inherited)
    try:
        told.listen()
        os.kill(os.getpid(), HANGUP)
        told.forget()
        assert told.requested == heard and signal.getsignal(HANGUP) == inherited
    finally:
        signal.signal(HANGUP, before)


def test_a_scheduler_is_heard_where_signals_were_ignored_by_inheritance():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        told = StopSignals()
        told.listen()
        os.kill(os.getpid(), signal.SIGUSR1)
        told.forget()
        assert told.requested == REQUEUE
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sleep(ready, heed: bool) -> None:
    if heed:
        heed_parent_only()
    ready.set()
    time.sleep(60)


def child_of(told: StopSignals, heed: bool) -> multiprocessing.Process:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    assert told.listen()
    child = context.Process(target=_sleep, args=(ready, heed))
    with held_back() if heed else nullcontext():
        child.start()
    told.forget()
    assert ready.wait(20)
    return child


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="macOS cannot say who sent a signal")
def test_a_worker_outlives_a_stranger_and_obeys_its_parent():
    child = child_of(StopSignals(), heed=True)
    for number in ("TERM", "USR1"):
        subprocess.run(["kill", f"-{number}", str(child.pid)], check=True)
    child.join(0.5)
    assert child.is_alive()
    child.terminate()
    child.join(10)
    assert child.exitcode == 0


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="macOS cannot say who sent a signal")
def test_a_worker_outlives_a_stranger_whatever_threads_a_library_begins_after_the_fork():
    """As OpenTelemetry does, which wandb brings: its threads are there before the worker's first line."""
    library = os.getpid()
    begin = threading.Thread(target=time.sleep, args=(60,), daemon=True).start
    os.register_at_fork(after_in_child=lambda: begin() if _begins_threads == library else None)
    with patch(__name__ + "._begins_threads", library):
        child = child_of(StopSignals(), heed=True)
    assert len(list(Path(f"/proc/{child.pid}/task").iterdir())) == 3, "itself, the library's, and ours"
    for _ in range(20):
        subprocess.run(["kill", "-TERM", str(child.pid)], check=True)
    child.join(0.5)
    assert child.is_alive()
    child.terminate()
    child.join(10)
    assert child.exitcode == 0


def test_a_run_that_was_born_with_signals_blocked_hears_them():
    told = StopSignals()
    with held_back():
        assert told.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        told.forget()
    assert told.requested == STOP


def test_a_process_that_leaves_hears_nothing_more():
    told, before = StopSignals(), signal.getsignal(signal.SIGTERM)
    assert told.listen()
    told.forget(leaving=True)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.requested == 0
    finally:
        for number in ASKS:
            signal.signal(number, before if number == signal.SIGTERM else signal.SIG_DFL)


def test_what_is_held_back_comes_when_the_block_is_done():
    told = StopSignals()
    assert told.listen()
    with held_back():
        # to this thread: one that an earlier test left behind would take it
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert told.requested == 0
    told.forget()
    assert told.requested == STOP


def test_a_forked_process_that_is_no_worker_is_ended_by_sigterm():
    child = child_of(StopSignals(), heed=False)
    os.kill(child.pid, signal.SIGUSR1)
    child.join(0.2)
    assert child.is_alive()
    child.terminate()
    child.join(10)
    assert child.exitcode == -signal.SIGTERM


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_as_it_starts_leaves_before_its_first_step(tmp_path, number, code):
    """While torch is imported: by default, a signal would end the process there."""
    small = ["--data.num_images=36", "--data.picture=64", "--data.view.size=32", "--data.view.longest=64"]
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        "fit",
        "--config",
        "small_cnn",
        "--config",
        "overlay/smoke",
        *small,
    ]
    own = {
        "DFD_CACHE": str(tmp_path / "cache"),
        "WANDB_MODE": "disabled",
        "PYTHONPATH": str(Path(dfd.__file__).parents[1]),
    }
    run = subprocess.Popen(
        [*command, "--run_folder", "run"],
        cwd=tmp_path,
        env={**os.environ, **own},
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{run.pid}/maps")
    while "libtorch" not in maps.read_text():
        time.sleep(0.01)
    run.send_signal(number)
    _, said = run.communicate(timeout=300)
    assert run.returncode == code, said
    assert "told to stop before its first step." in said
    assert not (tmp_path / "run").exists(), "nothing to go on from"
