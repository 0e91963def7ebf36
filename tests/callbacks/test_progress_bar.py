import os
import pty
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from dfd.callbacks import ProgressLines
from dfd.callbacks.throughput import Throughput, clock


def test_each_epoch_says_what_it_saw_and_only_a_validation_of_its_own(trainer, task, data, capsys):
    run = trainer(ProgressLines(seconds=0), max_epochs=2, check_val_every_n_epoch=2)
    run.fit(task, datamodule=data)
    lines = capsys.readouterr().out.splitlines()
    ends = [line for line in lines if "train/loss" in line]
    assert len(ends) == 2 and all("images/s" in line for line in ends)
    assert "val/auroc" not in ends[0] and "val/auroc" in ends[1]
    steps = [line for line in lines if re.search(r"epoch 2/2  step \d/4  loss", line)]
    assert len(steps) == 4 and re.search(r"\d+ images/s  loader \d+%  \d:\d\d:\d\d left$", steps[2]), steps


def test_negative_seconds_are_refused():
    with pytest.raises(ValueError, match="seconds=-1"):
        ProgressLines(seconds=-1)


def trainer_at(step, steps=100, max_epochs=3, max_steps=-1, accumulate=1, every=1):
    total = SimpleNamespace(ready=step)
    return SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=total))),
        num_training_batches=steps, max_epochs=max_epochs, max_steps=max_steps, accumulate_grad_batches=accumulate,
        check_val_every_n_epoch=every,
    )  # fmt: skip


def test_pace_tells_waiting_from_work_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Throughput()
    assert pace.words(trainer_at(0)) == {}
    for wait, work in ((5, 2), (1, 3), (1, 3), (2, 2)):  # the first wait is the loader's start
        now[0] += wait
        pace.step_begins()
        now[0] += work
        pace.step_ends(images=32)
    assert pace.images_per_second == 3 * 32 / 12 and pace.loader_share == 4 / 12
    assert pace.seconds_left(trainer_at(100)) == 200 * 4
    pace.validation_begins()
    now[0] += 30
    pace.validation_ends()
    assert pace.seconds_left(trainer_at(100)) == 200 * 4 + 2 * 30
    assert pace.seconds_left(trainer_at(150, every=2)) == 150 * 4 + 30
    assert pace.seconds_left(trainer_at(100, max_epochs=-1)) is None
    assert pace.seconds_left(trainer_at(100, max_steps=60, accumulate=2)) == 20 * 4 + 30
    assert pace.words(trainer_at(100)) == {"images/s": "8", "loader": "33%", "left": "0:14:20"}
    now[0] += 50  # nobody waited for pictures while it validated
    pace.step_begins()
    pace.step_ends(32)
    assert pace.loader_share == 4 / 12
    assert clock(3600 * 30 + 61) == "30:01:01"


@pytest.mark.slow
def test_on_a_real_terminal_the_bar_shows_pace_and_time_left(tmp_path):
    small = ["--data.num_images=120", "--data.picture=96", "--data.view.size=32", "--data.view.longest=96"]
    command = [
        "fit",
        "--config",
        "small_cnn",
        "--config",
        "overlay/cpu",
        *small,
        "--data.batch_size=4",
        "--run_folder",
        "run",
    ]
    environment = {
        **os.environ,
        "WANDB_MODE": "disabled",
        "DFD_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "200",
        "TERM": "xterm",
    }
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dfd.cli", *command, "--trainer.max_epochs=2"], cwd=tmp_path, env=environment, stdin=slave,
        stdout=slave, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))
    assert re.search(r"images/s: \d+ +loader: \d+% +left: \d:\d\d:\d\d", " ".join(text.split())), text[-3000:]
