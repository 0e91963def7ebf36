"""Celeb-DF, versions 1 and 2 (Li et al., CVPR 2020): interviews of celebrities, and face swaps among them.

    Celeb-real/id0_0000.mp4
    Celeb-synthesis/id0_id1_0000.mp4      video id0_0000 with the face of id1
    YouTube-real/00000.mp4
    List_of_testing_videos.txt            1 YouTube-real/00170.mp4      in this list 1 is real

The folder may be given at that level or one above. A fake carries two identities, the target (id0, whose
video it is) and the donor (id1, whose face it is): groups "celebdf-id0" and "celebdf-id1".

What the list names is the test split, the rest is train. A line whose label disagrees with its folder is
rejected. As published, the same people are in both splits: `dfd prepare` refuses them then unless it is told
to follow the list with --allow-leaks, as published numbers do. Without the list families go by their hash.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dfd.batch import FAKE, LABELS, REAL
from dfd.media.files import VIDEO_SUFFIXES
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import listed, unusable
from dfd.shards.rejects import Reject

_LIST = "List_of_testing_videos.txt"
_FOLDERS = {
    "Celeb-real": (REAL, re.compile(r"(id\d+)_\d+")),
    "Celeb-synthesis": (FAKE, re.compile(r"(id\d+)_(id\d+)_\d+")),
    "YouTube-real": (REAL, re.compile(r"(\d+)")),
}
_WAYS = ("Celeb-DF-v2", "Celeb-DF-v1", "Celeb-DF")


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    level = _level(root)
    if level is not None and any(_videos(root, path) for path in _folders(root / level).values()):
        return ""
    return str(root / "Celeb-synthesis" / "id0_id1_0000.mp4")


def rows(root: Path) -> Iterator[Row | Reject]:
    """One row a video, with the original that a fake was made of where it is there.

    Raises:
        ValueError: the folder has another layout, or the list of test videos is none.
    """
    level = _level(root)
    if level is None:
        raise ValueError(f"{root} is not laid out as Celeb-DF: {mismatch(root)} is missing.")
    told = _test_labels(root / level / _LIST)
    folders = _folders(root / level)
    for folder, name in folders.items():
        label, like = _FOLDERS[folder]
        for item in _videos(root, posixpath.join(level, name)):
            if isinstance(item, Reject):
                yield item
                continue
            as_listed = f"{folder}/{posixpath.basename(item)}"
            named = like.fullmatch(posixpath.splitext(posixpath.basename(item))[0])
            if not named:
                yield Reject(item, f"not named as the videos of {folder} are")
            elif told.get(as_listed, label) != label:
                yield Reject(item, f"{_LIST} says {LABELS[told[as_listed]]}, its folder {folder}")
            else:
                yield Row(
                    item,
                    label,
                    groups=tuple(sorted({f"celebdf-{_person(folder, one)}" for one in named.groups()})),
                    split=("test" if as_listed in told else "train") if told else None,
                    source="celeb-df",
                    method="celeb-synthesis" if label == FAKE else "",
                    original=_original(root, level, folders, item) if label == FAKE else None,
                )
    for listed_name in sorted(told):
        folder, _, file = listed_name.partition("/")
        path = posixpath.join(level, folders.get(folder, folder), file)
        if not (root / path).is_file():
            yield Reject(path, f"{_LIST} lists it, and the folders do not hold it")


def _level(root: Path) -> str | None:
    """Where below `root` the folders lie; None where they do not."""
    if not root.is_dir():
        return None
    return next(
        (
            level
            for level in ("", *_WAYS)
            if _folders(root / level).keys() & {"Celeb-real", "Celeb-synthesis"}
        ),
        None,
    )


def _folders(level: Path) -> dict[str, str]:
    """The name, in large or small letters, of each of the set's folders that is there."""
    if not level.is_dir():
        return {}
    there = {entry.name.lower(): entry.name for entry in listed(level) if entry.is_dir(follow_symlinks=False)}
    return {folder: there[folder.lower()] for folder in _FOLDERS if folder.lower() in there}


def _videos(root: Path, folder: str) -> list[str | Reject]:
    """Paths of the videos of a folder, in their order."""
    found: list[str | Reject] = []
    for entry in listed(root / folder):
        inside = posixpath.join(folder, entry.name)
        if reason := unusable(entry):
            found.append(Reject(inside, reason))
        elif posixpath.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
            found.append(inside)
    return found


def _person(folder: str, name: str) -> str:
    return f"youtube-{name}" if folder == "YouTube-real" else name


def _original(root: Path, level: str, folders: Mapping[str, str], path: str) -> str | None:
    target, _, number = posixpath.splitext(posixpath.basename(path))[0].split("_")
    suffix = posixpath.splitext(path)[1]
    original = posixpath.join(level, folders.get("Celeb-real", ""), f"{target}_{number}{suffix}")
    return original if (root / original).is_file() else None


def _test_labels(path: Path) -> dict[str, int]:
    """The class of each test video by its path, as the list says; {} where there is none.

    Raises:
        ValueError: a line is not "1 FOLDER/NAME.mp4" or "0 FOLDER/NAME.mp4".
    """
    if not path.is_file():
        return {}
    told = {}
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        label, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if label not in ("0", "1") or name.strip().partition("/")[0] not in _FOLDERS:
            raise ValueError(
                f'{path}: line {number} is {line!r:.80}; a line is "1 YouTube-real/00170.mp4", with 1 for '
                "real. Take the list as it was published, or take it away."
            )
        told[name.strip()] = REAL if label == "1" else FAKE
    return told
