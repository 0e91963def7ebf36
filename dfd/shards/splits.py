"""Families and splits: train, val and test without a person, a video or a photo in two of them.

Pictures that share an identity (a person, a video, the same bytes, or nearly the same look) form a family,
and a family belongs to one split: a detector that saw a face in training is not tested on it. A face swap
carries two identities and so joins two families.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

from dfd.batch import FAKE, LABELS, REAL

SPLITS = ("train", "val", "test")
_UPPER = (0.8, 0.9, 1.0)


class UnionFind:
    """Disjoint sets of anything hashable, with path halving."""

    def __init__(self) -> None:
        self.parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        parent = self.parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    def join(self, one: Hashable, other: Hashable) -> None:
        one, other = self.find(one), self.find(other)
        if one != other:
            # the smallest name leads, so that the order of rows cannot matter
            self.parent[max(one, other)] = min(one, other)


def families(
    groups: Sequence[Sequence[str]], sha256: Sequence[str], near: Iterable[tuple[int, int]] = ()
) -> list[str]:
    """The family of each picture, named after its smallest group, or after its bytes where no member has a
    group.

    Args:
        groups: the identities that each picture carries; equal names mean the same identity.
        sha256: of each picture's bytes: exact copies are one identity too.
        near: pairs of rows that are near duplicates.
    """
    sets = UnionFind()
    identities = [
        [(0, group) for group in mine] + [(1, digest)] for mine, digest in zip(groups, sha256, strict=True)
    ]
    for first, *others in identities:
        for other in others:
            sets.join(first, other)
    for one, other in near:
        sets.join((1, sha256[one]), (1, sha256[other]))
    return [sets.find(first)[1] for first, *_ in identities]


def _draw(family: str) -> float:
    """In [0, 1), by the family's name alone."""
    return int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big") / 2**64


def hashed_split(family: str) -> str:
    """80/10/10 by the family's name alone: added data moves no other family."""
    draw = _draw(family)
    return next(split for split, upper in zip(SPLITS, _UPPER, strict=True) if draw < upper)


def assign_splits(family: Sequence[str], official: Sequence[str | None]) -> list[str]:
    """A split for each picture: the official one where there is one, else its family's.

    A picture without an official split follows the members of its family that have one (train before val
    before test, should they disagree).
    """
    home: dict[str, str] = {}
    for name, split in zip(family, official, strict=True):
        if split is not None:
            home[name] = min(split, home.get(name, split), key=SPLITS.index)
    return [
        split or home.get(name) or hashed_split(name) for name, split in zip(family, official, strict=True)
    ]


def draw_val(family: Sequence[str], split: Sequence[str]) -> list[str]:
    """The same splits, but the tenth of the training families whose hash says val goes there."""
    return [
        "val" if home == "train" and hashed_split(name) == "val" else home
        for name, home in zip(family, split, strict=True)
    ]


class MovedFamily(NamedTuple):
    """A family that was moved to a split, which had no picture of a class otherwise."""

    family: str
    split: str  # where it is now
    label: str  # the class that was lacking: real or fake
    home: str  # the split that it left


def with_both_classes(
    family: Sequence[str], label: Sequence[int], split: Sequence[str], official: Sequence[str | None]
) -> tuple[list[str], list[MovedFamily]]:
    """The same splits, but with both classes in each split that the hash deals, if there are enough families.

    A missing class comes with the family whose hash is nearest to the split's range of hashes, from a split
    that keeps all its classes without it. So at most one family for each split and class is not where its
    hash says, none in a large set, and the result depends on the set alone. Official splits stay, except that
    training families may move to a val that is drawn from them, and back.

    Args:
        family, label, split, official: of each picture; `split` as `assign_splits` and `draw_val` have it.
    """
    origin = splits_from(official)
    dealt = [name for name in SPLITS if origin[name] in ("hash", "train")]
    # families in each split, by class
    held = Counter((home, mine) for _, home, mine in set(zip(family, split, label, strict=True)))
    if all(held[home, mine] for home in dealt for mine in (REAL, FAKE)):
        return list(split), []
    classes, homes, stated = defaultdict(set), defaultdict(set), defaultdict(set)
    for name, mine, home, told in zip(family, label, split, official, strict=True):
        classes[name].add(mine)
        homes[name].add(home)
        stated[name] |= {told} - {None}
    # families that official splits divide stay divided
    home_of = {name: next(iter(splits)) for name, splits in homes.items() if len(splits) == 1}
    moved_families: dict[str, MovedFamily] = {}

    def may_go(name: str, to: str) -> bool:
        drawn = origin["val"] == "train" and stated[name] == {"train"}
        within = ("train", "val") if drawn else () if stated[name] else SPLITS
        here = home_of[name]
        return (
            here != to
            and here in within
            and to in within
            and all(held[here, mine] > 1 for mine in classes[name])
        )

    for to, mine in product(dealt, (REAL, FAKE)):
        fitting = [
            name
            for name in home_of
            if mine in classes[name] and name not in moved_families and may_go(name, to)
        ]
        if held[to, mine] or not fitting:
            continue
        name = min((_distance(name, to), name) for name in fitting)[1]
        moved_families[name] = MovedFamily(name, to, LABELS[mine], home_of[name])
        held.subtract((home_of[name], one) for one in classes[name])
        held.update((to, one) for one in classes[name])
    return [
        moved_families[name].split if name in moved_families else home
        for name, home in zip(family, split, strict=True)
    ], [*moved_families.values()]


def _distance(family: str, split: str) -> float:
    """From a family's hash to the split's range of hashes, around the circle."""
    draw, at = _draw(family), SPLITS.index(split)
    lower, upper = (0.0, *_UPPER)[at], _UPPER[at]
    return 0.0 if lower <= draw < upper else min((lower - draw) % 1, (draw - upper) % 1)


def splits_from(official: Sequence[str | None]) -> dict[str, str]:
    """Where each split's pictures come from: "source", which states them; "train", whose tenth `draw_val`
    takes; "hash"; "".
    """
    stated = set(official)

    def origin(split: str) -> str:
        if split in stated:
            return "source"
        if split == "val" and "train" in stated:
            return "train"
        return "hash" if None in stated else ""

    return {split: origin(split) for split in SPLITS}


def crossing_families(family: Sequence[str], split: Sequence[str]) -> dict[str, set[str]]:
    """The families with members in more than one split, and those splits."""
    homes: dict[str, set[str]] = {}
    for name, home in zip(family, split, strict=True):
        homes.setdefault(name, set()).add(home)
    return {name: splits for name, splits in homes.items() if len(splits) > 1}
