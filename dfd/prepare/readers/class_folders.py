"""Class folders: folders named after classes, with splits above them, below them or in the same name.

    train/real/a.jpg   Test/Fake/b.png   training_real/c.jpg   real/d.jpg   Dataset/Validation/Real/e.jpg
    0_real/f.png

Videos are rows too; of each, faces are cut. Other folders around or inside them carry no meaning: which
person or method a sub-folder stands for is the table's to say (reader `table`). What is not named as a
picture or a video is passed over. Links to folders are listed as rejected, not followed, and so is what is no
file at all: pipes, sockets, links that lead nowhere.
"""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dfd.prepare.readers.row import Row, label_of, split_of
from dfd.prepare.readers.walk import NOT_FOLLOWED, listed, not_tried, passed_over, unusable
from dfd.shards.rejects import Reject

_DEPTH = 4  # class folders lie at most this deep; an unrelated tree is not searched to its end


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    folders, links = _class_folders(root) if root.is_dir() else ([], [])
    if folders:
        return ""
    if links:
        return f"{links[0]} itself: {NOT_FOLLOWED}"
    return f"{root / 'real'} and {root / 'fake'}, or {root / 'train' / 'real'} and so on"


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures below each class folder, in the order of their paths.

    A split named only together with a class ("training_real") counts where there are several: alone, it
    divides nothing.

    Raises:
        ValueError: all folders of a class are empty.
    """
    folders, _ = _class_folders(root)
    named = {split_of(folder.name) for folder in folders} - {None}
    labels = set()
    for item in _walk(root, "", None, None, joined_splits=len(named) > 1):
        if isinstance(item, Row):
            labels.add(item.label)
        yield item
    _refuse_empty(
        root,
        [folder.relative_to(root).as_posix() for folder in folders if label_of(folder.name) not in labels],
    )


def _refuse_empty(root: Path, folders: list[str]) -> None:
    """Raises ValueError where there is nothing to try in the folders of a class, not even something to
    reject.
    """
    if not folders or any(True for folder in folders for _ in _walk(root, folder, None, None, False)):
        return
    others = not_tried([path for folder in folders for path in passed_over(root, folder)])
    named = ", ".join(folders[:3]) + (" and so on" if len(folders) > 3 else "")
    raise ValueError(
        f"{root}: {named} hold{'s' * (len(folders) == 1)} no picture{others and f'; {others}'}. "
        "A detector needs both classes: put pictures there, or name the folder that has them."
    )


def _walk(
    root: Path, folder: str, label: int | None, split: str | None, joined_splits: bool
) -> Iterator[Row | Reject]:
    for entry in listed(root / folder):
        path = posixpath.join(folder, entry.name)
        if reason := unusable(entry):
            yield Reject(path, reason)
        elif entry.is_dir(follow_symlinks=False):
            mine, home = label_of(entry.name), split_of(entry.name)
            if mine is not None and not joined_splits:
                home = None
            if mine is not None and label is not None and mine != label:
                yield Reject(path, "a folder of one class inside a folder of the other")
            elif home and split and home != split:
                yield Reject(path, f"a folder of the {home} split inside one of the {split} split")
            else:
                yield from _walk(root, path, label if mine is None else mine, home or split, joined_splits)
        elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES | {""}:
            continue
        elif label is None:
            if os.path.splitext(entry.name)[1]:
                yield Reject(path, "in no folder named real or fake")
        else:
            yield Row(path, label, split=split)


def _class_folders(root: Path) -> tuple[list[Path], list[Path]]:
    """Folders with a class in their name, and links to folders with a class or a split in theirs.

    They are found without listing what is inside them.
    """
    found, links, level = [], [], [root]
    for _ in range(_DEPTH):
        below = []
        for folder in level:
            for path in (Path(entry.path) for entry in listed(folder) if os.path.isdir(entry.path)):
                if path.is_symlink():
                    links += [path] if label_of(path.name) is not None or split_of(path.name) else []
                elif label_of(path.name) is not None:
                    found.append(path)
                else:
                    below.append(path)
        level = below
    return sorted(found), sorted(links)


def with_names(found: Iterator[Row | Reject], source: str, fake_method: str) -> Iterator[Row | Reject]:
    """The same rows of a data set whose name and only method are known."""
    for item in found:
        yield (
            replace(item, source=source, method=fake_method if item.label else "")
            if isinstance(item, Row)
            else item
        )
