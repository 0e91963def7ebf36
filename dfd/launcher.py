"""Processes that torchrun, srun or mpirun started, against the ranks of the Trainer: they must agree.

Each library reads ranks from variables of its own choice, and a shell may hold some that nobody meant: those
of an earlier torchrun, or of the allocation that it runs in. Here is decided, once, which of them count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

# launcher -> what only it sets, rank, number of processes; the first whose variables are all there counts
LAUNCHERS = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"),
    # in a job without srun, as in an allocation's shell, there is no step with tasks
    "srun": ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    "jsrun": ("LSB_JOBID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK", "PMI_SIZE"),
}
BY_HAND = ("LOCAL_RANK", "WORLD_SIZE")  # Lightning's own launcher sets them too
# all from which Lightning, torch or one of those that it asks takes a rank
RANK_VARIABLES = ("RANK", *BY_HAND, "NODE_RANK", "GROUP_RANK", "SLURM_LOCALID")
RANK_VARIABLES += tuple(name for names in LAUNCHERS.values() for name in names[1:])


@dataclass(frozen=True)
class Launch:
    """Who started this process, as which of how many.

    Args:
        launcher: "" for Lightning, a user's own hand, or nobody.
        rank: of all processes, or on its node where nobody else counts them.
        node: number of the node, where a user's own hand gives it.
        variables: what says so.
    """

    launcher: str = ""
    rank: int = 0
    processes: int = 1
    node: int = 0
    variables: tuple[str, ...] = ()


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Who started this process. A rank without a number of processes was left over, and does not count.

    Raises:
        ValueError: a rank that is no number, on which Lightning would end as it is imported.
    """
    for name in RANK_VARIABLES:
        if not environment.get(name, "0").isdecimal():
            raise ValueError(
                f"{name}={environment[name]} is no number of a process. Was it left over? unset {name}"
            )
    for launcher, names in LAUNCHERS.items():
        if all(name in environment for name in names):
            _, rank, processes = names
            return Launch(launcher, int(environment[rank]), int(environment[processes]), variables=names)
    node = int(environment.get("NODE_RANK") or environment.get("GROUP_RANK") or 0)
    if all(name in environment for name in BY_HAND):
        rank, processes = (int(environment[name]) for name in BY_HAND)
        return Launch("", rank, processes, node, BY_HAND)
    return Launch(node=node)


def rank_among(ranks: int, devices: int, launch: Launch) -> int:
    """This process's rank in a Trainer.

    Args:
        ranks: of the Trainer, and
        devices: of it on each node.

    Raises:
        ValueError: the launcher has started another number of processes, which would train the same net side
            by side, or wait for one another.
    """
    if launch.launcher in ("mpirun", "mpiexec") and launch.processes == ranks > 1 and not find_spec("mpi4py"):
        raise ValueError(
            f"processes of {launch.launcher} find one another through mpi4py, which is not installed. Start "
            f"them by torchrun --nproc_per_node={devices}, or pip install mpi4py."
        )
    if not launch.launcher and launch.processes in (1, ranks):
        # Lightning begins the other ranks, on each node
        return launch.node * devices + launch.rank if ranks > 1 else 0
    if launch.processes == ranks:
        return launch.rank
    by, nodes = launch.launcher or "the environment", ranks // devices
    unset = " ".join(f"-u {name}" for name in dict.fromkeys(launch.variables))
    there = f"{_count(devices, 'device', 's')} on {_count(nodes, 'node', 's')}"
    raise ValueError(
        f"{by} says {_count(launch.processes, 'process', 'es')}, and the Trainer has "
        f"{_count(ranks, 'rank', 's')} ({there}): each would train by itself, or wait for others. To train "
        f"together: --trainer.devices={max(1, launch.processes // nodes)}. Alone, where these variables were "
        f"left over: env {unset} dfd ..."
    )


def _count(number: int, thing: str, more: str) -> str:
    return f"{number} {thing}{more * (number != 1)}"


def forget_ranks(keep_node: bool) -> None:
    """Takes what was left over out of this process's environment, before Lightning, W&B or a child reads it.

    Args:
        keep_node: a user's own hand says by NODE_RANK which of several nodes this is.
    """
    for name in RANK_VARIABLES:
        if not (keep_node and name in ("NODE_RANK", "GROUP_RANK")):
            os.environ.pop(name, None)


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is none of a launcher's, though its parent may be one."""
    return {name: value for name, value in environment.items() if name not in RANK_VARIABLES}
