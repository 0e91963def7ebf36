"""Tidy table of the benchmark: a line for each tool, set, condition, part and metric, with its interval.

A set's parts are "all" and each kind of edit against the set's untouched pictures. A picture on which a tool
abstains, breaks, or has nothing to look at has no part in what is scored; it counts in the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dfd.batch import FAKE, REAL, Predictions
from dfd.evaluate.forensic_benchmark.examined import ANSWERED, read_cell
from dfd.evaluate.forensic_benchmark.localization import BINS, FIGURES, POOLED, pooled
from dfd.forensics.measured import Figure
from dfd.metrics import detection_metrics, uncalibrated
from dfd.metrics.bootstrap import percentiles, resampled
from dfd.metrics.values import Ranked

DRAWS = 1000
LEVEL = 0.95
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("tool", "set", "condition", "part", "metric"), pa.string()),
        **dict.fromkeys(("value", "low", "high"), pa.float64()),
        **dict.fromkeys(("num_images", "num_families"), pa.int64()),
    }
)
# shares of pictures, by name: of the edited ones or fakes, of the untouched ones, of all, of all
RATES = ("hit_rate", "false_alarm_rate", "coverage", "failed")
METRICS = ("auroc", *RATES, "seconds", *FIGURES, *POOLED)


class Cell(NamedTuple):
    """One tool on one set under one condition."""

    tool: str
    pictures: str
    condition: str
    path: Path


@dataclass(frozen=True)
class Answers:
    """The lines of a cell, or of a part of it, as arrays (M,)."""

    family: np.ndarray
    label: np.ndarray
    method: np.ndarray
    status: np.ndarray
    score: np.ndarray
    seconds: np.ndarray
    figures: dict[str, np.ndarray]  # NaN where nothing was to be found
    inside: np.ndarray  # (M, BINS)
    outside: np.ndarray

    def where(self, rows: np.ndarray) -> Answers:
        plain = {name: value[rows] for name, value in vars(self).items() if name != "figures"}
        return Answers(**plain, figures={name: value[rows] for name, value in self.figures.items()})


def tidy(cells: Sequence[Cell], run: Callable[..., Iterable[Any]] = map) -> pa.Table:
    """The table of all cells.

    A tool that shows no place on any picture has no pixel metrics; where another one answers without a map,
    it has found nothing.

    Args:
        run: `map`, or that of a `ProcessPool`, whose results come in any order.
    """
    mapping = {cell.tool for cell in cells if any(read_cell(cell.path)["mapped"].to_pylist())}
    tasks = [(number, cell, cell.tool in mapping) for number, cell in enumerate(cells)]
    found = dict(run(_lines, tasks))
    return pa.Table.from_pylist([line for number in sorted(found) for line in found[number]], SCHEMA)


def _lines(task: tuple[int, Cell, bool]) -> tuple[int, list[dict[str, object]]]:
    """The lines of one cell, with the number that it came with."""
    number, cell, maps = task
    told = {"tool": cell.tool, "set": cell.pictures, "condition": cell.condition}
    return number, [{**told, **line} for line in cell_lines(answers_of(read_cell(cell.path)), maps)]


def answers_of(table: pa.Table) -> Answers:
    plain = {
        name: table[name].to_numpy(zero_copy_only=False)
        for name in ("family", "label", "method", "status", "score", "seconds")
    }
    counts = {}
    for side in ("inside", "outside"):
        counts[side] = np.array([each or [0] * BINS for each in table[side].to_pylist()], np.int64)
        counts[side] = counts[side].reshape(-1, BINS)
    figures = {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in FIGURES}
    return Answers(**plain, **counts, figures=figures)


def cell_lines(answers: Answers, maps: bool) -> Iterator[dict[str, object]]:
    """The lines of one cell: part, metric, value, low, high, num_images, num_families.

    Args:
        maps: whether the tool shows places.
    """
    parts = {"all": np.ones(len(answers.label), bool)}
    real = answers.label == REAL
    for method in sorted(set(answers.method[~real].tolist()) - {""}):
        parts[method] = real | (answers.method == method)
    for part, rows in parts.items():
        for metric, figure in figures_of(answers.where(rows), maps).items():
            yield {"part": part, "metric": metric, **vars(figure)}


def figures_of(answers: Answers, maps: bool) -> dict[str, Figure]:
    """Every metric that these pictures define, by name."""
    fake, answered = answers.label == FAKE, np.isin(answers.status, ANSWERED)
    found = answers.status == "found"
    figures = {}
    shares = {
        "hit_rate": (found, fake),
        "false_alarm_rate": (found, ~fake),
        "coverage": (answered, np.ones(len(fake), bool)),
        "failed": (answers.status == "failed", np.ones(len(fake), bool)),
    }
    for name, (counted, rows) in shares.items():
        if rows.any():
            figures[name] = rate(counted[rows], answers.family[rows])
    figures["seconds"] = mean(answers.seconds, answers.family)
    scored = answered & np.isfinite(answers.score)
    if (scored & fake).any() and (scored & ~fake).any():
        figures["auroc"] = auroc(answers.where(scored))
    placed = np.isfinite(answers.figures["pixel_auc"])
    if maps and placed.any():
        some = answers.where(placed)
        figures |= {name: mean(values, some.family) for name, values in some.figures.items()}
        figures |= pooled_figures(some)
    return figures


def auroc(answers: Answers) -> Figure:
    """Of the score, edited or fake against untouched.

    A family that is drawn twice meets its own untouched picture four times, an easier comparison than that
    with others: draws are higher than the figure by some 1 / families. Their mean is set back to it.
    """
    told = {"family": answers.family.astype(str)}
    label = answers.label.astype(np.int64)
    table = Predictions.of(np.arange(len(label)), answers.score, label, told)
    value = detection_metrics(table)["auroc"]
    drawn = resampled([table], [Ranked(table, uncalibrated, 0.0)], ["auroc"], DRAWS, 0)[0, 0]
    low, high = percentiles(drawn, LEVEL)
    if not math.isnan(low):
        bias = float(np.nanmean(drawn)) - value
        low, high = (min(max(end - bias, 0.0), 1.0) for end in (low, high))
    return Figure(value, low, high, len(table), table.num_families)


def rate(counted: np.ndarray, family: np.ndarray) -> Figure:
    """The share of pictures that count (M,) bool. Where all or none do, every draw is alike, and the interval
    is the exact one (Clopper and Pearson, 1934) of as many pictures as there are families."""
    figure = mean(counted.astype(np.float64), family)
    reach = ((1 - LEVEL) / 2) ** (1 / figure.num_families)
    if not counted.any():
        return Figure(0.0, 0.0, 1 - reach, figure.num_images, figure.num_families)
    if counted.all():
        return Figure(1.0, reach, 1.0, figure.num_images, figure.num_families)
    return figure


def mean(values: np.ndarray, family: np.ndarray) -> Figure:
    """The mean of values (M,), its interval by drawing families; NaN of a single one."""
    weight, place = _draws(family)
    totals, sizes = (np.bincount(place, each, weight.shape[1]) for each in (values, np.ones(len(values))))
    low, high = _ends((weight @ totals) / (weight @ sizes), weight.shape[1])
    return Figure(float(values.mean()), low, high, len(values), weight.shape[1])


def pooled_figures(answers: Answers) -> dict[str, Figure]:
    """Figures of all pixels together, a family's pixels drawn together."""
    weight, place = _draws(answers.family)
    sides = []
    for counts in (answers.inside, answers.outside):
        of_family = np.zeros((weight.shape[1], BINS))
        np.add.at(of_family, place, counts)
        sides.append(of_family)
    whole = pooled(*(side.sum(axis=0)[None] for side in sides))
    drawn = pooled(*(weight @ side for side in sides))
    figures = {}
    for name in POOLED:
        low, high = _ends(drawn[name], weight.shape[1])
        figures[name] = Figure(float(whole[name][0]), low, high, len(place), weight.shape[1])
    return figures


def _draws(family: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each family was drawn, (DRAWS, F), and the place of each picture's family (M,)."""
    names, place = np.unique(family.astype(str), return_inverse=True)
    return _weights(len(names)), place


@lru_cache(maxsize=32)
def _weights(num: int) -> np.ndarray:
    """(DRAWS, num)."""
    return np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), DRAWS).astype(float)


def _ends(drawn: np.ndarray, num_families: int) -> tuple[float, float]:
    if num_families < 2:  # one family resamples to itself
        return math.nan, math.nan
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
