"""The sweeps that dfd ships, and its trainings, under W&B's own client against a stand-in for its server."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import wandb_server
import yaml
from real_slurm import submit, wait_for

from dfd.training.run_folder import run_id

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PLANTED = """
import sys, wandb
told = dict(arg[2:].split("=", 1) for arg in sys.argv[1:])
with wandb.init() as run:
    assert {name: str(run.config[name]) for name in told} == told
    run.log({"val/auroc": 1 - (float(told["net.x"]) - 0.3) ** 2 - (int(told["width"]) - 16) ** 2 / 1000})
"""
PLAN = {"program": "planted.py", "metric": {"name": "val/auroc", "goal": "maximize"}}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with wandb_server.running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def make_sweep(path: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sweep", "--project", "dfd", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "wandb agent tester/dfd/sweep1" in made.stderr, made.stderr


def run_sweep(told: dict, agents: int = 1) -> None:
    """What a user types: wandb sweep FILE, and wandb agent in as many shells."""
    Path("plan.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    make_sweep(Path("plan.yaml"))
    command = [sys.executable, "-m", "wandb", "agent", "tester/dfd/sweep1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    shells = [subprocess.Popen(command, **pipes, start_new_session=True) for _ in range(agents)]
    try:
        said = [shell.communicate(timeout=200)[0] for shell in shells]
    finally:
        for shell in shells:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert [shell.returncode for shell in shells] == [0] * agents, said


@pytest.mark.parametrize(
    "plan",
    [
        {"method": "grid", "parameters": {"net.x": {"values": [0.3, 0.8]}, "width": {"values": [16, 32]}}},
        {
            "method": "random",
            "run_cap": 4,
            "parameters": {"net.x": {"min": 0.0, "max": 1.0}, "width": {"value": 16}},
        },
    ],
    ids=lambda plan: plan["method"],
)
def test_agents_find_a_planted_optimum(plan, server):
    Path("planted.py").write_text(PLANTED)
    run_sweep(PLAN | plan, agents=2)
    assert len(server.runs) == 4 and all(len(run["history"]) == 1 for run in server.runs.values())
    best = server.best()["params"]
    assert best["width"] == 16
    assert best["net.x"] == min(
        (run["params"]["net.x"] for run in server.runs.values()), key=lambda x: abs(x - 0.3)
    )


def test_the_tasks_of_a_slurm_array_are_agents(server, slurm, tmp_path):
    """AGENT=... sbatch --array slurm/sweep.sbatch on a real Slurm."""
    Path("planted.py").write_text(PLANTED)
    space = {"net.x": {"values": [0.1, 0.3, 0.5]}, "width": {"value": 16}}
    Path("plan.yaml").write_text(yaml.safe_dump(PLAN | {"method": "grid", "parameters": space}))
    make_sweep(Path("plan.yaml"))
    environment = (
        os.environ | slurm | server.environment | {"AGENT": "tester/dfd/sweep1", "SBATCH_CPUS_PER_TASK": "1"}
    )
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{slurm['PATH']}"
    # as a process leaves it to its children that has had a run of its own, whose service is not where the job runs
    environment["WANDB_SERVICE"] = f"3-1-unix-{tmp_path}/gone"
    array = submit(environment, "--array=1-2", str(ROOT / "slurm" / "sweep.sbatch"), cwd=tmp_path)
    states = wait_for(environment, array)
    assert set(states.values()) == {"COMPLETED"}, [path.read_text() for path in tmp_path.glob("slurm-*.log")]
    assert len(server.runs) == 3 and server.best()["params"]["net.x"] == 0.3


def test_a_training_of_dfd_is_a_run_of_the_sweep(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    small = ["--data.num_images=36", "--data.picture=64", "--data.view.size=32", "--data.view.longest=64"]
    told = {
        "program": "dfd",
        "command": [
            "${env}",
            "${program}",
            "fit",
            "--config",
            "small_cnn",
            "--config",
            "overlay/smoke",
            *small,
            "${args}",
        ],
        "method": "grid",
        "metric": {"name": "val/auroc", "goal": "maximize"},
        "parameters": {"model.optimizer.lr": {"values": [5e-4]}, "model.net.backbone.width": {"value": 8}},
    }
    run_sweep(told)
    (run,) = server.runs.values()
    assert any("val/auroc" in line for line in run["history"]), (
        "what the sweep is to be steered by has arrived"
    )
    assert json.dumps(run["config"]["model.optimizer.lr"]) == "0.0005"
    (folder,) = Path("runs/small_cnn").iterdir()
    config = yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]
    assert (
        config["optimizer"]["init_args"]["lr"] == 5e-4
        and config["net"]["init_args"]["backbone"]["init_args"]["width"] == 8
    )


def test_each_run_of_an_agent_has_a_folder_of_its_own_within_one_slurm_job(monkeypatch):
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "dfd-sweep", "WANDB_SWEEP_ID": "s1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert run_id() == ("abc", False)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "sweep").glob("*.yaml")), ids=lambda path: path.stem
)
def test_wandb_reads_the_shipped_sweeps_as_they_are_meant(path, server):
    make_sweep(path)
    told = yaml.safe_load(path.read_text())
    for name, given in told["parameters"].items():
        if {"min", "max"} <= given.keys():  # the client names the distribution where the file does not
            kind = given.get("distribution") or (
                "int_uniform" if isinstance(given["min"], int) else "uniform"
            )
            assert server.sweep["parameters"][name]["distribution"] == kind
    assert server.sweep["command"] == told["command"]
