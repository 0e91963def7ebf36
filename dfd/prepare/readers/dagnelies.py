"""Deepfake faces (dagnelies): one face of each video of DFDC, 224 px, five fakes to a real one.

    metadata.csv             videoname,original_width,original_height,label,original
    faces_224/abcdefghij.jpg     abcdefghij.mp4,185,185,FAKE,ozhhaoydlq.mp4

A fake belongs to the group of the video that it was made from, and a real picture to that of its own: so all
fakes of a video stay with it, whether or not its own face is here. No splits are stated. Labels come from the
table alone.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.lines import missing_columns, read_lines
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import pictures
from dfd.shards.rejects import Reject

_TABLE, _FOLDER = "metadata.csv", "faces_224"
_NEEDED = ("videoname", "label", "original")


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    if not (root / _TABLE).is_file():
        return str(root / _TABLE)
    if missing := missing_columns(root / _TABLE, _NEEDED):
        return f"{root / _TABLE} with the column {' and '.join(missing)}"
    return "" if (root / _FOLDER).is_dir() else str(root / _FOLDER)


def rows(root: Path) -> Iterator[Row | Reject]:
    """One picture a video; what is only in the table or only in the folder is rejected.

    Raises:
        ValueError: the folder has another layout, or the table is not UTF-8.
    """
    if lacking := mismatch(root):
        raise ValueError(f"{root} is not laid out as dagnelies' set: {lacking} is missing.")
    told: dict[str, list[Row | Reject]] = defaultdict(list)
    for at, line in read_lines(root / _TABLE, _NEEDED):
        item = Reject(at, line) if isinstance(line, str) else _row(line, at)
        told[item.path].append(item)
    found = {item if isinstance(item, str) else item.path: item for item in pictures(root, _FOLDER)}
    for path in sorted(told.keys() | found.keys()):
        if isinstance(found.get(path), Reject):
            yield found[path]  # ty: ignore[invalid-yield]
        elif wrong := [item for item in told[path] if isinstance(item, Reject)]:
            yield from wrong
        elif path not in found:
            yield Reject(path, f"{_TABLE} lists it, and {_FOLDER} does not hold it")
        else:
            yield from told[path] or [Reject(path, f"{_TABLE} does not list it")]


def _row(line: Mapping[str, Any], at: str) -> Row | Reject:
    video, label, original = (line[name].strip() for name in _NEEDED)
    if not video:
        return Reject(at, "no videoname")
    path = f"{_FOLDER}/{posixpath.splitext(video)[0]}.jpg"
    if label not in ("REAL", "FAKE"):
        return Reject(path, f"label {label!r} is neither REAL nor FAKE")
    if (label == "FAKE") != bool(original):
        return Reject(
            path,
            f"label {label} {'with' if original else 'without'} an original: a fake has one, a real video "
            "none",
        )
    return Row(
        path,
        FAKE if original else REAL,
        groups=(posixpath.splitext(original or video)[0],),
        source="dagnelies",
        method="dfdc" if original else "",
    )
