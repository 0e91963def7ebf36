"""Signs that an attack failed, and not that a detector is robust: masked gradients.

A net whose gradients say nothing (rounding, saturation, randomness in its front) looks robust to FGSM and PGD
and falls to whoever does without gradients. After Athalye, Carlini and Wagner, "Obfuscated gradients give a
false sense of security", ICML 2018, and Carlini et al., "On evaluating adversarial robustness",
arXiv:1902.06705: a larger budget or a stronger attack must not leave the detector better off, a black-box
attack must not do more harm than a white-box one, and an attack with a large budget must do some.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dfd.evaluate.attack_conditions import PictureAttack

MEASURES = ("auroc", "acc")
SLACK = 0.02  # of a measure: random starts make two runs of one attack differ by so much
LARGE = 4.0  # 255ths: a budget at which an attack that changes nothing has failed
FLAT = 0.01  # share of pictures whose gradient may be exactly zero
FLAG = "masked_gradients"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Masking:
    """One sign of masked gradients. `cells` are (condition, severity) of the figures that it makes worthless:
    those that overstate the detector.
    """

    detector: str
    root: str
    cells: tuple[tuple[str, float], ...]
    why: str

    def __str__(self) -> str:
        return f"{self.detector} on {self.root}: gradients are masked: {self.why}"


def find_masking(
    rows: Iterable[Row],
    attacks: Mapping[tuple[str, float], PictureAttack],
    flat: Mapping[tuple[str, str, str, float], float] | None = None,
) -> list[Masking]:
    """The signs in a tidy table, one for each thing that must not be.

    Args:
        rows: of the tidy table, for all pictures of a root: detector, root, condition, severity, num_real,
            num_fake, auroc and acc; rows of other conditions and the clean one may be among them.
        attacks: by condition and severity.
        flat: by detector, root, condition and severity the share of pictures in which the gradient was
            exactly zero, where that is known.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["detector"], row["root"]].append(row)
    found = []
    for (detector, root), members in groups.items():
        cells = [_Cell(row, attacks[key]) for row in members if (key := _key(row)) in attacks]
        clean = next((row for row in members if row["condition"] == "clean"), None)
        for cell in cells:
            share = (flat or {}).get((detector, root, *cell.key), 0.0)
            if share > FLAT:
                why = f"the gradient is exactly zero in {share:.0%} of the pictures ({cell})"
                found.append(Masking(detector, root, (cell.key,), why))
        signs = [*_budgets(cells), *_strengths(cells), *_black_boxes(cells), *_without_effect(cells, clean)]
        found += [Masking(detector, root, *sign) for sign in signs]
    return found


def masking_of(lines: Iterable[Row], facts: Iterable[Mapping[str, Any]]) -> list[Masking]:
    """The signs in a tidy table.

    Args:
        lines: of the whole table.
        facts: of its cells; those of attacked ones have `attack` and `zero_gradients`.
    """
    attacked = [each for each in facts if each.get("attack")]
    attacks = {(each["condition"], each["severity"]): PictureAttack(**each["attack"]) for each in attacked}
    flat = {
        (each["detector"]["name"], each["root"]["name"], each["condition"], each["severity"]): float(
            each["zero_gradients"]
        )
        for each in attacked
    }
    return find_masking((line for line in lines if _whole(line)), attacks, flat)


def mark_masking(lines: Sequence[dict[str, Any]], facts: Iterable[Mapping[str, Any]]) -> None:
    """Adds the word of `FLAGS` to the lines that signs of masked gradients make worthless; see
    `masking_of`.
    """
    for sign in masking_of(lines, facts):
        for line in lines:
            if (line["detector"], line["root"]) == (sign.detector, sign.root) and _key(line) in sign.cells:
                line["flags"] = " ".join(sorted({*line["flags"].split(), FLAG}))


def _whole(line: Row) -> bool:
    return (line["part"], line["kind"]) == ("all", "image")


class _Cell:
    """A row of the table with its attack."""

    def __init__(self, row: Row, attack: PictureAttack):
        self.row, self.attack, self.key = row, attack, _key(row)

    def __str__(self) -> str:
        return f"{self.row['condition']} at {self.attack.eps:g}/255"

    def worse_for_attacker(self, other: Row) -> str:
        """By which measure this attack left the detector better off than `other` did, in words; "" for
        none.
        """
        # the toolbox's attacks leave alone what they cannot turn or have turned, so the ranks say little
        for name in MEASURES if self.attack.kind in ("fgsm", "pgd") else ("acc",):
            mine, theirs = float(self.row[name]), float(other[name])
            if mine > theirs + _slack(self.row):
                return f"{name} {mine:.3f} against {theirs:.3f}"
        return ""


Sign = tuple[tuple[tuple[str, float], ...], str]


def _budgets(cells: list[_Cell]) -> Iterator[Sign]:
    """A larger budget of one attack must not do less."""
    for curve in _grouped(cells, lambda cell: cell.row["condition"]):
        for small, large in pairwise(sorted(curve, key=lambda cell: cell.attack.eps)):
            if words := large.worse_for_attacker(small.row):
                yield (large.key,), f"{large} does less harm than {small} ({words})"


def _strengths(cells: list[_Cell]) -> Iterator[Sign]:
    """A stronger attack with the same budget must not do less."""
    # within one level, rounding undoes what more steps gain: FGSM may well be the stronger there
    ours = [
        cell for cell in cells if cell.attack.white_box and cell.attack.kind != "apgd" and cell.attack.eps > 1
    ]
    for equals in _grouped(ours, lambda cell: cell.attack.eps):
        for weak, strong in pairwise(sorted(equals, key=lambda cell: cell.attack.strength)):
            words = strong.worse_for_attacker(weak.row)
            if words and weak.attack.strength < strong.attack.strength:
                yield (strong.key,), f"{strong} does less harm than the weaker {weak} ({words})"


def _black_boxes(cells: list[_Cell]) -> Iterator[Sign]:
    """Who does not see the gradients must not do more harm than who does."""
    for equals in _grouped(cells, lambda cell: cell.attack.eps):
        white = [cell for cell in equals if cell.attack.white_box]
        for black in (cell for cell in equals if not cell.attack.white_box):
            words = [cell.worse_for_attacker(black.row) for cell in white]
            # the best of the white ones counts
            if words and all(words):
                yield (
                    tuple(cell.key for cell in white),
                    f"{black}, which does not follow this net's gradients, does more harm than "
                    f"{', '.join(map(str, white))}, which do ({words[-1]})",
                )


def _without_effect(cells: list[_Cell], clean: Row | None) -> Iterator[Sign]:
    """A large budget must do some harm."""
    if clean is None:
        return
    for cell in cells:
        if not cell.attack.white_box or cell.attack.eps < LARGE:
            continue
        # attacked are some of the pictures, clean are all of them
        unharmed = [float(cell.row[name]) >= float(clean[name]) - _slack(cell.row) for name in MEASURES]
        # pictures so few that chance may take half of what is above guessing show neither harm nor its lack
        enough = 2 * _slack(cell.row) <= float(clean[MEASURES[0]]) - 0.5
        if all(unharmed) and enough:
            yield (cell.key,), f"{cell} does no harm at all ({MEASURES[0]} {float(cell.row['auroc']):.3f})"


def _grouped(cells: list[_Cell], key: Callable[[_Cell], Any]) -> Iterable[list[_Cell]]:
    groups: dict[Any, list[_Cell]] = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    return groups.values()


def _slack(row: Row) -> float:
    """What chance may do to a measure: two pictures of the smaller class, at least SLACK."""
    smaller = min(int(row["num_real"]), int(row["num_fake"]))
    return max(SLACK, 2 / smaller) if smaller else math.inf


def _key(row: Row) -> tuple[str, float]:
    return str(row["condition"]), float(row["severity"])
