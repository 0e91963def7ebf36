"""Two real processes against one: the same images, the same order, the same numbers."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfd.cli import main
from dfd.models import load_net

pytestmark = pytest.mark.slow
SMALL_TOY = ["--data.num_images=120", "--data.picture=128", "--data.view.size=64", "--data.view.longest=128"]


def dfd(*args: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "dfd.cli", *args], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def metrics(folder: Path) -> dict[str, float]:
    """The last value of each metric."""
    with (folder / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    return {name: float(line[name]) for line in lines for name in line if "/" in name and line[name]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    old = os.getcwd()
    os.environ["DFD_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    try:
        assert main(["fit", "--config", "small_cnn", "--config", "overlay/smoke.yaml", *SMALL_TOY, "--run_folder", "one"]) == 0
        yield folder
    finally:
        os.chdir(old)
        del os.environ["DFD_CACHE"]


def test_validate_gives_the_single_process_numbers(run):
    checkpoint = "one/checkpoints/last.ckpt"
    dfd("validate", checkpoint, "--config", "overlay/cpu.yaml", "--run_folder", "alone", cwd=run)
    dfd("validate", checkpoint, "--config", "overlay/ddp.yaml", "--run_folder", "both", cwd=run)
    alone, both = metrics(run / "alone"), metrics(run / "both")
    assert alone.keys() == both.keys() and alone["val/num_images"] == 12
    for name in alone:
        assert both[name] == pytest.approx(alone[name], abs=1e-6, nan_ok=True), name
    rows = [(run / name / "predictions-val.csv").read_text().splitlines() for name in ("alone", "both")]
    assert len(rows[0]) == len(rows[1]) == 13
    assert [row.split(",")[:3] for row in rows[0]] == [row.split(",")[:3] for row in rows[1]]


def test_two_ranks_train_one_net(run):
    options = ["--config", "small_cnn", "--config", "overlay/smoke.yaml", "--config", "overlay/ddp.yaml", *SMALL_TOY]
    freeze = [
        "--trainer.callbacks+=dfd.callbacks.FreezeThenUnfreeze",
        "--trainer.callbacks.modules=[net.backbone]",
        "--trainer.max_epochs=2",
    ]
    out = dfd("fit", *options, *freeze, "--run_folder", "two", cwd=run)
    assert out.count("run folder: two") == 2, "said at the start and at the end, by one rank"
    _, facts = load_net(run / "two/checkpoints/last.ckpt")
    assert facts["calibrated_on"]["images"] == 4, "two batches of one image (five crops) on each of two ranks"
