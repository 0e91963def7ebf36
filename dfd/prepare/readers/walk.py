"""Folder walk: the pictures below a source's folders, and what is passed over."""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dfd.media.files import IMAGE_SUFFIXES, NO_FILE, VIDEO_SUFFIXES, is_hidden, is_litter
from dfd.shards.rejects import Reject
from dfd.terminal import printable

NOT_FOLLOWED = "a link to a folder is not followed; cp -rL makes a copy without links"
# tables, notes and what systems leave behind; without a suffix: README and LICENSE, or a picture that
# class_folders tries
_BESIDE_PICTURES = frozenset(
    (
        "",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".ndjson",
        ".txt",
        ".md",
        ".xml",
        ".yaml",
        ".yml",
        ".html",
        ".pdf",
        ".db",
        ".ini",
    )
)


def listed(folder: Path) -> list[os.DirEntry]:
    """What a folder holds, by name; hidden things, and what systems leave behind, are passed over."""
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not _is_passed_over(entry)), key=lambda entry: entry.name
        )


def _is_passed_over(entry: os.DirEntry) -> bool:
    name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
    return is_hidden(entry.name) or is_litter(name)


def unusable(entry: os.DirEntry) -> str:
    """Why something is neither a folder nor a file, nor a link to a file; "" where it is."""
    if (
        entry.is_dir(follow_symlinks=False)
        or entry.is_file(follow_symlinks=False)
        or os.path.isfile(entry.path)
    ):
        return ""
    if not entry.is_symlink():
        return NO_FILE
    return NOT_FOLLOWED if os.path.isdir(entry.path) else "a link that leads nowhere"


def pictures(root: Path, folder: str) -> Iterator[str | Reject]:
    """Paths, relative to `root`, of the files below one of its folders that are named as pictures, in their
    order.
    """
    if (root / folder).is_symlink():
        yield Reject(folder, NOT_FOLLOWED)
        return
    for entry in listed(root / folder):
        path = posixpath.join(folder, entry.name)
        if reason := unusable(entry):
            yield Reject(path, reason)
        elif entry.is_dir(follow_symlinks=False):
            yield from pictures(root, path)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            yield path


def passed_over(root: Path, folder: str = "") -> Iterator[str]:
    """Paths of the files that no reader of folders tries and that may be pictures, in their order.

    These are hidden ones with the suffix of a picture or a video, and others without. Hidden folders are not
    entered: Git's and the like hold copies. What systems leave behind (`is_litter`) is no picture.
    """
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path, hidden = posixpath.join(folder, entry.name), entry.name.startswith(".")
        has_suffix = (suffix := os.path.splitext(entry.name)[1].lower()) in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        if is_litter(f"{entry.name}/"):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from () if hidden else passed_over(root, path)
        elif (
            hidden != has_suffix or suffix in _BESIDE_PICTURES or is_litter(entry.name) or not entry.is_file()
        ):
            continue
        else:
            yield path


def not_tried(paths: Sequence[str]) -> str:
    """How many files were passed over, why, and the first of them; "" for none."""
    if not paths:
        return ""
    first = printable(", ".join(paths[:2])) + (" and so on" if len(paths) > 2 else "")
    return f"{len(paths)} file{'s' * (len(paths) != 1)} not tried (hidden, or no picture's suffix): {first}"


def level_of(root: Path, way: str, inside: Iterable[str]) -> str | None:
    """Where below `root` the last folder of `way` lies: a source may be named at any folder on the way to it.

    Args:
        way: folders from the outermost to the one that is wanted.
        inside: one of these folders is in it.

    Returns:
        "" where `root` itself is that folder, by its name; None where there is none.
    """
    names = way.split("/")
    levels = ["/".join(names[start:]) for start in range(len(names))] + [""] * (
        root.resolve().name == names[-1]
    )
    return next(
        (level for level in levels if any((root / level / folder).is_dir() for folder in inside)), None
    )


def holds(folder: Path, like: re.Pattern[str]) -> bool:
    """Whether a folder is there and has something named like this in it."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(like.fullmatch(entry.name) for entry in entries)
