"""YAML schema of a sweep, which is W&B's (docs.wandb.ai, "Define a sweep configuration"): `wandb sweep` takes
the same file.

What only W&B's server knows is refused by name, so that no sweep means one thing there and another here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfd.sweep.space import Choice, Range, Scalar, Sweep
from dfd.text_files import read_yaml

METHODS, GOALS = ("grid", "random", "bayes"), ("minimize", "maximize")
DISTRIBUTIONS = {  # and the keys that each takes
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform": ("min", "max"),  # the exponents of e
    "log_uniform_values": ("min", "max"),
}
KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap")
FOR_WANDB_ALONE = ("apiVersion", "kind", "name", "description", "project", "entity")  # which change no trial
COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
# metrics of which more is better; a part of their name
HIGHER = {"auroc", "ap", "acc", "balanced_acc", "precision", "recall", "f1", "tpr", "auc", "accuracy"}
HIGHER |= {"robust_acc", "clean_acc", "images_per_second"}
LARGEST = 1 << 53  # whole numbers up to it are floats without loss
POINTS = 1_000_000  # of a grid: more is a slip


def load_sweep(path: Path) -> Sweep:
    """The sweep in a file.

    Raises:
        ValueError: it is no YAML of this schema, or uses a part of it that only W&B's server knows.
    """
    told = read_yaml(path)
    try:
        return parse_sweep(told)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_sweep(told: Any) -> Sweep:
    """The sweep in what YAML holds; ValueError as in `load_sweep`."""
    _check_keys("", told, KEYS + FOR_WANDB_ALONE, "method", "metric", "parameters")
    _check_keys("metric", told["metric"], ("name", "goal"), "name")
    if str(told["metric"]["name"]).startswith("test/"):
        raise ValueError(
            f"metric.name is {told['metric']['name']}: a study that chooses on test pictures leaves none to "
            "judge its choice. Take val/auroc."
        )
    _check_keys("parameters", told["parameters"], None)
    given = {name: _read(f"parameters.{name}", parameter) for name, parameter in told["parameters"].items()}
    sweep = Sweep(
        _one_of("method", told["method"], METHODS),
        str(told["metric"]["name"]),
        _goal(told["metric"]) == "maximize",
        tuple(map(str, told.get("command", COMMAND))),
        str(told.get("program", "")),
        {name: value for name, value in given.items() if not isinstance(value, (Choice, Range))},
        {name: value for name, value in given.items() if isinstance(value, (Choice, Range))},
        _rungs(told.get("early_terminate")),
        told.get("run_cap"),
    )
    _check(sweep)
    return sweep


def _goal(metric: Mapping[str, Any]) -> str:
    """minimize or maximize; where the file leaves it out W&B's default, unless that looks for the worst."""
    if "goal" in metric:
        return _one_of("metric.goal", metric["goal"], GOALS)
    name = str(metric["name"])
    if HIGHER & set(re.split(r"[/@]", name)):
        raise ValueError(
            f"metric.goal is missing, and its default, minimize, would look for the worst {name}. Write "
            f"metric: {{name: {name}, goal: maximize}}."
        )
    return "minimize"


def _check(sweep: Sweep) -> None:
    """What does not go together, or would never work."""
    macros = {found for part in sweep.command for found in re.findall(r"\$\{.*?\}", part)}
    if unknown := [macro for macro in macros if macro not in COMMAND or macro not in sweep.command]:
        raise ValueError(f"command: {unknown[0]} is not one of {', '.join(COMMAND)}, each a word of its own.")
    if "${args}" not in macros:
        raise ValueError("command: it has no ${args}, so that no parameter would reach the trial.")
    if "${program}" in macros and not sweep.program:
        raise ValueError(
            "program: it is missing, and the command names ${program}. For dfd's trainings: program: dfd."
        )
    if sweep.cap is not None and not (_is_whole(sweep.cap) and sweep.cap > 0):
        raise ValueError(f"run_cap: {sweep.cap!r} is no number of trials.")
    if not sweep.space:
        raise ValueError("parameters: nothing is varied. Give one of them values, or min and max.")
    if sweep.method == "grid":
        for name, domain in sweep.space.items():
            if isinstance(domain, Range) and domain.step is None:
                raise ValueError(f"parameters.{name}: a grid needs values, int_uniform or q_uniform.")
        if (points := sweep.points) > POINTS:
            number = points if points < 10**15 else "more than 10^15"
            raise ValueError(
                f"parameters: this grid has {number} points, {POINTS} may be. Take method: random, or fewer "
                "values."
            )


def _read(where: str, given: Any) -> Choice | Range | Scalar:
    """A parameter: what it may be, or its one value."""
    if isinstance(given, Mapping) and "parameters" in given:
        raise ValueError(
            f"{where}: nested parameters make no options. Write dfd's short keys, such as model.optimizer.lr."
        )
    _check_keys(
        where, given, ("distribution", *dict.fromkeys(key for keys in DISTRIBUTIONS.values() for key in keys))
    )
    kind = _one_of(
        f"{where}.distribution", given.get("distribution") or _kind(where, given), tuple(DISTRIBUTIONS)
    )
    needed = DISTRIBUTIONS[kind]
    _check_keys(where, given, ("distribution", *needed), *(key for key in needed if key != "q"))
    if kind == "constant":
        return _scalar(f"{where}.value", given["value"])
    if kind == "categorical":
        if not isinstance(given["values"], list) or not given["values"]:
            raise ValueError(f"{where}.values: {given['values']!r} is no list of values.")
        values = tuple(_scalar(f"{where}.values", value) for value in given["values"])
        if min(len(set(values)), len(set(map(str, values)))) < len(values):
            raise ValueError(f"{where}.values: one of them is there twice.")
        return Choice(values)
    return _range(where, kind, *(_number(f"{where}.{key}", given.get(key, 1)) for key in ("min", "max", "q")))


def _range(where: str, kind: str, low: float, high: float, step: float) -> Range:
    if kind == "log_uniform":
        if max(abs(low), abs(high)) > 700:
            raise ValueError(
                f"{where}: min and max are exponents of e, and {low} or {high} leaves all floats."
            )
        low, high = math.exp(low), math.exp(high)
    if not low < high:
        raise ValueError(f"{where}: min {low} is not below max {high}.")
    if kind.startswith("log") and low <= 0:
        raise ValueError(f"{where}: min {low} has no logarithm. Use one above 0.")
    if kind == "int_uniform":
        if not (_is_whole(low) and _is_whole(high)):
            raise ValueError(f"{where}: int_uniform needs whole numbers, not {low} and {high}.")
        return Range(low, high, step=1)
    if kind == "q_uniform":
        if step <= 0:
            raise ValueError(f"{where}.q: {step} is not above 0.")
        # the multiples of q, as W&B has them; a hair's breadth, since 0.3 / 0.1 is below 3
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if first >= last:
            raise ValueError(f"{where}: between {low} and {high} lie fewer than two multiples of q, {step}.")
        return Range(round(first * step, 12), round(last * step, 12), step=step)
    return Range(float(low), float(high), log=kind.startswith("log"))


def _kind(where: str, given: Mapping[str, Any]) -> str:
    """The distribution that W&B takes for what names none."""
    if "value" in given or "values" in given:
        return "constant" if "value" in given else "categorical"
    if not {"min", "max"} <= given.keys():
        raise ValueError(f"{where}: it needs value, values, or min and max.")
    kinds = {_is_whole(_number(f"{where}.{key}", given[key])) for key in ("min", "max")}
    if len(kinds) > 1:
        raise ValueError(
            f"{where}: one of min and max is a whole number. Write both so, 1 and 9, or none, 1.0 and 9.0."
        )
    return "int_uniform" if kinds == {True} else "uniform"


def _rungs(told: Any) -> tuple[int, int] | None:
    """Where W&B's "hyperband" judges: it is one ladder of asynchronous successive halving (Li et al.,
    arXiv:1810.05934).
    """
    if told is None:
        return None
    where = "early_terminate"
    _check_keys(where, told, ("type", "min_iter", "max_iter", "eta", "s"), "type")
    _one_of(f"{where}.type", told["type"], ("hyperband",))
    numbers = {key: _number(f"{where}.{key}", value) for key, value in told.items() if key != "type"}
    eta = numbers.get("eta", 3)
    if not (_is_whole(eta) and eta >= 2):
        raise ValueError(f"{where}.eta: {eta} is no whole number from 2 on: one in eta trials goes on.")
    if {"max_iter", "s"} <= numbers.keys():
        rungs = [int(numbers["max_iter"] / eta**back) for back in range(1, int(numbers["s"]) + 1)]
        first = min((rung for rung in rungs if rung >= 1), default=0)
    elif "min_iter" in numbers:
        first = int(numbers["min_iter"])
    else:
        raise ValueError(f"{where}: it needs min_iter, or max_iter and s.")
    if first < 1:
        raise ValueError(f"{where}: no trial would ever be judged. Use min_iter: 1 or more.")
    return first, eta


def _check_keys(where: str, told: Any, known: Sequence[str] | None, *needed: str) -> None:
    at = f"{where}: " if where else ""
    if not isinstance(told, Mapping) or not told:
        raise ValueError(f"{at}it should hold `key: value`, not {told!r}.")
    if known is not None and (unknown := [str(key) for key in told if key not in known]):
        raise ValueError(f"{at}dfd sweep does not know {', '.join(unknown)}. It knows {', '.join(known)}.")
    if missing := [key for key in needed if key not in told]:
        raise ValueError(f"{at}{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")


def _one_of(where: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{where}: dfd sweep does not know {value!r}. It knows {', '.join(known)}.")
    return value


def _scalar(where: str, value: Any) -> Scalar:
    """A value as Optuna keeps it; a list as the text that it becomes on a command line."""
    if value is None or (isinstance(value, list) and None in value):
        raise ValueError(
            f"{where}: null would reach the trial as the word None. Vary it in configs, one a sweep."
        )
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{where}: {number} is no number that a trial could be told. Leave it out.")
        if isinstance(number, int) and abs(number) > LARGEST:
            raise ValueError(f"{where}: a whole number beyond 2^53 is not kept exactly. Use a smaller one.")
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list) and all(isinstance(each, (bool, int, float, str)) for each in value):
        return str(value)
    raise ValueError(f"{where}: {value!r} is neither a number, a word, a truth value nor a list of them.")


def _number(where: str, value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value):
        raise ValueError(
            f"{where}: YAML takes {value} for a word. Write {value.lower().replace('e', '.0e')}."
        )
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{where}: a whole number beyond 2^53 is not kept exactly. Use a smaller one.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where}: {value!r} is no number.")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
