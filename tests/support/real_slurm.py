"""A real Slurm on this machine: two nodes of 16 claimed CPUs and 4 claimed GPUs each, gone with the tests.

Several may run at once. The numbers of their jobs differ, since the port at which a job's ranks meet comes of
its number.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "sinfo", "scontrol", "squeue")
CONFIG = """\
ClusterName=dfd
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmctldPort={port}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/ctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/ctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
JobRequeue=1
FirstJobId={port}
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs=16 RealMemory=256000 Gres=gpu:4 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; "" where there can."""
    lacking = [
        name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    if lacking:
        return f"no {', '.join(lacking)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd starts jobs as root only"


@contextmanager
def running(root: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and its like reach a Slurm of its own, whose files lie in `root`."""
    for name in ("state", "spool-n1", "spool-n2", "fake"):
        (root / name).mkdir(parents=True)
    for gpu in range(4):
        (root / "fake" / f"gpu{gpu}").touch()
    first = _free_port()
    ports = {"port": first, "node_ports": f"{_free_port()},{_free_port()}"}
    (root / "slurm.conf").write_text(
        CONFIG.format(host=socket.gethostname().split(".")[0], user=getpass.getuser(), root=root, **ports)
    )
    (root / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={root}/fake/gpu[0-3]\n")
    environment = {
        **os.environ,
        "SLURM_CONF": str(root / "slurm.conf"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    }
    daemons = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (
            ["slurmctld", "-D", "-c", "-i"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        )
    ]
    try:
        end = time.monotonic() + 60
        while (told := _run(environment, "sinfo", "-h", "-N", "-o", "%T").split()) != ["idle", "idle"]:
            if time.monotonic() > end:
                raise RuntimeError(f"Slurm did not start: nodes are {told}; see the logs in {root}")
            time.sleep(0.2)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def submit(environment: dict[str, str], *arguments: str, cwd: Path) -> str:
    """The number of a job handed to sbatch."""
    done = subprocess.run(
        ["sbatch", "--parsable", *arguments], env=environment, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(environment: dict[str, str], job: str, seconds: float = 300) -> dict[str, str]:
    """The state of each task of a job, once none is waiting or running."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lines = _run(environment, "scontrol", "show", "job", job, "--oneliner").splitlines()
        facts = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
        if facts and all(
            fact["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING") for fact in facts
        ):
            return {fact.get("ArrayTaskId", fact["JobId"]): fact["JobState"] for fact in facts}
        time.sleep(0.3)
    told = [" ".join(f"{name}={value}" for name, value in fact.items()) for fact in facts]
    logs = {fact["StdOut"] for fact in facts if Path(fact.get("StdOut", "")).is_file()}
    ends = [f"{log} ends with\n{Path(log).read_text()[-4000:]}" for log in sorted(logs)]
    raise TimeoutError(
        "\n".join(
            [f"job {job} did not end in {seconds} s", *told, _run(environment, "sinfo", "-N", "-l"), *ends]
        )
    )


def _run(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
