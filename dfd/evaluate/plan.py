"""Plan of a grid: its detectors, roots and conditions by name, the cells that they make, where each lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dfd.data import ShardDataModule
from dfd.detector import Detector
from dfd.detector.card import TOY, Card
from dfd.evaluate.conditions import Condition
from dfd.evaluate.folder import CELLS
from dfd.evaluate.judging import EnoughPixels
from dfd.evaluate.names import root_name
from dfd.media.crops import View
from dfd.models import Net


@dataclass(frozen=True)
class NamedDetector:
    """A detector of the grid: its name, its file, and the file's SHA-256."""

    name: str
    path: str
    sha256: str
    detector: Detector

    @property
    def view(self) -> tuple[Any, ...]:
        """Equal for detectors that see the same crops of a picture; the margin is for larger pictures."""
        view = self.detector.view
        parts = [(part.size, part.num_crops, part.longest, part.resize) for part in view.parts]
        return (view.beside is not None, *parts)

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "sha256": self.sha256,
            **card_facts(self.detector.card),
        }


def card_facts(card: Card) -> dict[str, Any]:
    """What a grid says of a detector by its card."""
    return {
        "net": card.net.get("class_path"),
        "view": card.view,
        "calibration": card.calibration.to_plain(),
        "thresholds": card.thresholds,
        "calibrated_on": card.calibrated_on,
        "selected_on": card.selected_on,
        "trained_on": _trained_on(card),
        "seed": (card.data or {}).get("init_args", {}).get("seed"),
        "of_drawings": card.of_drawings,
        "weights": card.weights,
        "version": card.version,
    }


def _trained_on(card: Card) -> list[str]:
    """Names of the roots: where they lay on a machine is nothing for a page that is published."""
    roots = (card.data or {}).get("init_args", {}).get("roots") or []
    if card.of_drawings:
        return ["the toy set"]
    return [root_name(str(root)) for root in ([roots] if isinstance(roots, str) else roots)]


class NamedRoot:
    """A root of the grid, opened for the pictures of one split.

    Args:
        limit: judge at most so many pictures of each class and source, drawn alike each time; None for all.

    Raises:
        ValueError: it has no finished shards, or no picture of the split.
    """

    def __init__(
        self, name: str, path: str, split: str, view: View, batch_size: int, workers: int, limit: int | None
    ):
        self.name, self.path, self.split = name, path, split
        self.data = ShardDataModule(path, view=view, batch_size=batch_size, num_workers=workers)
        self.data.setup("validate" if split == "val" else "test")
        # a data module tells these words by all its rows
        if limit is not None:
            self.data.catalog.keep(split, some(self.data, split, limit))
        told = json.dumps(self.data.catalog.digests, sort_keys=True)
        self.digest = hashlib.sha256(told.encode()).hexdigest()
        self._loader_view: View | None = None

    def keep_source(self, source: str) -> None:
        """Leaves the pictures of one source alone."""
        self.data.catalog.keep(self.split, self.rows[self.data.describe(self.rows)["source"] == source])
        self.digest = hashlib.sha256(f"{self.digest} {source}".encode()).hexdigest()

    @property
    def rows(self) -> np.ndarray:
        return self.data.rows(self.split)

    @property
    def drawings(self) -> bool:
        """Whether all its pictures are the toy set's."""
        return self.data.title == TOY

    def loader(self, condition: Condition, view: View, net: Net | None = None) -> Any:
        """A loader of the split after one condition, cut for one view, with the forensic cues that `net`
        reads: those of the files as found, since what a condition makes of a picture is no file.
        """
        self.data.view = view
        names = getattr(net, "cue_names", ()) if condition.corruption is None else ()
        if net is not None and names:
            self.data.deliver_cues(names, net.cue_version)
        else:
            self.data.withhold_cues()
        changed = [] if condition.corruption is None else [condition.corruption]
        # with no transform at all, a validation split would get its val_augment: there is none here
        self.data.corruption = [*changed, EnoughPixels(view)]
        return self.data.judging_dataloader(self.split)

    def facts(self) -> dict[str, Any]:
        real, fake = self.data.label_counts(self.split)
        return {
            "name": self.name,
            "path": self.path,
            "digest": self.digest,
            "images": real + fake,
            "real": real,
            "fake": fake,
            "leaks": self.data.leaks.get(self.path, ""),
            "drawings": self.drawings,
        }


def some(data: ShardDataModule, split: str, limit: int) -> np.ndarray:
    """At most so many pictures of each class and source, drawn alike each time."""
    rows = data.rows(split)
    source, label = data.describe(rows)["source"], data.contents.label[rows]
    order = np.random.default_rng(0).permutation(len(rows))
    kinds = np.unique(np.char.add(label.astype(str), source), return_inverse=True)[1][order]
    kept = np.concatenate([order[kinds == kind][:limit] for kind in np.unique(kinds)])
    return rows[np.sort(kept)]


def cell_file(detector: str, root: str, condition: Condition) -> str:
    """Where the predictions of a cell lie, below the grid's folder."""
    return f"{CELLS}/{detector}/{root}/{condition.title}.parquet"


@dataclass(frozen=True)
class Cell:
    """What one detector says of one root under one condition."""

    detector: NamedDetector
    root: NamedRoot
    condition: Condition

    @property
    def file(self) -> str:
        """Its prediction file, below the grid's folder."""
        return cell_file(self.detector.name, self.root.name, self.condition)

    def identity(self, limit: int | None, drawings: bool) -> dict[str, Any]:
        """What the cell's figures depend on: a cell that was made of anything else is made again."""
        return {
            "detector": self.detector.sha256,
            "root": self.root.digest,
            "split": self.root.split,
            "condition": self.condition.what,
            "limit": limit,
            "drawings": drawings or self.root.drawings,
        }


@dataclass(frozen=True)
class Pass:
    """The cells of one root under one condition whose detectors see the same crops; of an attack one cell."""

    root: NamedRoot
    condition: Condition
    cells: list[Cell] = field(default_factory=list)

    @property
    def num_pictures(self) -> int:
        """How many pictures it judges, about."""
        attack, held = self.condition.attack, len(self.root.rows)
        return min(attack.images, held) if attack else held


def passes(
    detectors: Sequence[NamedDetector], roots: Sequence[NamedRoot], conditions: Sequence[Condition]
) -> list[Pass]:
    """All cells, as the passes that make them, root by root."""
    found: dict[tuple[Any, ...], Pass] = {}
    for root in roots:
        for condition in conditions:
            for detector in detectors:
                alone = detector.name if condition.attack else ""
                cues = getattr(detector.detector.net, "cue_names", ())
                key = root.name, condition.title, detector.view, cues, alone
                found.setdefault(key, Pass(root, condition)).cells.append(Cell(detector, root, condition))
    return list(found.values())
