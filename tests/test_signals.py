"""Signals are remembered from the first moment, and reach those that they are meant for."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dfd
from dfd.signals import REQUEUE, STOP, StopSignals, heed_parent_only


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
