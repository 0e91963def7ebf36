"""The engine of `dfd sweep`: checks its arguments, and runs trials until none is left or a signal ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfd.durable import explain_os_error, make_folder
from dfd.outputs import check_file
from dfd.resources import shipped
from dfd.sweep.lease import Lease
from dfd.sweep.runner import TrialRunner
from dfd.sweep.schema import load_sweep
from dfd.sweep.space import Sweep
from dfd.sweep.storage import PAGE, WORKERS, check_study
from dfd.sweep.study import Study


def sweep(
    file: Path, total: int | None = None, folder: Path | None = None, slots: int = 1, seed: int | None = None
) -> str:
    """Runs trials of the sweep in `file` until the study in `folder` has `total` of them.

    Args:
        total: of all workers together; by default run_cap, or all points of a grid.
        folder: by default runs/<name of the file>.
        slots: how many trials run at once here. Where CUDA has several devices they are shared out.
        seed: see Study.

    Returns:
        The outcome in a few lines.

    Raises:
        ValueError: the file is at fault, the folder holds another study, or all trials failed.
        OSError: the study's folder cannot be written.
        SystemExit: after SIGTERM (143) or SIGINT (130). The trials that ran here were stopped and given back.
    """
    path = _find(file)
    told = load_sweep(path)
    total = _total(told, total)
    print(f"looks for the {told.direction} {told.metric}", flush=True)
    if seed is not None and seed < 0:
        raise ValueError(f"--seed {seed}: it takes 0 or more.")
    folder = (folder or Path("runs") / path.stem).absolute()
    return run_trials(told, total, folder, slots, seed).outcome()


def run_trials(
    told: Sweep,
    total: int,
    folder: Path,
    slots: int = 1,
    seed: int | None = None,
    completed: Callable[[Path], None] | None = None,
) -> TrialRunner:
    """Runs trials until the study in `folder` has `total` of them; see `sweep`.

    Args:
        completed: told the run folder of each trial that ended well here.
    """
    if slots < 1:
        raise ValueError(f"--workers {slots}: it takes at least 1.")
    _check_optuna()
    check_study(folder)
    check_file(folder / PAGE, f"{folder / PAGE}")
    make_folder(folder)
    try:
        with Lease(folder / WORKERS) as worker, _signals() as requested:
            runner = TrialRunner(Study(folder, told, worker, seed), total, _devices(slots), completed)
            try:
                runner.work(requested)
                runner.leave()
            finally:  # after an error, or a second Ctrl-C
                runner.kill()
    except OSError as error:
        raise explain_os_error(error, folder) from error
    if requested:
        raise SystemExit(128 + requested[0])
    return runner


def _find(file: Path) -> Path:
    """The YAML by path, or by name among those that dfd ships, with or without .yaml."""
    configs = shipped("configs")
    names = [file, file.with_name(f"{file.name}.yaml")] if file.name else []
    for path in (*names, *(configs / name for name in names)):
        if path.is_file():
            return path
    known = ", ".join(sorted(f"sweep/{path.stem}" for path in (configs / "sweep").glob("*.yaml")))
    raise ValueError(f"there is no sweep {str(file)!r}, here or among dfd's own: {known}.")


def _total(told: Sweep, total: int | None) -> int:
    limits = [limit for limit in (told.points, told.cap if total is None else total) if limit is not None]
    if not limits:
        raise ValueError(
            f"how many trials? A {told.method} search has no end: give --trials N, or run_cap in the file."
        )
    if min(limits) < 1:
        raise ValueError(f"--trials {total}: it takes at least 1.")
    return min(limits)


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            "dfd sweep needs Optuna: pip install 'dfd[sweep]'. With W&B's server: wandb sweep FILE."
        ) from error


def _devices(slots: int) -> list[list[str] | None]:
    """Each slot's share of the CUDA devices; None where there are none, or one slot has them all anyway."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))) if told is None else told.split(",")
    names = [str(name) for name in here if str(name)]
    if slots == 1 or not names:
        return [None] * slots
    return [names[slot::slots] or [names[slot % len(names)]] for slot in range(slots)]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGTERM and SIGINT that arrive within the block, as a list; a second Ctrl-C ends it at once."""
    requested: list[int] = []

    def hear(number: int, frame: object) -> None:
        if number == signal.SIGINT and requested:
            raise KeyboardInterrupt
        requested.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
