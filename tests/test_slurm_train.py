"""slurm/train.sbatch and slurm/evaluate.sbatch on a real Slurm of two nodes: told, cut and failed jobs."""

import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import real_slurm
import torch

import dfd
from dfd.resources import shipped

pytestmark = pytest.mark.slow
EPOCHS = 4
FIT = [
    "--data.num_images=240", "--data.picture=96", "--data.view.size=64", "--data.view.longest=96", "--data.view.crops=1",
    "--data.batch_size=8", "--data.num_workers=1", "--model.net.backbone.width=8", f"--trainer.max_epochs={EPOCHS}",
]  # fmt: skip
FAILING = '''
from lightning.pytorch import Callback

class Failing(Callback):
    """Raises on rank 1 in the third step, and notes when."""

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 2:
            open("raised", "w").close()
            raise RuntimeError("a rank that raises")
'''


class Cluster:
    """A Slurm and a folder to submit from."""

    def __init__(self, slurm: dict[str, str], here: Path):
        own = {"MASTER_ADDR": "127.0.0.1", "DFD_CACHE": str(here / "cache"), "WANDB_MODE": "disabled"}
        own |= {
            "PATH": f"{Path(sys.executable).parent}:{slurm['PATH']}",
            "PYTHONPATH": f"{Path(dfd.__file__).parents[1]}:{here}",
        }
        self.environment, self.here = {**slurm, **own}, here

    def submit(self, *options: str, nodes: int = 2, **environment: str) -> str:
        """`dfd submit` of the toy training; the job's number."""
        script = ["submit", "small_cnn", f"--nodes={nodes}", "--gpus=0", "--cpus=1", "--time=1:00:00"]
        command = [sys.executable, "-m", "dfd.cli", *script, "--", "--config", "overlay/ddp", *FIT, *options]
        done = subprocess.run(
            command, cwd=self.here, env={**self.environment, **environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert re.search(
            r"^Job \d+ to start at .* using \d processors on nodes? n", done.stdout, re.MULTILINE
        ), done.stdout
        return re.search(
            r"^job (\d+); its run lives in runs/small_cnn/\1, after a requeue too$", done.stdout, re.MULTILINE
        )[1]

    def __call__(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.here, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, job: str) -> str:
        path = self.here / f"slurm-{job}.log"
        return path.read_text() if path.exists() else ""

    def wait_for_epoch(self, job: str, epoch: int) -> None:
        end = time.monotonic() + 240
        while f"epoch {epoch}/{EPOCHS}" not in self.log(job):
            assert time.monotonic() < end, self.log(job)
            time.sleep(0.05)

    def end(self, job: str) -> dict[str, str]:
        """What Slurm says of a job once it has ended."""
        real_slurm.wait_for(self.environment, job)
        return dict(
            part.split("=", 1)
            for part in self("scontrol", "show", "job", job, "--oneliner").split()
            if "=" in part
        )

    def run(self, job: str) -> Path:
        return self.here / "runs" / "small_cnn" / job

    def weights(self, job: str) -> dict[str, torch.Tensor]:
        return torch.load(self.run(job) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def cluster(slurm, tmp_path_factory) -> Cluster:
    here = tmp_path_factory.mktemp("cluster")
    (here / "failing.py").write_text(FAILING)
    return Cluster(slurm, here)


@pytest.fixture(scope="module")
def undisturbed(cluster) -> dict[str, torch.Tensor]:
    """The weights of a job of two nodes that nobody disturbs."""
    job = cluster.submit()
    facts = cluster.end(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "0"), cluster.log(job)
    return cluster.weights(job)


def ending_of(run: Path) -> str:
    """How a W&B run ended, by its file: blocks of 32 KiB, in them chunks of checksum, length, kind (whole
    first mid last).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record, said = run.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            parsed, record = Record.FromString(record), b""
            if parsed.WhichOneof("record_type") in ("preempting", "exit"):
                said.append(str(parsed.exit.exit_code) if parsed.HasField("exit") else "preempting")
    return " ".join(said)


def assert_whole(cluster: Cluster, job: str, undisturbed: dict[str, torch.Tensor]) -> None:
    """Ended as the undisturbed job did, after one requeue, in one run folder."""
    facts = cluster.end(job)
    assert (facts["JobState"], facts["Restarts"], facts["JobId"]) == ("COMPLETED", "1", job), cluster.log(job)
    assert f"goes on from runs/small_cnn/{job}/checkpoints/" in cluster.log(job)
    assert (cluster.run(job) / "summary.yaml").exists()
    weights = cluster.weights(job)
    assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed), "other weights"


def test_a_job_that_is_warned_requeues_itself_and_ends_as_the_undisturbed_one(cluster, undisturbed):
    """SIGUSR1 to every process of two nodes, W&B's service and decoding processes among them, as Slurm warns
    a job.
    """
    job = cluster.submit(WANDB_MODE="offline")
    cluster.wait_for_epoch(job, 1)
    cluster("scancel", "--signal=USR1", job)
    assert_whole(cluster, job, undisturbed)
    assert f"job {job} is requeued." in cluster.log(job)
    parts = sorted((cluster.run(job) / "wandb").glob(f"offline-run-*-small_cnn-{job}/*.wandb"))
    assert [ending_of(part) for part in parts] == ["preempting 75", "0"], "one W&B run in two parts"


def test_a_job_whose_node_goes_down_is_requeued_and_ends_as_the_undisturbed_one(cluster, undisturbed):
    job = cluster.submit()
    cluster.wait_for_epoch(job, 2)
    # it registers again by itself
    cluster("scontrol", "update", "nodename=n2", "state=down", "reason=pulled")
    assert_whole(cluster, job, undisturbed)
    assert "DUE TO NODE FAILURE" in cluster.log(job)


def test_a_rank_that_raises_ends_the_job_in_seconds(cluster):
    job = cluster.submit("--trainer.callbacks+=failing.Failing")
    facts = cluster.end(job)
    assert time.time() - (cluster.here / "raised").stat().st_mtime < 30
    assert facts["JobState"] == "FAILED" and not facts["ExitCode"].startswith("0:"), facts["ExitCode"]
    assert "a rank that raises" in cluster.log(job)


def test_a_job_that_was_requeued_often_enough_is_not_any_more(cluster):
    job = cluster.submit(nodes=1, DFD_MAX_RESTARTS="0")
    cluster.wait_for_epoch(job, 1)
    cluster("scancel", "--signal=USR1", job)
    facts = cluster.end(job)
    assert (facts["JobState"], facts["Restarts"], facts["ExitCode"]) == ("FAILED", "0", "75:0"), cluster.log(
        job
    )
    assert f"job {job} was started again 0 times already: not requeued." in cluster.log(job)


def test_a_job_that_is_cancelled_saves_itself(cluster):
    """SIGTERM to every process, with which W&B's service ends at once; Slurm kills five seconds later."""
    job = cluster.submit(WANDB_MODE="offline")
    cluster.wait_for_epoch(job, 1)
    cluster("scancel", job)
    assert cluster.end(job)["JobState"] == "CANCELLED"
    assert f"told to stop; saved as {cluster.run(job)}/checkpoints/last.ckpt" in cluster.log(job)


def test_arrays_train_and_judge(cluster):
    """Two seeds by an array of train.sbatch, then both judged by an array of evaluate.sbatch, of which one
    task is requeued.
    """
    options = ["small_cnn", "--config", "overlay/smoke", *FIT[:5], "--data.num_workers=0"]
    sbatch = ["--array=0-1", "--gpus-per-node=0", "--cpus-per-task=1"]
    trained = real_slurm.submit(
        cluster.environment,
        *sbatch,
        str(shipped("slurm") / "train.sbatch"),
        "--config",
        *options,
        cwd=cluster.here,
    )
    assert set(real_slurm.wait_for(cluster.environment, trained).values()) == {"COMPLETED"}
    lines = cluster("scontrol", "show", "job", trained, "--oneliner").splitlines()
    jobs = [re.search(r"JobId=(\d+)", line)[1] for line in lines]
    checkpoints = [str(cluster.run(job) / "checkpoints" / "best.ckpt") for job in sorted(jobs)]
    script = str(shipped("slurm") / "evaluate.sbatch")
    judged = real_slurm.submit(
        cluster.environment,
        *sbatch,
        script,
        "validate",
        *checkpoints,
        "--",
        "--config",
        "overlay/cpu.yaml",
        cwd=cluster.here,
    )
    assert set(real_slurm.wait_for(cluster.environment, judged).values()) == {"COMPLETED"}
    for place in (0, 1):
        table = cluster.here / "runs" / "validate" / f"{judged}-{place}" / "predictions-val.csv"
        assert len(table.read_text().splitlines()) == 25, "24 images of the val split and a header"


def test_an_allocations_shell_and_srun_start_what_they_say(cluster):
    config = ["--config", "small_cnn", "--config", "overlay/smoke"]
    fit = [sys.executable, "-m", "dfd.cli", "fit", *config, *FIT[:5], "--data.num_workers=0"]

    def start(*command: str) -> subprocess.CompletedProcess:
        environment = {**cluster.environment, "WANDB_MODE": "disabled"}
        return subprocess.run(command, cwd=cluster.here, env=environment, capture_output=True, text=True)

    alone = start("salloc", "-n2", *fit, "--run_folder=alone")
    assert alone.returncode == 0, alone.stderr
    assert (cluster.here / "alone" / "run.json").exists() and (cluster.here / "alone" / ".lock").exists()
    two = start("srun", "-n2", *fit, "--run_folder=two")
    assert two.returncode == 1 and not (cluster.here / "two").exists()
    assert two.stderr.count("dfd fit: srun says 2 processes, and the Trainer has 1 rank") == 1
    pair = start("salloc", "-n2", "srun", *fit, "--trainer.devices=2", "--run_folder=pair")
    assert pair.returncode == 0, pair.stderr
    assert pair.stdout.count("run folder: pair") == 2, "said at the start and at the end, by one of two ranks"


def test_what_slurm_refuses_is_said_before_anything_waits(cluster):
    command = [sys.executable, "-m", "dfd.cli", "submit", "small_cnn", "--nodes=4", "--gpus=1"]
    done = subprocess.run(command, cwd=cluster.here, env=cluster.environment, capture_output=True, text=True)
    assert done.returncode == 1 and "sbatch --test-only refuses the job" in done.stderr
    assert "--nodes=4" in done.stdout, "the script that it refuses"
