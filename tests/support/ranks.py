"""Commands of dfd on several ranks over gloo: real processes, forked from one that has imported all, as under
torchrun.
"""

import contextlib
import multiprocessing
import os
import socket
import sys
from pathlib import Path

START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["dfd.cli.lightning_verbs", "dfd.tasks", "dfd.data", "dfd.callbacks", "pandas"])


def dfd(
    *args: str, cwd: Path, world: int = 1, code: int = 0, timeout: float = 200, **environment: str
) -> str:
    """What `dfd ARGS` says, on `world` ranks of the CPU at once; AssertionError with all of it unless they
    end with `code`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if world > 1:
        args = (*args, "--trainer.accelerator=cpu", f"--trainer.devices={world}")
    said = [cwd / f"rank-{rank}.txt" for rank in range(world)]
    ranks = [
        START.Process(
            target=_run, args=(args, rank, world, port, cwd, said[rank], dict(os.environ), environment)
        )
        for rank in range(world)
    ]
    for rank in ranks:
        rank.start()
    try:
        for rank in ranks:
            rank.join(timeout)
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    text = "\n".join(path.read_text() for path in said)
    others = 0 if code in (75, 143) else code  # a run that is told to go has one rank that says so
    assert [rank.exitcode for rank in ranks] == [code, *[others] * (world - 1)], text[-6000:]
    return text


def _run(
    args: tuple[str, ...],
    rank: int,
    world: int,
    port: int,
    cwd: Path,
    said: Path,
    theirs: dict,
    environment: dict[str, str],
) -> None:
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
        code = main(list(args))
    sys.exit(code)
