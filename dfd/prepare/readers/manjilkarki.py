"""Deepfake and real images (manjilkarki): faces cut from OpenForensics, heavily augmented, 256 px.

    Dataset/{Train,Validation,Test}/{Real,Fake}/{real,fake}_12.jpg

The folder may be given at any of its levels. All six folders have to be there with files so named:
"train/real" alone is anybody's. No groups: faces of one photograph have neighbouring numbers, but where one
photograph ends no name says.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import holds, level_of, pictures
from dfd.shards.rejects import Reject

_SPLITS = {"Test": "test", "Train": "train", "Validation": "val"}
_CLASSES = {
    "Fake": (FAKE, "openforensics", re.compile(r"fake_\d+\.jpg")),
    "Real": (REAL, "", re.compile(r"real_\d+\.jpg")),
}


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    for split in ("Train", "Validation", "Test"):
        for folder, (*_, like) in _CLASSES.items():
            path = root / _level(root) / split / folder
            if not holds(path, like):
                return str(path / f"{folder.lower()}_1.jpg")
    return ""


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures, in the official splits.

    Raises:
        ValueError: the folder has another layout.
    """
    if lacking := mismatch(root):
        raise ValueError(f"{root} is not laid out as manjilkarki's set: {lacking} is missing.")
    for folder, split in _SPLITS.items():
        for name, (label, method, like) in _CLASSES.items():
            for path in pictures(root, posixpath.join(_level(root), folder, name)):
                if isinstance(path, Reject):
                    yield path
                elif like.fullmatch(posixpath.basename(path)):
                    yield Row(path, label, split=split, source="manjilkarki", method=method)
                else:
                    yield Reject(
                        path, f"not named as the pictures of {name} are, such as {name.lower()}_1.jpg"
                    )


def _level(root: Path) -> str:
    """The folder of the splits; one that was renamed is recognised by what is in it."""
    return level_of(root, "Dataset", _SPLITS) or ("" if (root / "Train").is_dir() else "Dataset")
