"""`dfd reproduce`: a released detector made again of public data, its figures beside those of the list."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dfd.detector.published import CONFIG, WEIGHTS
from dfd.durable import make_folder, sha256_of
from dfd.evaluate.conditions import CLEAN
from dfd.evaluate.folder import METRICS_FILE
from dfd.evaluate.tidy import read_metrics
from dfd.interpreters import fresh
from dfd.outputs import lies_within, output_file
from dfd.released.entry import Entry, Figure, Recipe
from dfd.released.show import in_words, number
from dfd.released.store import keep
from dfd.run_record import RunFolder
from dfd.shards.format import INDEX
from dfd.text_files import read_object, read_text

BEGUN = "begun.json"  # what a folder was begun with
_NAME = "detector"  # of the only one in the grid


@dataclass(frozen=True)
class Reached:
    """A figure of the list beside what was reached.

    Args:
        figure: the list's.
        value, low, high: reached, with its 95% interval.
        images: that this rests on.
    """

    figure: Figure
    value: float
    low: float
    high: float
    images: int

    @property
    def enough(self) -> bool:
        """Whether it lies within the list's interval, or above."""
        return self.value >= self.figure.low

    def __str__(self) -> str:
        word = (
            "reached"
            if self.enough
            else f"NOT reached, {number(self.figure.low - self.value)} below the interval"
        )
        return (
            f"{self.figure.metric} of {self.figure.source}, {self.figure.condition}: {number(self.value)} "
            f"({number(self.low)}, {number(self.high)}) of {self.images} images. Listed: "
            f"{number(self.figure.value)} ({number(self.figure.low)}, {number(self.figure.high)}) of "
            f"{self.figure.images}. {word}"
        )


def reproduce(entry: Entry, data: Path, out: Path, weights: Path | None, epochs: int | None) -> int:
    """Makes a detector, each step a `dfd` command of its own that is shown as one would type it, and keeps it
    under its name where it reaches the list's figures. A later call with the same `out` does what is left.

    Args:
        data: folder of the public set.
        out: folder of everything that is made.
        weights: file of pretrained weights; None takes timm's hub or its cache.
        epochs: of the training; None takes the recipe's.

    Returns the exit code: 0 where it was kept, that of the command which failed, or 1.

    Raises:
        ValueError: the list has no recipe, the data or the weights are not there, or `out` was begun with
            others.
        OSError: `out` cannot be written.
    """
    recipe = entry.recipe
    if recipe is None:
        raise ValueError(f"{entry.name} has no recipe in the list: `dfd models show {entry.name}`.")
    if not data.is_dir():
        raise ValueError(
            f"there is no folder {data}. {entry.name} is made of {recipe.needs}. {recipe.where}. dfd "
            "downloads no data."
        )
    if weights is not None and not weights.is_file():
        raise ValueError(f"--weights {weights}: there is no such file.")
    if weights is not None and recipe.pretrained is None:
        raise ValueError(f"--weights {weights}: this recipe begins with no pretrained weights. Leave it out.")
    if epochs is not None and epochs < 1:
        raise ValueError(f"--epochs {epochs}: at least 1.")
    if lies_within(out, data):
        raise ValueError(f"--out {out} lies in {data}, which is only read. Choose a folder beside it.")
    make_folder(out)
    epochs = epochs or recipe.epochs
    _check_begun(out, entry, data, weights, epochs)
    figures = [figure for figure in entry.figures if figure.source == recipe.source]
    judged = _write_conditions(out / "conditions.yaml", figures) and (out / "grid" / METRICS_FILE).is_file()
    for words, done in _steps(recipe, data, out, out / entry.name, weights, epochs, judged):
        if done:
            continue
        print(f"$ dfd {shlex.join(words)}", flush=True)
        if code := _run(words):
            print(
                f"dfd {words[0]} ended with exit code {code}; the same command goes on from there.",
                file=sys.stderr,
            )
            return code
    reached = compare(figures, out / "grid")
    for each in reached:
        print(each)
    short = f" It was trained for {epochs} of {recipe.epochs} epochs." if epochs < recipe.epochs else ""
    missed = sum(not each.enough for each in reached)
    if missed:
        print(
            f"{missed} of {len(reached)} figures are below the list's intervals.{short} It is not kept as "
            f"{entry.name}; {out / entry.name} is the detector that was made."
        )
        return 1
    one = keep(entry, out / entry.name, WEIGHTS, tuple(map(str, reached)))
    print(f"All figures are within the list's intervals or above.{short} dfd score {one.name} PICTURES")
    return 0


def compare(figures: Sequence[Figure], grid: Path) -> list[Reached]:
    """What a grid of one detector says of a list's figures.

    Raises:
        ValueError: the grid has no such figure.
    """
    rows = read_metrics(grid).to_pylist()
    return [_reached(figure, rows, grid) for figure in figures]


def _reached(figure: Figure, rows: Sequence[dict[str, Any]], grid: Path) -> Reached:
    for row in rows:
        severity = "" if math.isnan(row["severity"]) else f"@{row['severity']:g}"
        of = (f"{row['condition']}{severity}", row["part"], row["kind"])
        value = row[figure.metric]
        if of == (figure.condition, f"source:{figure.source}", "image") and not math.isnan(value):
            low, high = row[f"{figure.metric}_low"], row[f"{figure.metric}_high"]
            return Reached(figure, value, low, high, row["num_images"])
    raise ValueError(f"{grid} says nothing of {in_words(figure)}. Is the data what the recipe needs?")


def _write_conditions(path: Path, figures: Sequence[Figure]) -> bool:
    """Writes the conditions of figures, as `dfd evaluate` takes them, and returns whether the file said so
    before. Clean pictures are judged in any case.
    """
    told = dict.fromkeys(figure.condition for figure in figures if figure.condition != CLEAN)
    pairs = [condition.partition("@")[::2] for condition in told]
    named = [{"name": name, "corruption": name, "severities": [float(level)]} for name, level in pairs]
    text = yaml.safe_dump({"conditions": named})
    if path.is_file() and read_text(path) == text:
        return True
    with output_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return False


def _steps(
    recipe: Recipe, data: Path, out: Path, made: Path, weights: Path | None, epochs: int, judged: bool
) -> list[tuple[list[str], bool]]:
    """The commands, and whether each was done before.

    Args:
        judged: whether the evaluation was.
    """
    # verdicts call the pictures by the name of their folder
    shards, run = out / "shards" / recipe.source, RunFolder(out / "run")
    grid, page = out / "grid", out / "report.html"
    fit = ["fit", *recipe.fit, f"--data.roots={shards}", f"--trainer.max_epochs={epochs}"]
    if weights is not None:
        fit.append(f"--{recipe.pretrained}={weights}")
    fit.append(f"--run_folder={run.path}")
    judge = [
        "evaluate",
        f"{_NAME}={run.best}",
        "--on",
        str(shards),
        "--conditions",
        f"{out / 'conditions.yaml'}",
    ]
    export = ["export", str(run.best), "--out", str(made), "--model-card", str(out / "MODEL_CARD.md")]
    return [
        (["prepare", str(data), "--out", str(shards), "--reader", recipe.reader], (shards / INDEX).is_file()),
        (fit, run.summary.is_file()),
        ([*judge, "--out", str(grid)], judged),
        (["report", str(grid), "--out", str(page)], page.is_file() and (out / "MODEL_CARD.md").is_file()),
        (export, (made / CONFIG).is_file()),
    ]


def _run(words: Sequence[str]) -> int:
    """The exit code of a command of dfd in a process of its own, which ends with this one."""
    process = subprocess.Popen(fresh("-m", "dfd.cli", *words))
    try:
        return process.wait()
    except BaseException:
        # told to end, a fit saves itself
        process.terminate()
        process.wait()
        raise


def _check_begun(out: Path, entry: Entry, data: Path, weights: Path | None, epochs: int) -> None:
    """Writes down what a folder is begun with; ValueError where it was begun with anything else."""
    now = {
        "name": entry.name,
        "version": entry.version,
        "data": str(data.resolve()),
        "weights": weights and sha256_of(weights),
        "epochs": epochs,
    }
    path = out / BEGUN
    if path.is_file():
        was = read_object(path)
        if changed := [name for name in now if was.get(name) != now[name]]:
            raise ValueError(
                f"{out} was begun with {changed[0]} {was.get(changed[0])}, not {now[changed[0]]}. Choose "
                "another --out, or the same again."
            )
        return
    if any(out.iterdir()):
        raise ValueError(
            f"--out {out} is not empty, and `dfd reproduce` did not begin it. Choose a new folder."
        )
    with output_file(path) as temporary:
        temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
