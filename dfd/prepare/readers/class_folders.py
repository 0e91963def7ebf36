"""Class folders: folders named after classes, with splits above them, below them or in the same name.

    train/real/a.jpg   Test/Fake/b.png   training_real/c.jpg   real/d.jpg   Dataset/Validation/Real/e.jpg
    0_real/f.png

Folders of other names are classes where `--real NAME` and `--fake NAME` say so. Videos are rows too; of
each, faces are cut. Other folders around or inside them carry no meaning: which person or method a sub-folder
is of, the table says (reader `table`). What is not named as a picture or a video is passed over. Links to
folders are listed as rejected, not followed, and so is what is no file at all: pipes, sockets, links that
lead nowhere.
"""

import logging
import os
import posixpath
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dfd.prepare.readers.class_names import NO_NAMES, ClassNames
from dfd.prepare.readers.row import Row, split_of
from dfd.prepare.readers.walk import NOT_FOLLOWED, listed, not_tried, passed_over, unusable
from dfd.shards.rejects import Reject
from dfd.terminal import printable

_log = logging.getLogger(__name__)
_DEPTH = 4  # class folders lie at most this deep; an unrelated tree is not searched to its end


def mismatch(root: Path, class_names: ClassNames = NO_NAMES) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    folders, links = _class_folders(root, class_names) if root.is_dir() else ([], [])
    if folders:
        return ""
    if links:
        return f"{links[0]} itself: {NOT_FOLLOWED}"
    real, fake = (
        (*names, word)[0] for names, word in ((class_names.real, "real"), (class_names.fake, "fake"))
    )
    return f"{root / real} and {root / fake}, or {root / 'train' / real} and so on"


def rows(root: Path, class_names: ClassNames = NO_NAMES) -> Iterator[Row | Reject]:
    """The pictures below each class folder, in the order of their paths.

    A split named only together with a class ("training_real") counts where there are several: alone, it
    divides nothing.

    Raises:
        ValueError: all folders of a class are empty, or links.
    """
    folders, links = _class_folders(root, class_names)
    named = {split_of(folder.name) for folder in folders} - {None}
    if absent := class_names.absent(folder.name for folder in folders):
        _log.warning(
            "%s: no folder is called %s, as%s says.", root, " or ".join(absent), class_names.options()
        )
    tree = _Tree(root, class_names, joined_splits=len(named) > 1)
    labels = set()
    for item in tree.walk("", None, None):
        if isinstance(item, Row):
            labels.add(item.label)
        yield item
    empty = [folder for folder in folders if class_names.of_folder(folder.name) not in labels]
    _refuse_empty(tree, [folder.relative_to(root).as_posix() for folder in empty])
    if lost := [link for link in links if class_names.of_folder(link.name) not in (None, *labels)]:
        raise ValueError(f"{root}: {lost[0].relative_to(root)} itself: {NOT_FOLLOWED}.")
    if tree.no_splits:
        _log.warning(
            "%s: folders beside those of splits that name none: %s. Their pictures go by the hash of their "
            "family; call such folders train, val or test.",
            root,
            printable(", ".join(list(tree.no_splits)[:3])),
        )
    if tree.without_meaning:
        _log.info(
            "%s: folders inside those of a class that mean nothing to dfd: %s. Which person or method they "
            "stand for, a table says in its columns group and method.",
            root,
            printable(", ".join(list(tree.without_meaning)[:3])),
        )


def _refuse_empty(tree: "_Tree", folders: list[str]) -> None:
    """Raises ValueError where there is nothing to try in the folders of a class, not even something to
    reject.
    """
    if not folders or any(True for folder in folders for _ in tree.walk(folder, None, None)):
        return
    root = tree.root
    others = not_tried([path for folder in folders for path in passed_over(root, folder)])
    named = ", ".join(folders[:3]) + (" and so on" if len(folders) > 3 else "")
    raise ValueError(
        f"{root}: {named} hold{'s' * (len(folders) == 1)} no picture{others and f'; {others}'}. "
        "A detector needs both classes: put pictures there, or name the folder that has them."
    )


@dataclass
class _Tree:
    """A tree of class folders, walked from its root.

    Args:
        joined_splits: whether a split in a class folder's own name ("training_real") counts.
    """

    root: Path
    class_names: ClassNames
    joined_splits: bool
    # folders in those of a class that mean nothing
    without_meaning: dict[str, None] = field(default_factory=dict)
    # folders beside those of splits
    no_splits: dict[str, None] = field(default_factory=dict)

    def walk(self, folder: str, label: int | None, split: str | None) -> Iterator[Row | Reject]:
        entries = listed(self.root / folder)
        beside_splits = label is None and split is None and any(split_of(entry.name) for entry in entries)
        for entry in entries:
            path = posixpath.join(folder, entry.name)
            if reason := unusable(entry):
                yield Reject(path, reason)
            elif entry.is_dir(follow_symlinks=False):
                mine, home = self.class_names.of_folder(entry.name), split_of(entry.name)
                if mine is not None and not self.joined_splits:
                    home = None
                if mine is not None and label is not None and mine != label:
                    yield Reject(path, "a folder of one class inside a folder of the other")
                elif home and split and home != split:
                    yield Reject(path, f"a folder of the {home} split inside one of the {split} split")
                else:
                    if label is not None and mine is None and home is None:
                        self.without_meaning[path] = None
                    if beside_splits and mine is None and home is None:
                        self.no_splits[path] = None
                    yield from self.walk(path, label if mine is None else mine, home or split)
            elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES | {""}:
                continue
            elif label is None:
                if os.path.splitext(entry.name)[1]:
                    yield Reject(path, self._in_no_class(folder))
            else:
                yield Row(path, label, split=split)

    def _in_no_class(self, folder: str) -> str:
        name = next((part for part in folder.split("/") if part and split_of(part) is None), "")
        if not name:
            return "in no folder named real or fake"
        option = f"--real or --fake {shlex.quote(name)}"
        return f"in the folder {name}, which is named neither real nor fake: {option} says which"


def _class_folders(root: Path, class_names: ClassNames) -> tuple[list[Path], list[Path]]:
    """Folders with a class in their name, and links to folders with a class or a split in theirs.

    They are found without listing what is inside them.
    """
    found, links, level = [], [], [root]
    for _ in range(_DEPTH):
        below = []
        for folder in level:
            for path in (Path(entry.path) for entry in listed(folder) if os.path.isdir(entry.path)):
                is_class = class_names.of_folder(path.name) is not None
                if path.is_symlink():
                    links += [path] if is_class or split_of(path.name) else []
                elif is_class:
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
