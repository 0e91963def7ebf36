"""Commands of dfd on several ranks over gloo: real processes, forked from one that has imported all, as under
torchrun.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import context, forkserver, popen_forkserver
from pathlib import Path
from unittest import mock

from preloaded import MODULES

# a server of its own: Python's belongs to whoever started it first, a pool of dfd's say, which imports less, and each
# rank would import torch and all that anew
SERVER = forkserver.ForkServer()
SERVER.set_forkserver_preload(list(MODULES))


class RankProcess(context.ForkServerProcess):
    """A process that SERVER forks."""

    @staticmethod
    def _Popen(process: multiprocessing.Process) -> popen_forkserver.Popen:
        with mock.patch.object(forkserver, "connect_to_new_process", SERVER.connect_to_new_process):
            return popen_forkserver.Popen(process)


class Ranks:
    """`dfd ARGS` on `world` ranks of the CPU at once, in one group of processes that is theirs alone; killed at
    the end of the block.
    """

    def __init__(self, args: Sequence[str], cwd: Path, world: int, environment: Mapping[str, str]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        args = tuple(args)
        if world > 1:
            args = (*args, "--trainer.accelerator=cpu", f"--trainer.devices={world}")
        self.files = [cwd / f"rank-{rank}.txt" for rank in range(world)]
        self.processes: list[multiprocessing.Process] = []
        for rank in range(world):
            group = self.processes[0].pid if rank else 0
            told = (
                args,
                rank,
                world,
                port,
                cwd,
                self.files[rank],
                dict(os.environ),
                dict(environment),
                group,
            )
            self.processes.append(RankProcess(target=_run, args=told))
            self.processes[-1].start()

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # loading processes too
            os.killpg(self.processes[0].pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.join()

    def ended(self, seconds: float) -> bool:
        """Whether all of them end within that time."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        return None not in self.codes()

    def codes(self) -> list[int | None]:
        return [process.exitcode for process in self.processes]

    def send(self, number: signal.Signals, group: bool) -> None:
        """To all processes of the run, or to rank 0 alone; to none that has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.processes[0].pid, number)

    def said(self) -> str:
        return "\n".join(path.read_text() for path in self.files)


def dfd(
    *args: str, cwd: Path, world: int = 1, code: int = 0, timeout: float = 200, **environment: str
) -> str:
    """What `dfd ARGS` says, on `world` ranks of the CPU at once; AssertionError with all of it unless they
    end with `code`.
    """
    with Ranks(args, cwd, world, environment) as ranks:
        ranks.ended(timeout)
    others = 0 if code in (75, 143) else code  # a run that is told to go has one rank that says so
    assert ranks.codes() == [code, *[others] * (world - 1)], ranks.said()[-6000:]
    return ranks.said()


def _run(
    args: tuple[str, ...],
    rank: int,
    world: int,
    port: int,
    cwd: Path,
    said: Path,
    theirs: dict,
    environment: dict[str, str],
    group: int,
) -> None:
    while os.getpgid(0) != (group or os.getpid()):  # rank 0 may not have made it yet
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(0, group)
    # loading processes start as usual, not as this one did
    multiprocessing.set_start_method(None, force=True)
    os.environ.clear()
    os.environ.update(theirs | environment)
    if world > 1:
        os.environ |= {"TORCHELASTIC_RUN_ID": str(port), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"}
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    with said.open("w", buffering=1) as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        import torch
        from lightning.pytorch.utilities.rank_zero import rank_zero_only

        from dfd.cli import main

        rank_zero_only.rank = rank  # Lightning asked the environment when it was imported, before the fork
        torch.set_num_threads(1)
        sys.argv = ["dfd", *args]
        code = main()  # of a process that ends with the command, which a late signal no longer moves
    sys.exit(code)
