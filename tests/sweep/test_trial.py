"""A trial's process and what is read of it."""

import os
import signal
import time
from pathlib import Path

import pytest

from dfd.sweep import trial as module
from dfd.sweep.trial import Trial, lingers


def ended(trial, seconds=30):
    end = time.monotonic() + seconds
    while (code := trial.exit_code()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return code


def until(there, seconds=30):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def begin(tmp_path):
    """Starts a shell as a trial, in the run folder of that name."""
    begun = []

    def begin(script: str, name: str = "run") -> Trial:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        begun.append(Trial(["sh", "-c", f"cd {folder}; {script}"], folder, "val/auroc"))
        return begun[-1]

    yield begin
    for trial in begun:
        trial.kill()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("epoch,step,train/loss,val/auroc\n0,4,0.7,\n0,4,,0.5\n1,9,,0.625\n", [0.5, 0.625]),
        ("val/auroc\n0.5\n0.5\n", [0.5, 0.5]),
        ("epoch,val/auroc\n0,nan\n1,inf\n2,0.5\n", [0.5]),
        ("epoch,val/auroc\n0,0.5\n1,0.7", [0.5]),
        ("epoch,val/auroc\n0,0.5\n1\n", [0.5]),
        ("epoch,val/acc\n0,0.5\n", []),
        ("", []),
    ],
    ids=["lightning", "bare", "not finite", "half a line", "a short line", "another metric", "empty"],
)
def test_the_finite_numbers_of_whole_lines_count(begin, text, values):
    trial = begin("true")
    assert ended(trial) == 0
    (trial.folder / "metrics.csv").write_text(text)
    assert trial.values() == values


def test_a_training_that_goes_on_and_drops_its_earlier_lines_loses_no_value(begin):
    head = "epoch,step,val/auroc"
    assert ended(begin(f"printf '{head}\n0,4,0.5\n1,9,0.7\n' > metrics.csv")) == 0
    again = begin(f"printf '{head}\n1,9,0.7\n2,14,0.6\n' > metrics.csv")
    assert ended(again) == 0 and again.values() == [0.5, 0.7, 0.6]


def test_values_outlast_any_number_of_attempts(begin):
    for epoch, expected in enumerate(([0.5], [0.5, 0.6], [0.5, 0.6, 0.7])):
        again = begin(f"printf 'epoch,step,val/auroc\n{epoch},{epoch},0.{epoch + 5}\n' > metrics.csv")
        assert ended(again) == 0 and again.values() == expected


def test_a_finished_run_is_not_run_again(begin, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("epoch,val/auroc\n0,0.5\n")
    (tmp_path / "run" / "summary.yaml").touch()
    trial = begin("touch again")
    assert ended(trial) == 0 and trial.values() == [0.5] and not (trial.folder / "again").exists()
    trial.stop()
    trial.kill()


def test_its_log_tells_whether_one_of_its_processes_lives(begin):
    trial = begin("sleep 60 & echo $! > child; exit 3")
    assert ended(trial) == 3 and lingers(trial.folder), "its child does"
    os.kill(int((trial.folder / "child").read_text()), signal.SIGKILL)
    until(lambda: not lingers(trial.folder))
    assert not lingers(trial.folder.with_name("never"))


def test_values_come_as_they_are_written(begin, tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "pipe")
    trial = begin(
        "echo epoch,val/auroc > metrics.csv; for at in 1 2; do echo $at,0.$at >> metrics.csv; read go; done "
        "< pipe"
    )
    with open(trial.folder / "pipe", "w", buffering=1) as pipe:
        for expected in ([0.1], [0.1, 0.2]):
            until(lambda expected=expected: trial.values() == expected)
            pipe.write("go\n")
    assert ended(trial) == 0


def test_what_will_not_end_is_killed_with_its_children(begin, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.5)
    trial = begin("trap '' TERM; sleep 60 & echo $! > child; while :; do sleep 0.1; done")
    until(lambda: (trial.folder / "child").exists() and (trial.folder / "child").read_text().strip())
    trial.stop()
    trial.stop()
    assert ended(trial) == -signal.SIGKILL
    child = Path(f"/proc/{(trial.folder / 'child').read_text().strip()}/stat")
    time.sleep(0.2)
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo begins; echo 'ValueError: no' >&2; echo; exit 2", "exit code 2: ValueError: no"),
        ("exit 1", "exit code 1: it said nothing"),
        ("kill -9 $$", "killed by SIGKILL: it said nothing"),
        ("true", "it ended well, but without a finite val/auroc in metrics.csv: there is none"),
        ("echo epoch,val/acc > metrics.csv", "it has the columns epoch, val/acc"),
    ],
)
def test_why_it_gave_no_result(begin, script, words):
    trial = begin(script)
    ended(trial)
    assert words in trial.complaint()
