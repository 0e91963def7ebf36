"""The largest global batch that fits into memory, found by trying: the engine of `dfd tune-batch`.

Each attempt is a short `dfd fit` in a process of its own: what an allocator or a GPU has kept of one must not
spoil the next, and a system without memory kills. How it ended is read from its run.json.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dfd import run_record
from dfd.interpreters import fresh

NO_MEMORY = "out of memory"
SHORT = (  # three steps, so that the optimizer has made its state; a batch of validation; nothing is kept
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.callbacks=[]",
    "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.logger=false",
)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    fits: bool
    why: str  # it does not fit; "" where it does
    memory: bool  # whether memory is why
    ranks: int | None  # None: it ended before that was known
    images_per_second: float | None


def tune_batch(
    options: Sequence[str],
    start: int = 8,
    most: int = 65536,
    margin: float = 0.1,
    say: Callable[[str], None] = print,
    attempt: Callable[[Sequence[str], int], Outcome] | None = None,
) -> str:
    """Doubles the batch until it does not fit, then bisects to half of the margin.

    Args:
        options: of dfd fit, without data.batch_size.
        start: first batch.
        most: last batch.
        margin: share of the largest batch that is left free, for what three steps do not show.
        say: gets a line a try.
        attempt: options, batch -> how it went.

    Returns:
        The batch, and the command with it.

    Raises:
        ValueError: an argument, or not even the smallest batch can be trained: says why.
    """
    if not 0 <= margin < 1:
        raise ValueError(f"--margin {margin} is a share of the batch, in [0, 1). Use .1.")
    if not 1 <= start <= most:
        raise ValueError(f"--start {start} and --most {most}: the first batch lies between 1 and the last.")
    if given := next(
        (each for each in options if re.match(r"--data(\.init_args)?\.batch_size\b", each)), None
    ):
        raise ValueError(
            f"{given}: the batch is what is looked for. Leave it out, or say where to begin: --start 64."
        )
    attempt = attempt or _attempt
    fits, fails, ranks, why, tight, batch = 0, most + 1, 1, "", False, start
    while True:
        outcome = attempt(options, batch)
        if outcome.ranks and outcome.ranks != ranks:
            ranks = outcome.ranks
            if batch % ranks:
                batch = -(-batch // ranks) * ranks
                continue
        say(f"batch {batch}: " + (f"fits{_speed(outcome)}" if outcome.fits else outcome.why))
        if not outcome.fits and not outcome.memory and not fits:
            raise ValueError(f"no batch can be tried: {outcome.why}")
        if outcome.fits:
            fits = batch
        else:
            fails, why, tight = batch, outcome.why, outcome.memory
            if not outcome.memory:  # more pictures than there are, for example: no matter of memory
                break
        if fails <= ranks:
            raise ValueError(
                f"not even a batch of {batch} fits. Use a smaller --data.view.size or net, or get more "
                "memory."
            )
        smallest_step = max(ranks, int(fits * margin / 2))
        if fails - fits <= smallest_step or fits + ranks > most:
            break
        batch = fits * 2 if fits and fails > most else (fits + fails) // 2
        batch = max(ranks, min(batch, most) // ranks * ranks)
        if batch in (fits, fails):
            break
    advised = max(ranks, int(fits * (1 - margin)) // ranks * ranks) if tight else fits
    lines = [
        f"largest batch that fits: {fits}"
        + (f"; {fails} does not: {why}" if why else f"; --most {most} ends the search")
    ]
    if tight:
        lines.append(f"with a margin of {margin:.0%}: {advised}")
    lines.append(f"dfd fit {shlex.join(options)} --data.batch_size={advised}")
    return "\n".join(lines)


def _attempt(options: Sequence[str], batch: int) -> Outcome:
    environment = {name: value for name, value in os.environ.items() if name != "DFD_RUN_FOLDER"}
    with TemporaryDirectory(prefix="dfd-tune-") as scratch:
        folder = Path(scratch) / "run"
        folder.mkdir()
        command = fresh("-m", "dfd.cli", "fit", *options, *SHORT)
        command += [f"--data.batch_size={batch}", "--run_folder", str(folder)]
        # a run that fails before its first step removes its folder, unless somebody else's file lies there
        with open(folder / "stderr.txt", "w+", encoding="utf-8", errors="replace") as said:
            done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
            said.seek(0)
            lines = [line for line in said if line.strip()]
        record = run_record.read(folder)
    if done.returncode == 0:
        speed = record.images_per_second if record else None
        return Outcome(True, "", False, record.ranks if record else None, speed)
    if record is not None and record.state != "running":
        memory = record.reason_code == run_record.OUT_OF_MEMORY
        return Outcome(False, NO_MEMORY if memory else record.reason, memory, record.ranks, None)
    ranks = record.ranks if record else None
    if done.returncode < 0 or done.returncode in (134, 137, 139):
        # by the system, or by a library that did not look at what it got
        why = f"{NO_MEMORY} (its process was ended by signal {abs(done.returncode) % 128})"
        return Outcome(False, why, True, ranks, None)
    last = lines[-1].strip() if lines else f"exit code {done.returncode}"
    return Outcome(False, last.removeprefix("dfd fit: "), False, ranks, None)


def _speed(outcome: Outcome) -> str:
    return "" if outcome.images_per_second is None else f", {outcome.images_per_second:.0f} images/s"
