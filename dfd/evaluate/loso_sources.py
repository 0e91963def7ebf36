"""Sources of leave-one-source-out: which can be judged, and whether the others can train a net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dfd.batch import LABELS
from dfd.data import ShardDataModule
from dfd.data.left_out import LEARNT


@dataclass(frozen=True)
class LeftOut:
    """A source, the roots by name in which it has pictures of the judged split, and `why` it cannot be
    judged, "" where it can.
    """

    name: str
    roots: tuple[str, ...]
    why: str = ""


def find_sources(folders: Mapping[str, str], split: str) -> list[LeftOut]:
    """The sources of the roots, in alphabetical order.

    Args:
        folders: roots by name.
        split: the judged one.

    Raises:
        ValueError: there are fewer than two, none can be judged, or the others cannot train a net.
    """
    data = opened(folders)
    rows = data.rows(split)
    of_row, label = data.describe(rows)["source"], data.contents.label[rows]
    home = np.array(list(folders))[data.contents.root[rows]]
    every = np.unique(data.describe(np.arange(len(data.contents)))["source"]).tolist()
    if len(every) < 2:
        raise ValueError(
            f"the roots hold one source alone, {every[0]}: nothing is left to train on without it. Name a "
            "root of another source: --on ROOT --on OTHER."
        )
    found = []
    for name in every:
        counts = np.bincount(label[(of_row == name) & (label >= 0)], minlength=2).tolist()
        roots = tuple(root for root in folders if ((of_row == name) & (home == root)).any())
        why = ""
        if not all(counts):
            lacking = " and ".join(LABELS[kind] for kind, count in enumerate(counts) if not count)
            why = f"no {lacking} pictures in its {split} split"
        found.append(LeftOut(name, roots, why))
    if all(source.why for source in found):
        raise ValueError(
            f"no source has both classes in its {split} split, so that none can be judged: "
            + "; ".join(f"{source.name}: {source.why}" for source in found)
        )
    for source in found:
        if not source.why:
            _check_rest(folders, source.name)
    return found


def _check_rest(folders: Mapping[str, str], name: str) -> None:
    """ValueError where what is left without a source cannot train a net, before hours of fits."""
    data = opened(folders, [name])
    for split in LEARNT:
        if not all(counts := data.label_counts(split)):
            raise ValueError(
                f"without the source {name} the {split} split has {counts[0]} real and {counts[1]} fake "
                "pictures, and training needs both. Name a root of a further source: --on ROOT."
            )


def opened(folders: Mapping[str, str], left_out: list[str] | None = None) -> ShardDataModule:
    """The tables of the roots, without some sources where they are named."""
    data = ShardDataModule(list(folders.values()), num_workers=0, leave_out=left_out)
    data.open_catalog()
    return data
