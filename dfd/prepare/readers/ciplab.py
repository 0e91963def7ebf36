"""Real and fake face detection (ciplab): portraits, and composites that experts made of them in Photoshop,
600 px.

    real_and_fake_face/training_real/real_00018.jpg
    real_and_fake_face/training_fake/{easy,mid,hard}_75_1100.jpg

The folder may be given at any of its levels. The set states no splits: "training" is in both names and
divides nothing.

The method is the difficulty, as its makers felt it. The four digits say which parts were replaced: left eye,
right eye, nose, mouth. They stay in the path: 960 fakes in 45 rows of a table would be too few in each to
measure.

No groups. The number counts within a difficulty, and equal numbers are different people. Some fakes were made
of a photograph that is among the real ones (easy_75_1100 of real_00270), and no name says which.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import holds, level_of, pictures
from dfd.shards.rejects import Reject

_FAKE = re.compile(r"(easy|mid|hard)_\d+_[01]{4}\.jpg")
_REAL = re.compile(r"real_\d+\.jpg")
_FOLDERS = {"training_fake": (_FAKE, "easy_1_1110.jpg"), "training_real": (_REAL, "real_00001.jpg")}


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    level = _level(root)
    lacking = (
        root / level / folder / example
        for folder, (like, example) in _FOLDERS.items()
        if not holds(root / level / folder, like)
    )
    return str(next(lacking, ""))


def rows(root: Path) -> Iterator[Row | Reject]:
    """The pictures, by class.

    Raises:
        ValueError: the folder has another layout.
    """
    if lacking := mismatch(root):
        raise ValueError(f"{root} is not laid out as ciplab's set: {lacking} is missing.")
    for folder, (_, example) in _FOLDERS.items():
        for path in pictures(root, posixpath.join(_level(root), folder)):
            if isinstance(path, Reject):
                yield path
            elif (told := told_by(posixpath.basename(path))) and told[0] == (folder == "training_fake"):
                yield Row(path, told[0], source="ciplab", method=told[1])
            else:
                yield Reject(path, f"not named as the pictures of {folder} are, such as {example}")


def told_by(name: str) -> tuple[int, str] | None:
    """Label and method that the name of one of these files tells; None for another name."""
    if found := _FAKE.fullmatch(name):
        return FAKE, f"photoshop-{found[1]}"
    return (REAL, "") if _REAL.fullmatch(name) else None


def _level(root: Path) -> str:
    """The folder of the two; one that was renamed is recognised by what is in it."""
    level = level_of(root, "real_and_fake_face_detection/real_and_fake_face", _FOLDERS)
    return level or ("" if (root / "training_fake").is_dir() else "real_and_fake_face")
