"""Runs that the machine ends (a killed loading process, a killed rank, no memory left) end at once, and say
why.
"""

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import Ranks
from ranks import dfd as forked

from dfd import run_record
from dfd.cli import main
from dfd.cli.runtime_errors import explain_failure

KILLER = '''
import os, signal
from lightning.pytorch import Callback

class Killer(Callback):
    """Kills a loading process of one rank, or the rank itself, in the middle of the second epoch."""

    def __init__(self, rank: int, whole: bool = False):
        self.rank, self.whole = rank, whole

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if (trainer.current_epoch, batch_idx, trainer.global_rank) == (1, 2, self.rank) and not os.path.exists("killed"):
            open("killed", "w").close()
            worker = trainer.train_dataloader._iterator._workers[0]
            os.kill(os.getpid() if self.whole else worker.pid, signal.SIGKILL)
'''
SMALL = [
    "--data.num_images=120", "--data.picture=96", "--data.view.size=32", "--data.view.longest=96", "--data.view.crops=1",
    "--data.batch_size=8",
]  # fmt: skip
FIT = ["fit", "--config", "small_cnn", *SMALL, "--trainer.max_epochs=2", "--run_folder", "run"]
LAST = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: last, enable_version_counter: false}
    - {class_path: killer.Killer, init_args: {rank: RANK, whole: WHOLE}}
"""


def test_a_batch_of_one_for_batchnorm_is_one_line_with_the_batch_to_take():
    net = torch.nn.BatchNorm1d(8)
    with pytest.raises(ValueError) as caught:
        net(torch.zeros(1, 8))
    trainer = SimpleNamespace(world_size=2)
    known = str(explain_failure(caught.value, trainer, SimpleNamespace(batch_size=2)))
    assert "BatchNorm needs two pictures or more" in known and "--data.batch_size=4" in known
    assert explain_failure(ValueError("another"), trainer, None) is None


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(cache, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(cache))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    )
    return tmp_path


def dfd(*args: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dfd.cli", *args], capture_output=True, text=True, timeout=200, **options
    )


# torch says how it ended, or on a busy machine only that it did
GONE = r"a loading process \(pid \d+\) (?:was killed \(Killed\)|ended without a word).*--data.num_workers=2, or 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "rank", "whole", "words"),
    [
        (1, 0, False, GONE),
        (2, 1, False, GONE),
        (2, 1, True, ""),
    ],
    ids=["worker", "worker-of-rank-1", "rank-1"],
)
def test_a_killed_process_ends_all_ranks_in_seconds_and_the_run_goes_on(here, ranks, rank, whole, words):
    (here / "killer.py").write_text(KILLER)
    (here / "last.yaml").write_text(LAST.replace("RANK", str(rank)).replace("WHOLE", str(whole).lower()))
    command = [*FIT, "--config", "last.yaml", "--config", "overlay/ddp" if ranks == 2 else "overlay/cpu"]
    command.append("--trainer.enable_model_summary=false")
    if whole:  # which dfd fit sees, as it started that rank
        process = subprocess.Popen(
            [sys.executable, "-m", "dfd.cli", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            cwd=here, start_new_session=True,
        )  # fmt: skip
        said, took = process.communicate(timeout=200)[1], since_the_kill(here)
        codes = [process.returncode]
        assert_none_is_left(process.pid)
    else:
        with Ranks(command, here, ranks, {}) as forks:
            assert forks.ended(200)
            said, took, codes = forks.said(), since_the_kill(here), forks.codes()
            assert_none_is_left(forks.processes[0].pid)
    assert 0 not in codes
    assert took < 20, f"{took:.0f} s after the kill"
    assert not words or len(re.findall(f"dfd fit: {words}", said)) == 1, said[-3000:]
    record = run_record.read(here / "run")
    state, reason = run_record.state(record)
    assert state == "failed" and ("loading process" in reason or whole), reason
    assert "goes on from run/checkpoints/last.ckpt" in forked(*command, cwd=here, world=ranks)
    assert run_record.read(here / "run").state == "done"


def since_the_kill(here: Path) -> float:
    return time.time() - (here / "killed").stat().st_mtime


def assert_none_is_left(group: int) -> None:
    """No process of the group runs any more, 20 seconds later at the latest."""
    deadline = time.monotonic() + 20
    while alive := of_group(group):
        assert time.monotonic() < deadline, f"left behind: {alive}"
        time.sleep(0.2)


def of_group(group: int) -> list[str]:
    """Command lines of the processes of a group that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, number, *_ = (folder / "stat").read_text().rpartition(") ")[2].split()
            if int(number) == group and state not in "ZX":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError):
            pass
    return found


def limited(gigabytes: float) -> dict:
    """For subprocess: what a process may have of memory of its own."""
    limit = int(gigabytes * 2**30)
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))}


LARGE = ["--config", "overlay/cpu", "--data.num_images=120", "--data.picture=96", "--data.view.size=256",
         "--data.view.longest=null", "--data.view.crops=1", "--data.num_workers=0"]  # fmt: skip


@pytest.mark.slow
def test_a_batch_that_does_not_fit_says_which_to_try(here):
    done = dfd(
        "fit", "--config", "small_cnn", *LARGE, "--data.batch_size=32", "--run_folder", "run", **limited(1.6)
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("dfd fit: ")]
    assert (
        "out of memory: data.batch_size=32 does not fit. Use --data.batch_size=16 "
        "--trainer.accumulate_grad_batches=2" in line
    )
    assert "dfd tune-batch CONFIG" in line and "Traceback" not in done.stderr


@pytest.mark.slow
def test_tune_batch_finds_what_fits_into_a_real_limit(here):
    done = dfd("tune-batch", "small_cnn", *LARGE, "--start", "8", "--margin", "0.9", **limited(1.6))
    assert done.returncode == 0, done.stderr
    tried = dict(re.findall(r"^batch (\d+): (fits|out of memory)", done.stdout, flags=re.MULTILINE))
    fits, fails = (
        {int(batch) for batch, how in tried.items() if how == which} for which in ("fits", "out of memory")
    )
    assert fits and fails and max(fits) < min(fails)
    assert f"largest batch that fits: {max(fits)}; {min(fails)} does not: out of memory" in done.stdout
    command = done.stdout.splitlines()[-1]
    assert command.startswith("dfd fit --config small_cnn --config overlay/cpu")
    assert command.endswith(f"--data.batch_size={max(1, int(max(fits) * (1 - 0.9)))}")
    assert not list(here.iterdir()), "nothing is left behind"


def test_a_batch_that_is_given_and_a_config_that_is_not_there_are_refused(here, capsys):
    assert main(["tune-batch", "small_cnn", "--data.batch_size=3"]) == 1
    assert "Leave it out" in capsys.readouterr().err


ERRORS = {
    "cuda": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"
    ),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate"
    ),
    "numpy": MemoryError("Unable to allocate 3.0 GiB for an array"),
    "fork": OSError(12, "Cannot allocate memory"),
}


def run_of(ranks=1, fn="fit", accumulate=1, automatic=True):
    return SimpleNamespace(
        world_size=ranks, state=SimpleNamespace(fn=fn), accumulate_grad_batches=accumulate,
        lightning_module=SimpleNamespace(automatic_optimization=automatic),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_every_way_to_run_out_of_memory_is_known(kind):
    told = str(explain_failure(ERRORS[kind], run_of(), SimpleNamespace(batch_size=64)))
    assert told.startswith(
        "out of memory: data.batch_size=64 does not fit. Use --data.batch_size=32 --trainer.accumulate"
    )


@pytest.mark.parametrize(
    ("trainer", "batch", "words"),
    [
        (
            run_of(4),
            40,
            r"=40 on 4 ranks does not fit. Use --data.batch_size=20 --trainer.accumulate_grad_batches=2,",
        ),
        (run_of(4, accumulate=3), 24, r"Use --data.batch_size=12 --trainer.accumulate_grad_batches=6,"),
        (run_of(3), 15, r"Use --data.batch_size=6, as"),  # no whole number of steps makes one of before
        (run_of(automatic=False), 8, r"Use --data.batch_size=4, as"),
        (run_of(4), 4, r"=4 on 4 ranks cannot be smaller. Use a smaller --data.view.size"),
        (run_of(fn="test"), 8, r"Use --data.batch_size=4, which changes no number"),
    ],
)
def test_the_next_smaller_batch_divides_by_the_ranks(trainer, batch, words):
    assert re.search(words, str(explain_failure(ERRORS["cuda"], trainer, SimpleNamespace(batch_size=batch))))


def test_other_errors_are_left_as_they_are():
    for error in (
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        KeyError("x"),
        ValueError("out of memory lane"),
    ):
        assert explain_failure(error, run_of(2), None) is None
    assert explain_failure(RuntimeError("Connection closed by peer"), run_of(1), None) is None
    assert "another of the 2 ranks" in str(
        explain_failure(RuntimeError("Connection closed by peer [::1]:4"), run_of(2), None)
    )
