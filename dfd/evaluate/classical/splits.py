"""Splits of a baseline: train to fit on, val to choose and calibrate by, test to judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfd.audit.shortcuts import whole_families
from dfd.batch import LABELS, Predictions
from dfd.data import ShardDataModule
from dfd.detector.card import TOY
from dfd.evaluate.classical.features import Described, Features
from dfd.evaluate.classical.models import FEWEST, MOST, Part
from dfd.evaluate.names import named, root_name
from dfd.evaluate.plan import NamedRoot
from dfd.shards.cue_table import CueNames
from dfd.shards.fetch import is_remote
from dfd.shards.table import read_index


@dataclass
class Splits:
    """The roots of a baseline, opened.

    Args:
        train, val: of the roots that it learns from.
        test: of these, and of those that are only judged.
    """

    train: list[NamedRoot]
    val: list[NamedRoot]
    test: list[NamedRoot]
    seen: dict[str, list[np.ndarray]] = field(default_factory=dict)  # fingerprints, by split

    @property
    def num_to_learn(self) -> int:
        return sum(len(root.rows) for root in (*self.train, *self.val))

    @property
    def title(self) -> str:
        """What it learns from, in a few words."""
        titles = list(dict.fromkeys(root.data.title for root in self.train))
        return TOY if titles == [TOY] else ", ".join(titles)

    def describe(
        self, features: Features, split: str, advance: Callable[[int], None]
    ) -> list[tuple[NamedRoot, Described]]:
        """The pictures of train or val of each root by their features."""
        return [(root, features.describe(root, advance)) for root in getattr(self, split)]

    def together(self, split: str, found: Sequence[tuple[NamedRoot, Described]]) -> tuple[Part, Predictions]:
        """Those pictures of all roots as one part, and as a table that has no logits yet.

        Raises:
            ValueError: none of them could be described.
        """
        self.seen[split] = [root.data.fingerprints(described.row) for root, described in found]
        values = [described.values for _, described in found if len(described.row)]
        if not values:
            raise ValueError(
                f"no picture of the {split} split can be decoded. `dfd audit` lists what is wrong."
            )
        facts = [_facts(root, described) for root, described in found]
        table = {name: np.concatenate([each[name] for each in facts]) for name in facts[0]}
        label = table.pop("label").astype(np.int64)
        part = Part(np.concatenate(values), label, table["family"])
        finite = np.isfinite(part.values).all(axis=1)
        predictions = Predictions.of(np.arange(len(label)), np.zeros(len(label)), label, table)
        return Part(*(column[finite] for column in part)), predictions.where(finite)


def open_splits(
    shards: Sequence[str],
    judged: Sequence[str],
    features: Features,
    *,
    batch_size: int = 32,
    workers: int = 2,
    both_classes: bool = True,
) -> Splits:
    """Opens finished shards for a baseline; of very large train splits some whole families.

    Args:
        shards: folders, or "NAME=FOLDER", to learn from.
        judged: further ones that are only judged.
        both_classes: whether train and val need pictures of both classes.

    Raises:
        ValueError: they have not what it takes; says what to do.
    """
    folders = named([*shards, *judged], "root", root_name)
    if not shards:
        raise ValueError("name at least one folder of finished shards to learn from.")
    learnt = dict(list(folders.items())[: len(shards)])
    for split in ("train", "val"):
        _check_split(learnt, split, both_classes)
    if features.of_table:
        _check_cues(folders)

    def opened(given: Mapping[str, str], split: str) -> list[NamedRoot]:
        return [
            NamedRoot(name, path, split, features.view, batch_size, workers, None)
            for name, path in given.items()
        ]

    splits = Splits(opened(learnt, "train"), opened(learnt, "val"), opened(folders, "test"))
    _keep_most(splits.train)
    return splits


def _check_split(roots: Mapping[str, str], split: str, both_classes: bool) -> None:
    counts = np.zeros(2, np.int64)
    for path in roots.values():
        data = ShardDataModule(path)
        data.open_catalog()
        counts += data.catalog.images_of(split).sum(0)
    least, names = (FEWEST if both_classes else 1), ", ".join(roots)
    if not counts.sum():
        raise ValueError(
            f"{names}: no picture in the {split} split. A baseline is fitted on train, chosen and calibrated "
            "on val, and judged on test: prepare the source again, or name shards that have all three."
        )
    if both_classes and counts.min() < least:
        lacking = LABELS[int(counts.argmin())]
        raise ValueError(
            f"{names}: the {split} split has {counts[0]} real and {counts[1]} fake pictures, and a baseline "
            f"needs {least} of each. Add a root that has {lacking} ones."
        )


def _check_cues(roots: Mapping[str, str]) -> None:
    """ValueError where a root has no cues, or those of another version of dfd."""
    known: dict[CueNames, str] = {}
    for path in roots.values():
        if is_remote(path):
            raise ValueError(
                f"{path}: cues are read on this disk alone. Copy the shards, then `dfd cues COPY`."
            )
        names = CueNames.of(read_index(Path(path)))
        if names is None:
            raise ValueError(f"{path} has no cues. `dfd cues {path}` adds them.")
        known.setdefault(names, path)
    if len(known) > 1:
        first, other = list(known.values())[:2]
        raise ValueError(
            f"{first} and {other} have cues of two versions of dfd, which do not compare. Prepare one of "
            "them again."
        )


def _keep_most(roots: Sequence[NamedRoot]) -> None:
    """Whole families of all roots together, at most MOST pictures."""
    families = [root.data.describe(root.rows)["family"] for root in roots]
    every = np.concatenate([family_of(root, each) for root, each in zip(roots, families, strict=True)])
    kept = whole_families(every, np.random.default_rng(0), MOST)
    if len(kept) == len(every):
        return
    ends = np.cumsum([len(each) for each in families])
    for root, start, end in zip(roots, [0, *ends[:-1]], ends, strict=True):
        mine = kept[(kept >= start) & (kept < end)] - start
        root.data.catalog.keep("train", root.rows[mine])


def _facts(root: NamedRoot, described: Described) -> dict[str, np.ndarray]:
    facts = root.data.describe(described.row)
    kept: dict[str, np.ndarray] = {name: facts[name] for name in ("source", "method", "clip")}
    kept["family"] = family_of(root, facts["family"])
    kept["label"] = root.data.contents.label[described.row]
    return kept


def family_of(root: NamedRoot, family: np.ndarray) -> np.ndarray:
    """Families of two roots are not the same, whatever they are called."""
    return np.char.add(f"{root.name}/", family.astype(str))
