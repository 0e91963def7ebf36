"""Verbs about runs: sweep, runs, sync, tune-batch."""

from __future__ import annotations

from pathlib import Path


def sweep(
    file: Path,
    /,
    *,
    trials: int | None = None,
    study: Path | None = None,
    workers: int = 1,
    seed: int | None = None,
) -> None:
    """Hyperparameters by Optuna, from a file that W&B's `wandb sweep` takes too: grid, random or bayes (TPE),
    with early ends.

    Each trial is a process of its own, with its own run folder. Killed and started again, it goes on; started
    on several machines with the same --study on a shared folder, it is one study. The page STUDY/sweep.html
    shows what was found. A program of your own takes --run_folder beside the parameters, and writes
    metrics.csv there, with a column of the metric's name.

    Args:
        file: The sweep's YAML, or the name of one that dfd ships: sweep/grid, sweep/random, sweep/bayes,
            sweep/hyperband.
        trials: How many the study is to have, of all its workers together; by default the file's run_cap, or
            the whole grid.
        study: Folder of the study; by default runs/NAME, with the file's name.
        workers: Trials that run at once here; where CUDA has several devices they are shared out.
        seed: Of random numbers; by default the study's, or 0.
    """
    from dfd.sweep.sweep import sweep

    print(sweep(file, total=trials, folder=study, slots=workers, seed=seed))


def runs(folder: Path = Path("runs"), /) -> None:
    """The runs of dfd fit below a folder: running, done, stopped, preempted or failed and why, how far, how
    good, and how to go on.

    Args:
        folder: Where to look; by default runs.
    """
    from dfd.run_record import listing

    print(listing(folder))


def sync(run: Path, /, *more: Path) -> None:
    """Sends what W&B's server has not got of runs: curves, tables, pictures, artifacts, alerts.

    W&B's key comes from `wandb login` or WANDB_API_KEY, the server from WANDB_BASE_URL. What was sent once is
    not sent again. Send it from the machine that ran it: artifacts lie where the run left them until then.

    Args:
        run: Run folder of dfd fit, or a folder of many, such as a sweep's.
        more: Further folders.
    """
    from dfd.training.wandb_sync import sync

    sync([run, *more])


def tune_batch(config: str, /, *options: str, start: int = 8, most: int = 65536, margin: float = 0.1) -> None:
    """Finds the largest global batch that fits into memory, by short trainings, each in its own process.

    It doubles the batch until one does not fit, then bisects, and prints the command with what is left of the
    largest.

    Args:
        config: What dfd fit would take.
        options: Further options of dfd fit, as they are: --data.roots=SHARDS --config overlay/ddp.
        start: First batch.
        most: Last batch.
        margin: Share of the largest batch that is left free.
    """
    from functools import partial

    from dfd.launch.tune_batch import tune_batch

    found = tune_batch(
        ["--config", config, *options],
        start=start,
        most=most,
        margin=margin,
        say=partial(print, flush=True),
    )
    print(found)


VERBS = (sweep, runs, sync, tune_batch)
