"""Evidence of a report: a grid's cells, metrics and facts, read as a stranger's, with what lacks named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dfd.batch import Predictions
from dfd.calibration import calibration_of, in_words
from dfd.evaluate.attack_conditions import PictureAttack
from dfd.evaluate.folder import GRID, METRICS_FILE, read_grid
from dfd.evaluate.prediction_file import SCHEMA, read_facts, read_predictions, read_table
from dfd.evaluate.tidy import EVERY_ROOT, NAMES, cell_lines, read_metrics
from dfd.metrics import Calibrated
from dfd.terminal import printable

CLEAN = "clean"


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the grid. `severity` is None for clean pictures and conditions without one."""

    detector: str
    root: str
    condition: str = CLEAN
    severity: float | None = None

    @property
    def step(self) -> str:
        """Condition and severity in words."""
        return self.condition if self.severity is None else f"{self.condition} {self.severity:g}"

    def __str__(self) -> str:
        return f"{self.detector} on {self.root}, {self.step}"


@dataclass(frozen=True)
class Line:
    """A line of the tidy table: metrics of one part of one cell."""

    place: Place
    part: str  # all, source:NAME, method:NAME or pooled:A|B
    kind: str  # image or clip
    values: Mapping[str, Any]

    def number(self, name: str) -> float:
        """A column's number; NaN where it has none."""
        return _number(self.values.get(name))

    def by_auroc(self) -> float:
        """Its place in a list with the worst first; lines without an AUROC come last."""
        value = self.number("auroc")
        return math.inf if math.isnan(value) else value

    def ends(self, name: str) -> tuple[float, float]:
        """The 95% interval of a metric, NaN where there is none."""
        return self.number(f"{name}_low"), self.number(f"{name}_high")

    def count(self, name: str) -> int:
        value = self.number(name)
        return 0 if math.isnan(value) else int(value)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return "" if value is None else _word(value)

    @property
    def flags(self) -> list[str]:
        """The words of `warnings.FLAGS` that go with it, and others of other versions."""
        return self.text("flags").split()


@dataclass(frozen=True)
class Cell:
    """The predictions of one cell, (M,) each, and what its file says of itself."""

    predictions: Predictions
    prob: np.ndarray  # P(fake), NaN where there is none
    verdict: np.ndarray  # fake, real, inconclusive, unfamiliar, or "" where status is not ok
    reason: np.ndarray
    key: np.ndarray
    extra: Mapping[str, np.ndarray]  # attributes of the pictures, beyond the file's own columns
    facts: Mapping[str, Any]
    calibrated: Calibrated  # raw logits -> log odds
    threshold: float  # raw logit above which the detector leans to fake


@dataclass
class Evidence:
    """All that a report is made of."""

    folder: Path
    grid: Mapping[str, Any]  # grid.json
    lines: list[Line] = field(default_factory=list)
    files: dict[Place, Path] = field(default_factory=dict)  # of the cells that are there
    missing: list[str] = field(default_factory=list)  # files of cells that are not
    attacks: set[str] = field(default_factory=set)  # names of the conditions that are attacks
    notes: list[str] = field(default_factory=list)  # what else the reader is to know, such as what is damaged
    _read: dict[Place, Cell | None] = field(default_factory=dict)

    @cached_property
    def whole(self) -> dict[Place, Line]:
        """The line of all pictures of each cell, in the order of the grid."""
        return {
            line.place: line
            for line in self.lines
            if (line.part, line.kind) == ("all", "image") and line.place.root != EVERY_ROOT
        }

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """What grid.json says of a detector, a root or a condition."""
        return next((each for each in self.grid[f"{kind}s"] if each.get("name") == name), {})

    def names(self, kind: str) -> list[str]:
        """Names of the detectors, roots or conditions that have a cell, in the order of the grid."""
        return list(dict.fromkeys(getattr(place, kind) for place in self.whole))

    def is_plain(self, place: Place) -> bool:
        """Whether a cell is one of those shown in full: clean pictures, or all that a run judged."""
        return place.condition == CLEAN or self.names("condition") == [place.condition]

    def is_attack(self, condition: str) -> bool:
        """Whether somebody who wants to be missed made these pictures: a score under an attack is no score of
        the world's pictures.
        """
        return condition in self.attacks

    def cell(self, place: Place) -> Cell | None:
        """The predictions of a cell; None where they cannot be read, which is noted."""
        if place not in self._read:
            self._read[place] = self._read_noted(place)
        return self._read[place]

    def _read_noted(self, place: Place) -> Cell | None:
        if place not in self.files:
            return None
        try:
            return read_cell(self.files[place])
        except (OSError, ValueError) as error:
            self.notes.append(f"The predictions of {place} cannot be read: {_first_line(error)}")
            return None


def read_evidence(folder: Path) -> Evidence:
    """The evidence of a folder that `dfd evaluate` fills, finished or not.

    Raises:
        ValueError: its grid.json or its table is not as dfd writes it.
    """
    grid = read_grid(folder)
    for kind in ("detectors", "roots", "conditions"):
        if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in grid[kind]):
            raise ValueError(f"{folder / GRID} is not as dfd writes it: one of its {kind} has no name.")
        grid[kind] = [{**each, "name": _word(each["name"])} for each in grid[kind]]
    evidence = Evidence(folder, grid)
    for name in map(str, grid["cells"]):
        path = folder / name
        if not path.is_file():
            evidence.missing.append(name)
            continue
        try:
            facts = read_facts(path)
            place = _place(facts)
            evidence.files[place] = path
            # as `Condition.what` tells an attack from a corruption
            if str(facts.get("what")).startswith(PictureAttack.__name__):
                evidence.attacks.add(place.condition)
        except (ValueError, KeyError, TypeError) as error:
            evidence.notes.append(f"The predictions of {name} cannot be read: {_first_line(error)}")
    if (folder / METRICS_FILE).is_file():
        evidence.lines = _lines(read_metrics(folder).to_pylist())
    # a grid that has not ended has no table, or one of an earlier, smaller grid
    known = {line.place for line in evidence.lines}
    for place, path in evidence.files.items():
        if place not in known:
            try:
                evidence.lines += _lines(cell_lines(path))
            except (ValueError, KeyError, TypeError) as error:
                evidence.notes.append(f"{place} cannot be measured: {_first_line(error)}")
    order = {place: at for at, place in enumerate(evidence.files)}
    # lines of all roots together come last
    kept = (line for line in evidence.lines if line.place in order or line.place.root == EVERY_ROOT)
    evidence.lines = sorted(kept, key=lambda line: order.get(line.place, len(order)))
    return evidence


def read_cell(path: Path) -> Cell:
    """The predictions of a file that `dfd evaluate` wrote.

    Raises:
        ValueError: it is none, or damaged.
    """
    predictions, prob, verdict, facts = read_predictions(path)
    table = read_table(path)
    reason, key = (table[name].to_numpy(zero_copy_only=False).astype(str) for name in ("reason", "key"))
    more = [name for name in pq.read_schema(path).names if name not in SCHEMA.names]
    extra = {}
    if more:
        columns = pq.read_table(path, columns=more, partitioning=None)
        extra = {
            name: np.array(["" if each is None else str(each) for each in columns[name].to_pylist()])
            for name in more
        }
    try:
        calibrated, threshold = calibration_of(facts["calibration"]), float(facts["thresholds"]["balanced"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} says nothing of its calibration that dfd can read.") from error
    return Cell(predictions, prob, verdict, reason, key, extra, facts, calibrated, threshold)


def words_of(value: Any) -> str:
    """A value of grid.json in words."""
    if value in (None, "", [], {}):
        return "unknown"
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {words_of(each)}" for name, each in value.items())
    elif isinstance(value, list):
        text = ", ".join("none" if each is None else words_of(each) for each in value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 1000 else f"{text[:1000]}…"


def without_sources(value: Any) -> Any:
    """What a calibration rests on, without its counts by source, which `certified_words` tells."""
    if not isinstance(value, dict):
        return value
    return {name: each for name, each in value.items() if name != "sources"}


def certified_words(facts: Mapping[str, Any]) -> list[str]:
    """What the words of a detector are worth by its own validation, in sentences; none if it is not told.

    Args:
        facts: of a detector, of grid.json.
    """
    calibrated = facts.get("calibrated_on")
    try:
        return in_words(calibrated["sources"]) if isinstance(calibrated, dict) else []
    except (KeyError, TypeError, ValueError, AttributeError):  # a stranger's, or another version's
        return []


def _lines(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    lines = []
    for row in rows:
        part, kind = _word(row["part"]), _word(row["kind"])
        detector, root, condition = (_word(row[name]) for name in ("detector", "root", "condition"))
        place = Place(detector, root, condition, _severity(row["severity"]))
        lines.append(Line(place, part, kind, {name: row[name] for name in row if name not in NAMES}))
    return lines


def _place(facts: Mapping[str, Any]) -> Place:
    detector, root = facts["detector"]["name"], facts["root"]["name"]
    return Place(_word(detector), _word(root), _word(facts["condition"]), _severity(facts.get("severity")))


def _word(value: Any) -> str:
    """A stranger's name in one line, without commands to a terminal or letters that nobody sees."""
    return printable(str(value), keep="")


def _severity(value: Any) -> float | None:
    number = _number(value)
    return None if math.isnan(number) else number


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
