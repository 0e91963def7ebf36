"""Folders named after classes, with or without folders named after splits above, below or in the same name.

    train/real/a.jpg   Test/Fake/b.png   training_real/c.jpg   real/d.jpg   Dataset/Validation/Real/e.jpg   0_real/f.png

Other folders around or inside them carry no meaning: which person or method a sub-folder stands for is the table's to say
(reader `table`). Files that are not named as pictures are passed over; links to folders are listed, not followed.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dfd.data.readers.row import IMAGE_SUFFIXES, Reject, Row, label_of, split_of

_DEPTH = 4  # class folders lie at most this deep; an unrelated tree is not searched to its end


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    return "" if root.is_dir() and _class_folders(root) else f"{root / 'real'} or {root / 'train' / 'real'}"


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures below each class folder, in the order of their paths.

    A split named only together with a class ("training_real") counts where there are several: alone, it divides nothing.
    """
    named = {split_of(folder.name) for folder in _class_folders(root)} - {None}
    return _walk(root, "", None, None, joined_splits=len(named) > 1)


def _walk(root: Path, folder: str, label: int | None, split: str | None, joined_splits: bool) -> Iterator[Row | Reject]:
    with os.scandir(root / folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = f"{folder}/{entry.name}".lstrip("/") if folder else entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            mine, home = label_of(entry.name), split_of(entry.name)
            if mine is not None and not joined_splits:
                home = None
            if mine is not None and label is not None and mine != label:
                yield Reject(path, "a folder of one class inside a folder of the other")
            elif home and split and home != split:
                yield Reject(path, f"a folder of the {home} split inside one of the {split} split")
            else:
                yield from _walk(root, path, label if mine is None else mine, home or split, joined_splits)
        elif entry.is_symlink() and os.path.isdir(entry.path):
            yield Reject(path, "a link to a folder; links are not followed")
        elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES | {""}:
            continue
        elif label is None:
            if os.path.splitext(entry.name)[1]:
                yield Reject(path, "in no folder named real or fake")
        else:
            yield Row(path, label, split=split)


def _class_folders(root: Path) -> list[Path]:
    """Folders with a class in their name, found without listing what is inside them."""
    found, level = [], [root]
    for _ in range(_DEPTH):
        below = []
        for folder in level:
            with os.scandir(folder) as entries:
                folders = [
                    Path(entry.path)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                ]
            found += [path for path in folders if label_of(path.name) is not None]
            below += [path for path in folders if label_of(path.name) is None]
        level = below
    return sorted(found)


def with_names(found: Iterator[Row | Reject], source: str, fake_method: str) -> Iterator[Row | Reject]:
    """The same rows of a data set whose name and only method are known."""
    for item in found:
        yield replace(item, source=source, method=fake_method if item.label else "") if isinstance(item, Row) else item
