"""Which processes a launcher started, and variables of ranks that nobody meant."""

import os
import sys
from types import SimpleNamespace

import pytest
from small import FIT, small_fit

from dfd.cli import main
from dfd.cli.run_cli import RunCLI
from dfd.launcher import LAUNCHERS, RANK_VARIABLES, Launch, find_launch, rank_among, without_ranks
from dfd.training.trainer import num_devices

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4"}
# what a shell may hold though it is one process
LEFT_OVER = [
    {"LOCAL_RANK": "1"},
    {"RANK": "1"},
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"SLURM_PROCID": "3"},
    {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train"},
    {"JSM_NAMESPACE_RANK": "1"},
    {"OMPI_COMM_WORLD_RANK": "1"},
    {"PMI_RANK": "1"},
]
SEVERAL = [
    {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
    {"PMI_RANK": "0", "PMI_SIZE": "2"},
    {**TORCHRUN, "RANK": "0"},
    {**SRUN, "SLURM_PROCID": "0"},
]
name = lambda each: "-".join(each)  # noqa: E731


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """No launcher's variable, before and after."""
    for variable in {*RANK_VARIABLES, *(names[0] for names in LAUNCHERS.values())}:
        monkeypatch.setenv(variable, "0")  # so that it comes back, whoever takes it away
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("environment", LEFT_OVER, ids=name)
def test_a_rank_alone_was_left_over(environment):
    launch = find_launch(environment)
    assert launch.processes == 1 and rank_among(1, 1, launch) == 0


def test_ranks_of_each_launcher():
    for environment in (TORCHRUN, SRUN, {"PMI_RANK": "3", "PMI_SIZE": "4", **SRUN}):
        assert rank_among(4, 2, find_launch(environment)) == 3, "two devices on each of two nodes"
    by_hand = {"NODE_RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
    assert rank_among(4, 2, find_launch(by_hand)) == 3
    assert rank_among(4, 2, find_launch({"NODE_RANK": "1"})) == 2, "Lightning starts the others of this node"
    assert rank_among(2, 2, find_launch({})) == 0


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("environment", [TORCHRUN, SRUN], ids=name)
def test_another_number_of_processes_is_refused_with_both_ways_on(environment, ranks):
    with pytest.raises(ValueError, match=f"4 processes, and the Trainer has {ranks} rank") as error:
        rank_among(ranks, ranks, find_launch(environment))
    assert "--trainer.devices=4." in str(error.value)
    unset = str(error.value).partition("env -u ")[2].removesuffix(" dfd ...").split(" -u ")
    left = {variable: value for variable, value in environment.items() if variable not in unset}
    assert rank_among(1, 1, find_launch(left)) == 0, "the advice is true"


def test_mpirun_needs_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setattr("dfd.launcher.find_spec", lambda module: None)
    with pytest.raises(ValueError, match=r"mpi4py, which is not installed.*torchrun --nproc_per_node=2"):
        rank_among(2, 2, Launch("mpirun", 1, 2))


def test_a_trial_is_none_of_the_processes_of_its_sweep():
    assert find_launch(without_ranks({**SRUN, **TORCHRUN, "PATH": "/bin"})) == Launch()
    assert without_ranks({**SRUN, "PATH": "/bin", "SLURM_JOB_ID": "1"}).keys() >= {"PATH", "SLURM_JOB_ID"}


@pytest.mark.parametrize(
    ("devices", "accelerator", "number"),
    [(3, "cpu", 3), ("2", "cpu", 2), ([0, 3], "gpu", 2), ("0,3", "gpu", 2), ("1,", "gpu", 1), ("auto", "cpu", 1), (-1, "cpu", 1)],
)  # fmt: skip
def test_devices_are_counted_as_lightning_does(devices, accelerator, number):
    assert num_devices(devices, accelerator) == number


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("finished")
        patch.setenv("DFD_CACHE", str(folder / "cache"))
        yield small_fit(folder)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [*LEFT_OVER, *SEVERAL], ids=name)
def test_a_finished_run_is_refused_whatever_was_left_over(environment, finished, monkeypatch, capsys):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    before = (finished / "checkpoints" / "last.ckpt").read_bytes()
    command = [*FIT, "--model.net.backbone.width=8", "--trainer.max_epochs=3", "--run_folder", str(finished)]
    assert main(command) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert (
        "holds a finished run" if environment in LEFT_OVER else "processes, and the Trainer has 1 rank"
    ) in said
    assert (finished / "checkpoints" / "last.ckpt").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("environment", [LEFT_OVER[0], LEFT_OVER[4]], ids=name)
def test_a_run_of_one_process_keeps_its_lock_and_records(environment, tmp_path, monkeypatch):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    run = small_fit(tmp_path, "--run_folder=runs/small_cnn/x")
    for file in (".lock", "run.json", "metrics.csv", "config.yaml", "summary.yaml", "checkpoints/last.ckpt"):
        assert (run / file).exists(), file


def test_the_checkpoint_is_judged_whatever_was_left_over(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    command = ["validate", str(finished / "checkpoints" / "last.ckpt"), "--run_folder", "judged"]
    assert main(command) == 0
    assert (tmp_path / "judged" / "predictions-val.csv").exists()


def test_a_rank_that_is_no_number_is_said_before_anything_reads_it(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "first")
    assert main(["fit"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said == "dfd fit: RANK=first is no number of a process. Was it left over? unset RANK"


def test_one_rank_speaks_for_all(monkeypatch):
    """torchrun ends the others meanwhile; under srun each is told who it is."""
    naps = []
    monkeypatch.setattr("dfd.cli.run_cli.time", SimpleNamespace(sleep=naps.append))
    config = SimpleNamespace(devices=1, accelerator="cpu", num_nodes=1)
    for variable, value in {**SRUN, "SLURM_TASK_PID": str(os.getpid())}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        RunCLI._join(SimpleNamespace(), config)
    assert len(naps) == 1
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(ValueError, match="srun says 4 processes"):
        RunCLI._join(SimpleNamespace(), config)
    assert len(naps) == 1
