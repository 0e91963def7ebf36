"""Measured figures of each forensic tool: how often it errs on untouched pictures, and what it finds.

`dfd bench-forensics` makes measured.json beside this file; docs/results/forensics.md is its table in words. A
page prints a tool's own row beside its finding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("measured.json")
# untested: the benchmark's pictures hold nothing for it to look at. describes: it reports facts and never
# says "found", so there is nothing to measure
Trust = Literal["localises", "detects", "weak", "none", "untested", "describes"]


@dataclass(frozen=True)
class Figure:
    """One measured number with its 95% interval, from a bootstrap that draws whole families.

    A rate of 0 or 1 resamples to itself: its interval is the exact one (Clopper and Pearson, 1934) of as many
    independent pictures as there are families.
    """

    value: float
    low: float
    high: float
    num_images: int
    num_families: int


# set of pictures, or set/kind of edit -> condition -> figure. A condition is how the pictures were saved:
# as_found, matched (both classes with one size and one JPEG quality), png, jpeg90, jpeg75
BySet = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True)
class Measured:
    """What the benchmark found of one tool.

    Args:
        tool: its name.
        version: of the tool that was measured.
        trust: the best that it has shown on pictures saved well, by the rule of
            `dfd.evaluate.forensic_benchmark.trust`, and
        trust_jpeg75: after they were saved once more as JPEG 75.
        trusted_on: kinds of edits and sets on which it showed `trust`, and
        trusted_on_jpeg75: `trust_jpeg75`.
        false_alarm_rate: share of untouched camera photographs on which it says "found"; None where none was
            measured.
        coverage: share of these on which it gives an answer, instead of abstaining.
        false_alarms: the same rate by set and condition, of the untouched pictures of each.
        hit_rate: share of the edited pictures, or fakes, on which it says "found".
        auroc: of its score, edited against untouched.
        pixel_auc: of its map against the mask of the edit, the mean over the pictures.
        seconds: of one core that it takes for a picture of the benchmark, the mean.
    """

    tool: str
    version: int
    trust: Trust
    trust_jpeg75: Trust
    trusted_on: tuple[str, ...] = ()
    trusted_on_jpeg75: tuple[str, ...] = ()
    false_alarm_rate: Figure | None = None
    coverage: Figure | None = None
    false_alarms: BySet = field(default_factory=dict)
    hit_rate: BySet = field(default_factory=dict)
    auroc: BySet = field(default_factory=dict)
    pixel_auc: BySet = field(default_factory=dict)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """As measured.json has it: a figure is a list of its five numbers."""
        told: dict[str, Any] = {
            "version": self.version,
            "trust": self.trust,
            "trusted_on": list(self.trusted_on),
            "trust_jpeg75": self.trust_jpeg75,
            "trusted_on_jpeg75": list(self.trusted_on_jpeg75),
            "seconds": self.seconds,
        }
        for name in _FIGURES:
            figure = getattr(self, name)
            told[name] = None if figure is None else _listed(figure)
        for name in _BY_SET:
            told[name] = {
                where: {condition: _listed(figure) for condition, figure in row.items()}
                for where, row in getattr(self, name).items()
            }
        return told


_FIGURES = ("false_alarm_rate", "coverage")
_BY_SET = ("false_alarms", "hit_rate", "auroc", "pixel_auc")


def measured(tool: str, version: int | None = None) -> Measured | None:
    """What the benchmark found of a tool; None for one that was not measured.

    Args:
        version: of the tool that speaks: figures of another version are not its own, and None is given. By
            default any version's.
    """
    told = all_measured().get(tool)
    return None if told is None or version not in (None, told.version) else told


@lru_cache(maxsize=1)
def all_measured() -> Mapping[str, Measured]:
    """Every tool of measured.json by its name."""
    return read_measured(FILE)


def read_measured(path: Path) -> dict[str, Measured]:
    """The tools of a measured.json of `dfd bench-forensics`, by name.

    Raises:
        ValueError: it is no such file.
    """
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))["tools"]
        return {name: _measured(name, told) for name, told in tools.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a measured.json ({type(error).__name__}: {error}). `dfd bench-forensics --out "
            "FOLDER` makes one."
        ) from error


def _measured(name: str, told: Mapping[str, Any]) -> Measured:
    values = dict(told)
    for each in ("trusted_on", "trusted_on_jpeg75"):
        values[each] = tuple(values[each])
    for each in _FIGURES:
        values[each] = None if values[each] is None else _figure(values[each])
    for each in _BY_SET:
        values[each] = {
            where: {condition: _figure(figure) for condition, figure in row.items()}
            for where, row in values[each].items()
        }
    return Measured(name, **values)


def _listed(figure: Figure) -> list[float | None]:
    """NaN, which JSON does not know, as null."""
    ends = [None if math.isnan(end) else round(end, 4) for end in (figure.value, figure.low, figure.high)]
    return [*ends, figure.num_images, figure.num_families]


def _figure(told: list[Any]) -> Figure:
    value, low, high, num_images, num_families = told
    ends = [math.nan if end is None else float(end) for end in (value, low, high)]
    return Figure(*ends, int(num_images), int(num_families))
