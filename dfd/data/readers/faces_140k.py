"""140K real and fake faces: real photographs of FFHQ, fakes by StyleGAN, both at 256 px.

    real_vs_fake/real-vs-fake/{train,valid,test}/{real,fake}/*.jpg

The folder may be given at any of its levels. Its train.csv, valid.csv and
test.csv say the same as the folders and are not read.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dfd.data.readers import class_folders
from dfd.data.readers.row import Reject, Row

_LEVELS = ("real_vs_fake/real-vs-fake", "real-vs-fake", "")


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    if any((root / level / split / "real").is_dir() for level in _LEVELS[:2] for split in ("train", "valid", "test")):
        return ""
    if root.resolve().name == "real-vs-fake" and (root / "train" / "real").is_dir():
        return ""
    return str(root / _LEVELS[0] / "train" / "real")


def rows(root: Path) -> Iterator[Row | Reject]:
    """FFHQ against StyleGAN, in the official splits."""
    level = next((level for level in _LEVELS if (root / level / "train").is_dir()), "")
    found = class_folders.rows(root / level)
    for item in class_folders.with_names(found, source="140k", fake_method="stylegan"):
        yield item if not level else _below(item, level)


def _below(item: Row | Reject, level: str) -> Row | Reject:
    return replace(item, path=os.path.join(level, item.path))
