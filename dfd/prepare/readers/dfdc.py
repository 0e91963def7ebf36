"""DFDC, the Deepfake Detection Challenge of Facebook: videos in parts, each with its metadata.json.

    dfdc_train_part_0/metadata.json
    dfdc_train_part_0/abcdefghij.mp4

    {"abcdefghij.mp4": {"label": "FAKE", "split": "train", "original": "ozhhaoydlq.mp4"}, ...}

The folder may be one part, or hold parts, up to two folders deep. A fake belongs to the group of the video
that it was made of, and a real one to its own: so all fakes of a video stay with it. Labels come from
metadata.json alone. Its splits count where there are several: "train" alone divides nothing. Videos without a
metadata.json beside them, such as Kaggle's test_videos, have no labels; their folders are named.
"""

import json
import logging
import os
import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfd.batch import FAKE, REAL
from dfd.media.files import VIDEO_SUFFIXES
from dfd.prepare.readers.row import SPLIT_WORDS, Row
from dfd.prepare.readers.walk import listed, unusable
from dfd.shards.rejects import Reject

_log = logging.getLogger(__name__)
_METADATA = "metadata.json"
_DEPTH = 2  # parts lie at most this deep
_MAX_BYTES = 64_000_000  # of one metadata.json; that of a part has some 0.3 MB
_LABELS = {"REAL": REAL, "FAKE": FAKE}


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    files = _metadata_files(root, _folders(root)) if root.is_dir() else []
    return "" if any(_is_ours(root / file) for file in files) else str(root / "dfdc_train_part_0" / _METADATA)


def rows(root: Path) -> Iterator[Row | Reject]:
    """One row a video; what is only in the folder or only in its metadata.json is rejected.

    Raises:
        ValueError: the folder has another layout, or a metadata.json cannot be read.
    """
    folders = _folders(root)
    files = [file for file in _metadata_files(root, folders) if _is_ours(root / file)]
    if not files:
        raise ValueError(f"{root} is not laid out as DFDC: {mismatch(root)} is missing.")
    found = [item for file in files for item in _part(root, posixpath.dirname(file))]
    several = len({item.split for item in found if isinstance(item, Row)}) > 1
    for item in found:
        yield item if isinstance(item, Reject) or several else replace(item, split=None)
    parts = {posixpath.dirname(file) for file in files}
    if unlabelled := [folder for folder in folders if folder not in parts and _videos(root, folder)]:
        _log.warning(
            "%s: %d folders with videos have no %s, so no labels, and were not read: %s.",
            root,
            len(unlabelled),
            _METADATA,
            ", ".join(unlabelled[:3]),
        )


def _folders(root: Path) -> list[str]:
    """The folder itself and those below it, as deep as parts may lie."""
    found, level = [""], [""]
    for _ in range(_DEPTH):
        level = [
            posixpath.join(folder, entry.name)
            for folder in level
            for entry in listed(root / folder)
            if entry.is_dir(follow_symlinks=False)
        ]
        found += level
    return found


def _metadata_files(root: Path, folders: list[str]) -> list[str]:
    paths = (posixpath.join(folder, _METADATA) for folder in folders)
    return [path for path in paths if (root / path).is_file()]


def _is_ours(path: Path) -> bool:
    """Whether a metadata.json maps videos to labels. One that is broken is taken for one: `rows` says why."""
    with open(path, "rb") as file:
        head = file.read(4096)
    return b'"label"' in head and (b'"REAL"' in head or b'"FAKE"' in head)


def _part(root: Path, folder: str) -> Iterator[Row | Reject]:
    """What one metadata.json lists, and the videos beside it that it does not."""
    told = _told(root / folder / _METADATA)
    there = _videos(root, folder)
    for name in sorted(told.keys() | there.keys()):
        path = posixpath.join(folder, name)
        if name in there and (reason := unusable(there[name])):
            yield Reject(path, reason)
        elif name not in there:
            yield Reject(path, f"{_METADATA} lists it, and its folder does not hold it")
        elif name not in told:
            yield Reject(path, f"{_METADATA} does not list it")
        else:
            yield _row(path, told[name], there)


def _row(path: str, facts: Any, there: dict[str, os.DirEntry]) -> Row | Reject:
    folder, name = posixpath.split(path)
    said = facts if isinstance(facts, dict) else {}
    label = _LABELS.get(str(said.get("label")).upper())
    if label is None:
        return Reject(path, f"label {said.get('label')!r:.80} is neither REAL nor FAKE")
    original = said.get("original") or ""
    if not isinstance(original, str) or (label == FAKE) != bool(original):
        having = "with" if original else "without"
        return Reject(
            path,
            f"{said['label']} {having} an original: a fake, and no other, names the video it was made of",
        )
    return Row(
        path,
        label,
        groups=(f"dfdc-{posixpath.splitext(original or name)[0]}",),
        split=SPLIT_WORDS.get(str(said.get("split")).lower()),
        source="dfdc",
        method="dfdc" if label == FAKE else "",
        original=posixpath.join(folder, original) if original in there else None,
    )


def _told(path: Path) -> dict[str, Any]:
    """What a metadata.json says of each video."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES // 1_000_000} MB")
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} does not map videos to labels such as {{"a.mp4": {{"label": "REAL"}}}}: {error}.'
        ) from error
    return told


def _videos(root: Path, folder: str) -> dict[str, os.DirEntry]:
    """What a folder holds that is a video, or no file at all."""
    return {
        entry.name: entry
        for entry in listed(root / folder)
        if posixpath.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES or unusable(entry)
    }
