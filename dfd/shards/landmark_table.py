"""Landmarks of faces beside the table of shards: a file of 468 points a picture, which index.json names.

Points are shares of the picture's width and height, in 16 bits over [-1, 2]: of 1000 pixels, right to a
fortieth of one. A picture without a face has none. The file is mapped, not read: who does not ask for
landmarks reads nothing, and who does reads the lines asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfd.shards.checksum import verify
from dfd.shards.fetch import is_remote
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_index
from dfd.shards.validate import LANDMARK_FILE, LANDMARKS, NUM_LANDMARKS

_NONE = np.uint16(65535)
_LOW, _STEP = -1.0, 3 / 65534  # of the shares
_READ = ("shard", "offset", "length", "label", "split")  # what a line is checked by


def encode_landmarks(points: np.ndarray | None, shape: Sequence[int]) -> np.ndarray:
    """(468, 2) uint16 of points (468, 2) x and y in pixels of a picture of this shape (H, W, ...); of no face
    where None.

    Raises:
        ValueError: a point lies further from the picture than the picture is large, or is not finite.
    """
    if points is None:
        return np.full((NUM_LANDMARKS, 2), _NONE)
    numbers = np.rint((points / (shape[1], shape[0]) - _LOW) / _STEP)
    if not ((numbers >= 0) & (numbers < _NONE)).all():
        raise ValueError("a landmark far outside of its picture")
    return numbers.astype(np.uint16)


def is_missing(numbers: np.ndarray) -> np.ndarray:
    """(N,) bool of numbers (N, 468, 2): whether there is no face."""
    return numbers[:, 0, 0] == _NONE


def decode_landmarks(numbers: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(468, 2) float32 x and y in pixels of a picture of this shape (H, W, ...); NaN where there is no
    face.
    """
    if numbers[0, 0] == _NONE:
        return np.full(numbers.shape, np.nan, np.float32)
    return ((numbers * _STEP + _LOW) * (shape[1], shape[0])).astype(np.float32)


class Landmarks:
    """The landmarks of the rows of some roots, one after another.

    Args:
        files: of each root; None for one of which nothing is asked.
        lines: of each root, which lines of its table its rows are; a number N means the first N.
    """

    def __init__(self, files: Sequence[Path | None], lines: Sequence[np.ndarray | int]):
        self.files, self.lines = list(files), list(lines)
        self._ends = np.cumsum([0, *(each if isinstance(each, int) else len(each) for each in lines)])
        self._maps = [path and np.load(path, mmap_mode="r", allow_pickle=False) for path in files]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        # a spawned worker maps the files anew; a map would travel as all its numbers
        return Landmarks, (self.files, self.lines)

    def of(self, row: int, shape: Sequence[int]) -> np.ndarray:
        """(468, 2) float32 x and y in pixels of the row's picture, shown at this shape (H, W, ...); NaN where
        no face was found.
        """
        return decode_landmarks(self._numbers(row), shape)

    def has_face(self, row: int) -> bool:
        """Whether a face was found in the row's picture; of a root without landmarks, none was."""
        root, _ = self._place(row)
        return self._maps[root] is not None and bool(self._numbers(row)[0, 0] != _NONE)

    def _place(self, row: int) -> tuple[int, int]:
        """Number of a row's root, and the row's line in its table."""
        root = int(np.searchsorted(self._ends, row, side="right")) - 1
        line, lines = row - int(self._ends[root]), self.lines[root]
        return root, line if isinstance(lines, int) else int(lines[line])

    def _numbers(self, row: int) -> np.ndarray:
        root, line = self._place(row)
        return self._maps[root][line]


def landmarks_of(roots: Sequence[str], rows: np.ndarray | None = None) -> Landmarks:
    """The landmarks of finished shards in folders, a row a sample as in their tables; of a pattern, those of
    its shards.

    Args:
        rows: which are asked for, all of them by default; a root with none of them needs no landmarks.

    Raises:
        ValueError: a root lies elsewhere, has no landmarks, or not as dfd writes them; says what to do.
    """
    files: list[Path | None] = []
    lines: list[np.ndarray | int] = []
    first = 0
    for root in roots:
        if is_remote(root):
            raise ValueError(f"{root}: landmarks are read from shards on disk alone. Copy them here first.")
        folder, names = parse_root(root)
        index = read_index(Path(folder))
        if names is None:
            count = index["images"]
            lines.append(count)
        else:
            shard = np.array(load_table(Path(folder), list(_READ))["shard"].to_pylist())
            lines.append(np.flatnonzero(np.isin(shard, names)))
            count = len(lines[-1])
        asked = rows is None or bool(((rows >= first) & (rows < first + count)).any())
        files.append(landmark_file(folder, index) if asked else None)
        first += count
    return Landmarks(files, lines)


def landmark_file(root: str, index: Mapping[str, Any]) -> Path:
    """The file of the landmarks of finished shards in a folder, whose checksum is right.

    Args:
        index: their index.json.

    Raises:
        ValueError: they have none, or not as dfd writes them; says what to do.
    """
    said = index.get(LANDMARKS)
    if said is None:
        raise ValueError(
            f"{root} has no landmarks of faces, which data.pairs follows. "
            f"`dfd landmarks {root} --mesh face_landmark.tflite` adds them; a FaceBlend with "
            "--data.pairs.init_args.landmarks=false blends where face pictures have a face."
        )
    path = Path(root) / said["file"]
    again = f"`dfd landmarks {root} --mesh face_landmark.tflite` makes them again"
    size = path.stat().st_size if path.is_file() else None
    if size != said["bytes"]:
        found = "is missing" if size is None else f"has {size} bytes"
        raise ValueError(
            f"{path} {found}, index.json says {said['bytes']}. Copy the folder again, or {again}."
        )
    verify(path, said["sha256"])
    try:
        shape, kind = _header(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no file of landmarks ({error}). {again}.") from error
    if shape != (index["images"], NUM_LANDMARKS, 2) or kind != np.uint16:
        raise ValueError(
            f"{path} holds {kind} of shape {shape}, not uint16 of ({index['images']}, {NUM_LANDMARKS}, 2). "
            f"{again}."
        )
    return path


def remove_landmarks(root: Path, but: str = "") -> None:
    """Removes the files of landmarks of a folder, except for one."""
    for path in root.iterdir():
        if LANDMARK_FILE.fullmatch(path.name) and path.name != but:
            path.unlink()


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    return numbers.shape, numbers.dtype
