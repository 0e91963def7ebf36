"""Conditions of an evaluation: what happens to a picture before it is judged, from a YAML file.

    conditions:
      - {name: pgd, attack: pgd, steps: 10, eps: [1, 2, 4, 8]}
      - {name: jpeg, corruption: jpeg, severities: [80, 60, 40]}
      - {name: delivery, corruption: delivery}

Clean pictures are always judged too, as the condition "clean": every other figure is read against them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.augment import Corruption
from dfd.augment.corruption import CORRUPTIONS
from dfd.evaluate.attack_conditions import SETTINGS, PictureAttack, parse_attack, shown
from dfd.evaluate.names import NAME
from dfd.resources import config_named, shipped
from dfd.terminal import printable
from dfd.text_files import read_yaml

CLEAN = "clean"
QUICK = "conditions/quick"  # judged where no file is named
MOST = 1000  # conditions of a file: more is a slip
# what makes a condition, and what it may say beside; an attack's keys are its own matter
_KEYS = {"clean": (), "corruption": ("severities",), "attack": ()}


@dataclass(frozen=True)
class Condition:
    """One column of the grid, at one severity.

    Args:
        name: as tables call it.
        severity: in the corruption's own unit; NaN where there is none.
        corruption: what every picture goes through, whatever its class, before it is cut; None for nothing.
        attack: how some of the pictures are changed so that the net gets them wrong; None for no attack.
    """

    name: str
    severity: float = math.nan
    corruption: Corruption | None = None
    attack: PictureAttack | None = None

    @property
    def title(self) -> str:
        """ "jpeg@60", as cells are called; "clean"."""
        return self.name if math.isnan(self.severity) else f"{self.name}@{self.severity:g}"

    @property
    def what(self) -> str:
        """What is done, whatever the condition is called: two conditions of the same words are the same."""
        if self.attack:
            return repr(self.attack)
        return repr(self.corruption) if self.corruption else "nothing"


def load_conditions(file: str | Path | None = None) -> list[Condition]:
    """The conditions of a file, with the clean pictures first.

    Args:
        file: YAML by path, or by name among those that dfd ships: conditions/corruptions; None for
            conditions/quick.

    Raises:
        ValueError: there is no such file, or what is wrong with it and what is known.
    """
    path = config_named(str(file or QUICK))
    if path is None:
        own = sorted(f"conditions/{each.stem}" for each in (shipped("configs") / "conditions").glob("*.yaml"))
        raise ValueError(
            f"there is no conditions file {str(file)!r}, here or among dfd's own: {', '.join(own)}."
        )
    try:
        return parse_conditions(read_yaml(path))
    except ValueError as error:
        raise ValueError(printable(str(error) if str(path) in str(error) else f"{path}: {error}")) from error


def parse_conditions(told: Any) -> list[Condition]:
    """The conditions in what YAML holds; ValueError as in `load_conditions`."""
    example = "`conditions: [{name: jpeg, corruption: jpeg, severities: [80, 40]}]`"
    if not isinstance(told, Mapping) or not isinstance(told.get("conditions"), list):
        raise ValueError(f"no list of conditions. Write {example}.")
    if unknown := [key for key in told if key != "conditions"]:
        raise ValueError(f"unknown key {shown(unknown[0])}. The only one is conditions: {example}.")
    found = [Condition(CLEAN)]
    for entry in told["conditions"]:
        found += [each for each in _parsed(entry) if each.title != CLEAN]
    if len(found) > MOST:
        raise ValueError(f"{len(found)} conditions, where at most {MOST} are judged.")
    titles: dict[str, Condition] = {}
    for each in found:
        if each.title in titles:
            raise ValueError(f"the condition {each.title} comes twice. Give one of them another name.")
        titles[each.title] = each
    return found


def _parsed(entry: Any) -> list[Condition]:
    """One entry of the list: a condition, or one for each of its severities."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"the condition {shown(entry)} has no names and values. Write {{name: ..., ...}}.")
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"a condition is called {shown(name)}. `name` takes up to 80 letters, digits, '.', '_' and '-', "
            "such as jpeg."
        )
    # a condition that bears a corruption's name needs no second word for it
    entry = {"corruption": name, **entry} if name in CORRUPTIONS and not _kinds(entry) else dict(entry)
    if name == CLEAN and not _kinds(entry):
        entry["clean"] = True
    kinds = _kinds(entry)
    if name == CLEAN and kinds != ["clean"]:
        raise ValueError(
            f"the condition {CLEAN} names {' and '.join(kinds)}, and {CLEAN} are the pictures as found. "
            "Give what is damaged another name."
        )
    if len(kinds) != 1:
        raise ValueError(
            f"the condition {name} names {' and '.join(kinds) if kinds else 'nothing to be done'}. Give one "
            f"of corruption: {', '.join(CORRUPTIONS)}; or of attack: {', '.join(SETTINGS)}."
        )
    if kinds[0] == "attack":
        return [Condition(name, each.eps, attack=each) for each in parse_attack(name, entry)]
    known = ("name", kinds[0], *_KEYS[kinds[0]])
    if unknown := [key for key in entry if key not in known]:
        raise ValueError(
            f"the condition {name} has the unknown key {shown(unknown[0])}. It takes {', '.join(known)}."
        )
    if kinds[0] == "clean":
        return [Condition(CLEAN)]
    return _corruptions(name, entry)


def _kinds(entry: Mapping[str, Any]) -> list[str]:
    return [kind for kind in _KEYS if kind in entry]


def _corruptions(name: str, entry: Mapping[str, Any]) -> list[Condition]:
    kind = entry["corruption"]
    if not isinstance(kind, str) or kind not in CORRUPTIONS:
        raise ValueError(
            f"the condition {name} has the unknown corruption {shown(kind)}. Known are "
            f"{', '.join(CORRUPTIONS)}."
        )
    severities = entry.get("severities", list(CORRUPTIONS[kind].severities))
    severities = severities if isinstance(severities, list) else [severities]
    if not severities or not all(type(each) in (int, float) and math.isfinite(each) for each in severities):
        raise ValueError(
            f"the condition {name} has severities {shown(entry.get('severities'))}, where a list of numbers "
            f"was expected, each {CORRUPTIONS[kind].meaning}: {list(CORRUPTIONS[kind].severities)}."
        )
    try:
        return [Condition(name, float(each), Corruption(kind, each)) for each in severities]
    except ValueError as error:
        raise ValueError(f"the condition {name}: {error}") from error
