"""What `dfd submit` fills in, refuses and says; on a real Slurm in test_slurm_train.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dfd.cli import main
from dfd.launch.slurm import Job, filled
from dfd.resources import shipped

ROOTS = ["--data", "data/140k.yaml", "--data.roots"]


@pytest.fixture(autouse=True)
def without_slurm(monkeypatch, tmp_path):
    """A folder of its own, and a PATH with bash alone."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bash").symlink_to(shutil.which("bash"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)


def settings_of(script: str) -> dict[str, str]:
    lines = [
        line.removeprefix("#SBATCH --").partition("=")
        for line in script.splitlines()
        if line.startswith("#SBATCH")
    ]
    assert len({name for name, _, _ in lines}) == len(lines), "each option once"
    return {name: value for name, _, value in lines}


def refused(capsys, options: list[str], words: str) -> None:
    assert main(["submit", "small_cnn", "--dry-run", *options]) != 0
    said = capsys.readouterr()
    assert words in said.err and "Traceback" not in said.err
    assert not said.out, "nothing is promised"


@pytest.mark.slow
def test_a_dry_run_prints_the_whole_script_and_needs_no_slurm(capsys):
    asked = ["--nodes", "2", "--gpus", "4", "--time", "2-12", "--notice=600"]
    more = ["--sbatch=--partition=long", "--sbatch=--exclusive", "--dry-run"]
    Path("a b").mkdir()
    assert (
        main(["submit", "dual_stream", *asked, *more, "--", *ROOTS, "a b", "--model.optimizer.lr=1e-3"]) == 0
    )
    said = capsys.readouterr().out
    script, _, rest = said.partition("\n\n2 nodes with 4 GPUs: ")
    assert (
        rest == "8 ranks, each with batches of 4 images, 32 together; at most 2 d 12 h\n"
        "dry run: nothing is submitted.\n"
    )
    settings = settings_of(script)
    wanted = {
        "nodes": "2",
        "ntasks-per-node": "4",
        "gpus-per-node": "4",
        "time": "2-12",
        "signal": "SIGUSR1@600",
    }
    assert (
        settings.items()
        >= {**wanted, "partition": "long", "exclusive": "", "requeue": "", "open-mode": "append"}.items()
    )
    assert (
        "dfd fit --config dual_stream --data data/140k.yaml --data.roots 'a b' --model.optimizer.lr=1e-3 \\\n"
        in script
    )
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert script.index("#SBATCH --exclusive") < script.index("set -euo"), (
        "sbatch reads none behind the first command"
    )


def test_without_gpus_none_are_asked_for():
    script = filled(
        (shipped("slurm") / "train.sbatch").read_text(), Job(nodes=2, gpus=0).settings(), ["--config", "x"]
    )
    settings = settings_of(script)
    assert "gpus-per-node" not in settings and settings["ntasks-per-node"] == "1"


@pytest.mark.parametrize("name", ["train", "evaluate", "prepare"])
def test_the_scripts_survive_a_requeue_and_are_bash(name):
    script = (shipped("slurm") / f"{name}.sbatch").read_text()
    assert settings_of(script).items() >= {"requeue": "", "open-mode": "append"}.items()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("24:00:00", 86400),
        ("2-12", 216000),
        ("1-1:30", 91800),
        ("1-0:0:59", 86459),
    ],
)
def test_times_are_read_as_sbatch_reads_them(time, seconds):
    assert Job(time=time).seconds == seconds


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--time=1h"], "--time=1h is no time. Write hours:minutes:seconds"),
        (["--time=1:2:3:4"], "is no time"),
        (["--time=-5"], "is no time"),
        (["--time=2"], "--time=2 is 2 min, and --notice=180 s before its end"),
        (["--time=0"], "--time=0 is no time, and"),
        (["--nodes=0"], "--nodes=0: it takes at least 1."),
        (["--gpus=-1"], "--gpus=-1: it takes at least 0."),
        (["--notice=70000", "--time=9-0"], "at most 65535 seconds"),
        (
            ["--sbatch=--nodes=4"],
            "--sbatch=--nodes=4: say it by --nodes, so that ranks, devices and batches agree.",
        ),
        (["--sbatch=partition=long"], "--sbatch=partition=long: write an option of sbatch in full"),
        (
            ["--", "--trainer.devices=2"],
            "--trainer.devices is the script's own: say how many by --gpus and --nodes.",
        ),
        (
            ["--model.optimizer.lr=1"],
            "Unknown option: --model.optimizer.lr=1. Options of dfd fit go behind --.",
        ),
    ],
)
def test_what_sbatch_would_not_take_is_refused(capsys, options, words):
    refused(capsys, options, words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--nodes=3"],
            "data.batch_size=32 is global and does not divide by 3 ranks (--nodes=3, --gpus=1). Add: -- "
            "--data.batch",
        ),
        (["--gpus=64"], "Add: -- --data.batch_size=64"),
        (["--nodes=2", "--", "--data.batch_size=31"], "data.batch_size=31 is global"),
        (["--nodes=2", "--", "--data", "other.yaml"], "data.batch_size=7 is global"),
        (["--nodes=2", "--", "--config", "overlay.yaml"], "data.batch_size=9 is global"),
        (["--", "--config", "gone"], "there is no config 'gone'"),
        (["--", "--config", "broken.yaml"], "broken.yaml, line 1: expected"),
        (["--", "--config", "list.yaml"], "is not a config: it holds no `key: value`"),
        (["--", "--model.optimiser.lr=1"], "the job would end at once. It says:\ndfd fit: "),
        (["--", "--data.roots=here"], "Shards of your own want --data data/140k.yaml before their options."),
        (["--", "--trainer.max_epochs=many"], "max_epochs"),
        (
            ["--", *ROOTS, "gone"],
            "data.roots: gone is not here. Submit from the folder that the job shall run in.",
        ),
        (["--", *ROOTS, '{"gone": 1}'], "data.roots: gone is not here."),
    ],
)
def test_what_dfd_fit_would_not_take_is_refused_before_it_waits_in_a_queue(capsys, options, words):
    Path("other.yaml").write_text(
        yaml.safe_dump({"class_path": "dfd.data.ToyDataModule", "init_args": {"batch_size": 7}})
    )
    Path("overlay.yaml").write_text("data: {init_args: {batch_size: 9}}")
    Path("broken.yaml").write_text("a: [1")
    Path("list.yaml").write_text("- 1")
    refused(capsys, options, words)


@pytest.mark.slow
def test_a_missing_config_and_a_missing_slurm_are_said(capsys):
    assert main(["submit", "dual_strem", "--dry-run"]) == 1
    assert "there is no config 'dual_strem', here or among dfd's own" in capsys.readouterr().err
    assert main(["submit", "dual_stream"]) == 1
    assert (
        "there is no Slurm here. Submit on a login node of the cluster, or look at the script"
        in capsys.readouterr().err
    )


def test_it_answers_at_once():
    code = (
        "import sys, dfd.launch.slurm; sys.exit(bool({'torch', 'lightning', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}).returncode == 0
