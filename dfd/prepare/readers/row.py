"""Row: what a reader yields; and the usual words for labels and splits."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from dfd.batch import FAKE, REAL

LABEL_WORDS = {"real": REAL, "fake": FAKE, "0": REAL, "1": FAKE}
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One face in a larger picture, to be cut out of it."""

    number: int  # of the face in its picture
    box: tuple[float, float, float, float]  # x, y, width, height, in pixels of the upright picture
    size: tuple[int, int]  # width and height that the picture must have for the box to be right
    # polygons x0, y0, x1, y1, ...: all that is forged in the picture
    forged: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a source, as its layout describes it; or a video, or a face in a picture, which are cut
    first.
    """

    path: str  # relative to the source folder, with "/"
    label: int  # REAL or FAKE
    groups: tuple[str, ...] = ()  # every identity that it carries: persons, source videos
    split: str | None = None  # train, val, test; None where the source does not say
    source: str = ""  # data set; "" takes the source folder's name
    method: str = ""  # how it was forged; "" for real or unknown
    mask: str | None = None  # relative path of a PNG, 255 where forged; of a video, for a video
    face: FaceBox | None = None  # where in the picture; None takes the whole
    original: str | None = None  # of a forged video: relative path of the video whose face boxes it is cut by

    def __post_init__(self) -> None:
        """Raises TypeError for what would show late or never: a Path, or a single group, whose letters become
        groups.
        """
        if not isinstance(self.path, str) or not isinstance(self.groups, (tuple, list)):
            raise TypeError(
                f"Row(path={self.path!r}, groups={self.groups!r}): path is a str, groups a tuple of str"
            )


def fault_of(row: Row) -> str:
    """Why a row's texts cannot be kept, whatever is in its file; "" where they can."""
    texts = {"path": row.path, "mask": row.mask or "", "original": row.original or ""}
    names = {"source": row.source, "method": row.method}
    for name, text in (texts | names | {"group": "".join(row.groups)}).items():
        if "\0" in text:
            return f"{name} {text!a:.100} has a NUL"
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            if name == "path":
                return (
                    "a file name that is not UTF-8; convmv -f latin1 -t utf8 -r --notest FOLDER renames such"
                )
            return f"{name} {text!a:.100} is not UTF-8"
    # a terminal would obey them
    bad = next((name for name, text in names.items() if text and not text.isprintable()), "")
    return f"{bad} {names[bad]!a:.100} has letters that cannot be printed" if bad else ""


def words(name: str) -> list[str]:
    """The lower-case words of a folder's name: "training_real" has two."""
    return re.findall(r"[a-z]+", name.lower())


def meant(name: str, known: Iterable[str]) -> str:
    """Which of the `known` names a name is that misspelling, or "": grup, gruop, group_id are group."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.8)  # at 0.75 140K's original_path would be original
    # of four letters, two swapped leave 0.75
    swapped = [word for word in known if sorted(word) == sorted(name)]
    within = [word for word in known if word == "group" and word in words(name)]
    return next(iter([*near, *swapped, *within]), "")


def label_of(name: str) -> int | None:
    """The class that a folder is named after, with a split's word, a number or "images" beside it at most."""
    parts = words(name)
    found = {part for part in parts if part in ("real", "fake")}
    others = [
        part for part in parts if part not in found and part not in SPLIT_WORDS and part not in _FILLING
    ]
    return LABEL_WORDS[found.pop()] if len(found) == 1 and not others else None


def split_of(name: str) -> str | None:
    """The split that a folder is named after, alone or beside its class ("train_fake")."""
    found = {SPLIT_WORDS[part] for part in words(name) if part in SPLIT_WORDS}
    others = [
        part
        for part in words(name)
        if part not in SPLIT_WORDS and part not in ("real", "fake") and part not in _FILLING
    ]
    return found.pop() if len(found) == 1 and not others else None


_FILLING = ("image", "images", "img", "imgs", "face", "faces", "set", "data")
