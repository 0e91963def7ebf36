"""Balanced sampling: strata of the training split (roots, sources, labels), and how often each is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dfd.batch import LABELS
from dfd.shards.catalog import Catalog

BY = ("root", "source", "label")


@dataclass(frozen=True)
class Strata:
    """What an epoch shows: of each stratum, every row `weight` times."""

    names: tuple[str, ...]
    # (R,) stratum of each row of the training split; None where strata are roots, whose rows lie together
    of_row: np.ndarray | None
    counts: np.ndarray  # (S, 2): real and fake images
    weights: tuple[float, ...]

    def members(self, catalog: Catalog) -> list[np.ndarray | range]:
        """The positions of each stratum's rows in the training split."""
        if self.of_row is None:
            return [range(*each) for each in pairwise(catalog.bounds("train").tolist())]
        return [np.flatnonzero(self.of_row == number) for number in range(len(self.names))]

    def shown(self) -> tuple[float, float]:
        """Real and fake images of an epoch."""
        real, fake = np.dot(self.weights, self.counts)
        return float(real), float(fake)


def parse_balance(balance: str | Sequence[str] | None) -> tuple[str, ...]:
    """What strata are told apart by, of "source,label" or ["source", "label"].

    Raises:
        ValueError: a word is none of root, source and label, or comes twice.
    """
    words = balance.split(",") if isinstance(balance, str) else list(balance or [])
    words = tuple(word.strip() for word in words)
    if unknown := [word for word in words if word not in BY]:
        raise ValueError(
            f"data.balance={balance!r} names {unknown[0]!r}. Balance by {', '.join(BY)} or several of them: "
            "--data.balance source,label"
        )
    if len(set(words)) < len(words):
        raise ValueError(f"data.balance={balance!r} names the same thing twice.")
    return words


def strata_of(catalog: Catalog, roots: Mapping[str, float], by: tuple[str, ...]) -> Strata:
    """The strata of the training split. Balanced, an epoch shows as many images of each as of every other,
    and in all as many as there are; without `by` each root as often as its weight says.

    Raises:
        ValueError: roots have weights, and `by` does not tell roots apart.
    """
    held = catalog.images_of("train")
    if not by or by == ("root",):
        sizes = held.sum(1)
        share = sizes.sum() / max(1, np.count_nonzero(sizes))
        weights = [
            weight * share / size if by and size else weight
            for weight, size in zip(roots.values(), sizes.tolist(), strict=True)
        ]
        return Strata(tuple(roots), None, held, tuple(weights))
    if "root" not in by and set(roots.values()) != {1.0}:
        raise ValueError(
            f"data.roots has weights, and data.balance={','.join(by)} decides how often each picture is "
            f"shown. Leave the weights out, or balance roots too: --data.balance root,{','.join(by)}"
        )
    rows = catalog.rows["train"]
    label, root = catalog.contents.label[rows], catalog.contents.root[rows]
    columns = {"root": np.array(list(roots))[root], "label": np.array(LABELS)[label]}
    if "source" in by:
        columns["source"] = catalog.describe(rows)["source"]
    numbers = np.zeros(len(rows), np.int64)
    for name in by:
        values, number = np.unique(columns[name], return_inverse=True)
        numbers = numbers * len(values) + number
    _, first, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    names = tuple(" ".join(str(columns[name][at]) for name in by) for at in first)
    counts = np.bincount(2 * numbers + label, minlength=2 * len(names)).reshape(-1, 2)
    weight = np.array(list(roots.values()))[root[first]] if "root" in by else np.ones(len(names))
    weights = weight * len(rows) / (len(names) * counts.sum(1))
    return Strata(names, numbers, counts, tuple(weights.tolist()))
