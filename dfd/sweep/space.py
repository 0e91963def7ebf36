"""Search space of a sweep: its parameters, their values, and the command of a trial."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

Scalar: TypeAlias = "bool | int | float | str"


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[Scalar, ...]

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: with `step` every step-th of them, whole ones where step
    is.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def count(self) -> int:
        """How many there are, where there is a step; none of them is made."""
        assert self.step is not None
        if isinstance(self.step, int):
            return int(self.high - self.low) // self.step + 1  # exact, however long the numbers
        return round((self.high - self.low) / self.step) + 1

    @cached_property
    def values(self) -> tuple[Scalar, ...]:
        """Each of them, where there is a step."""
        return tuple(self.tidy(self.low + at * self.step) for at in range(self.count))

    def tidy(self, value: float) -> float:
        """Without what binary fractions leave behind a step: 0.3 for 0.30000000000000004."""
        return round(value, 12) if isinstance(self.step, float) else value


@dataclass(frozen=True)
class Sweep:
    """What a sweep's YAML says.

    fixed: parameters with one value. rungs: how many values of the metric a trial has when it is first
    judged, and eta, by which that number grows from one judgement to the next; of those judged, one in eta
    goes on. cap: number of trials. names: of the run folders, by a trial's number; by default the number.
    """

    method: str  # grid, random or bayes
    metric: str
    maximize: bool
    command: tuple[str, ...]
    program: str
    fixed: Mapping[str, Scalar]
    space: Mapping[str, Choice | Range]
    rungs: tuple[int, int] | None
    cap: int | None
    names: tuple[str, ...] = ()

    @property
    def direction(self) -> str:
        """Which value of the metric is the best, in a word."""
        return "highest" if self.maximize else "lowest"

    @property
    def points(self) -> int | None:
        """How many trials a grid has, counted and not listed; None of what has no end."""
        return math.prod(domain.count for domain in self.space.values()) if self.method == "grid" else None

    def point(self, number: int) -> dict[str, Scalar]:
        """The grid's trial of that number, in W&B's order: the last parameter changes first."""
        chosen = {}
        for name, domain in reversed(self.space.items()):
            number, at = divmod(number, domain.count)
            chosen[name] = domain.values[at]
        return {name: chosen[name] for name in self.space}

    def trial_command(self, params: Mapping[str, Scalar], run_folder: Path) -> list[str]:
        """The command of one trial; --run_folder comes last among its arguments."""
        return self._filled(params, ["/usr/bin/env"], [f"--run_folder={run_folder}"])

    def shown_command(self, params: Mapping[str, Scalar]) -> str:
        """The same for people to copy: without ${env}, and into a run folder of its own."""
        return shlex.join(self._filled(params, [], []))

    def facts(self) -> dict[str, Any]:
        """What makes it this sweep and no other, as JSON holds it; the order of the parameters too."""
        told = {
            **asdict(self),
            "fixed": list(self.fixed.items()),
            "space": [[*each] for each in asdict(self)["space"].items()],
        }
        # a study of before there were names has none
        left_out = ("cap",) if self.names else ("cap", "names")
        return {name: _plain(value) for name, value in told.items() if name not in left_out}

    def folder_name(self, number: int) -> str:
        """What the run folder of a trial is called."""
        return self.names[number] if self.names else f"{number:06d}"

    def _filled(self, params: Mapping[str, Scalar], env: list[str], more: list[str]) -> list[str]:
        # str() and nothing better, for so W&B's agent writes values: True, 1e-05, [0.9, 0.99]
        arguments = [f"--{name}={value}" for name, value in {**self.fixed, **params}.items()]
        meant = {
            "${env}": env,
            "${interpreter}": ["python"],
            "${program}": [self.program],
            "${args}": [*arguments, *more],
        }
        return [word for part in self.command for word in meant.get(part, [part])]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
