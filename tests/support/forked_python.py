"""`python ARGS` forked from a Python that has imported torch and dfd: a process of its own whose start costs nothing.

`python -IS forked_python.py SOCKET ARGS` stands for `python ARGS`: the same folder, environment, standard streams, exit
code and signals. What Python and its packages ask the environment as they are imported is the server's; and what is
said of imports themselves, or kills a whole group of processes, needs a real start.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def forking(environment: Mapping[str, str]) -> Iterator[list[str]]:
    """What to write before ARGS, as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="dfd-") as folder:
        path = os.path.join(folder, "socket")
        command = [sys.executable, __file__, "--serve", path]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server:
            assert server.stdout.readline() == b"ready\n"
            yield [sys.executable, "-IS", __file__, path]
            server.stdin.close()  # which ends it


def _ask(path: str, args: Sequence[str]) -> int:
    """The exit code of `python ARGS`, or less than zero the signal that ended it."""
    told = json.dumps([args, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [struct.pack("q", len(told))], [0, 1, 2])
        server.sendall(told)
        pid = _number(server)
        for each in _FORWARDED:
            signal.signal(each, lambda number, _: os.kill(pid, number))
        return _number(server)


def _number(connection: socket.socket) -> int:
    return struct.unpack("q", connection.recv(8, socket.MSG_WAITALL))[0]


def _serve(path: str) -> list[str]:
    """Forks for each that asks, until the standard input ends; returns in the forked process, with its ARGS."""
    import gc
    import importlib

    from preloaded import MODULES  # beside this file, and only the server needs it

    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each process would copy what its collector looks at
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                listener.close()
                return _watched(connection)
            connection.close()
            while _ended_child():
                pass
    sys.exit()


def _ended_child() -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    return False


def _watched(connection: socket.socket) -> list[str]:
    """Forks the process that was asked for, in which it returns; here it tells its end, and ends it where the
    one that asked is gone."""
    head, files, *_ = socket.recv_fds(connection, 8, 3)
    args, folder, environment = json.loads(connection.recv(struct.unpack("q", head)[0], socket.MSG_WAITALL))
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _begin(folder, environment)
        return args
    for file in files:
        os.close(file)
    connection.sendall(struct.pack("q", pid))
    ended = os.pidfd_open(pid)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it started too
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(struct.pack("q", code))
    os._exit(0)


def _begin(folder: str, environment: dict[str, str]) -> None:
    """What a Python that starts takes from where it starts."""
    import random
    import weakref

    import numpy as np
    import torch

    for each in weakref.finalize._registry:
        each.atexit = False  # folders of the server's end with the server
    # the one that its exit would remove
    sys.modules["wandb.sdk.data_types._private"].MEDIA_TMP.__init__("wandb-media")
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [each for each in first if each] + [each for each in sys.path[1:] if each not in before]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None
    random.seed()
    np.random.seed()
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or torch.get_num_threads()))


def _run(args: list[str]) -> None:
    """As `python ARGS` does: a file, or -m and a module, or -c and code."""
    import runpy
    import types

    if args[0] == "-c":
        sys.argv, main = ["-c", *args[2:]], types.ModuleType("__main__")
        sys.path.insert(0, "")
        sys.modules["__main__"] = main
        exec(compile(args[1], "<string>", "exec"), main.__dict__)
    elif args[0] == "-m":
        sys.argv = args[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(args)
        sys.path.insert(0, str(Path(args[0]).resolve().parent))
        runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        sys.exit(_run(_serve(sys.argv[2])))
    code = _ask(sys.argv[1], sys.argv[2:])
    if code < 0:
        if -code in _FORWARDED:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
