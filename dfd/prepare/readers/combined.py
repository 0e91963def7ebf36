"""140K and ciplab's set in one tree, as `dfd combine` makes it and as others did by hand.

    combined-real-and-fake-faces/combined-real-vs-fake/{train,valid,test}/{real,fake}/{140k,ciplab}__*.jpg

The folder may be given at any of its levels. Where a file comes from stands before its name. Without that,
the name tells where it is of a kind that one of the two sets uses; the source of any other is "combined", its
method unknown.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dfd.batch import FAKE, LABELS, REAL
from dfd.prepare.readers import ciplab, class_folders
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import level_of
from dfd.shards.rejects import Reject

WAY = "combined-real-and-fake-faces/combined-real-vs-fake"
SPLITS = {"train": "train", "val": "valid", "test": "test"}  # our names and the tree's
_NAMES_140K = {REAL: re.compile(r"\d{5}\.jpg"), FAKE: re.compile(r"[0-9A-Z]{10}\.jpg")}


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    return str(root / WAY / "train" / "real") if _level(root) is None else ""


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures of both, each with the name of its set."""
    level = _level(root) or ""
    for item in class_folders.rows(root / level):
        item = _named(item) if isinstance(item, Row) else item
        yield replace(item, path=posixpath.join(level, item.path))


def _level(root: Path) -> str | None:
    return level_of(root, WAY, [f"{split}/real" for split in SPLITS.values()])


def _named(row: Row) -> Row | Reject:
    mark, found, name = posixpath.basename(row.path).partition("__")
    if not found:
        mark, name = "", mark
    told = ciplab.told_by(name) if mark in ("", "ciplab") else None
    if told and told[0] != row.label:
        return Reject(
            row.path,
            f"in a folder of {LABELS[row.label]} ones, and named as ciplab's {LABELS[told[0]]} ones are",
        )
    if told:
        return replace(row, source="ciplab", method=told[1])
    if mark == "140k" or (not mark and _NAMES_140K[row.label].fullmatch(name)):
        return replace(row, source="140k", method="stylegan" if row.label else "")
    return replace(row, source="combined")
