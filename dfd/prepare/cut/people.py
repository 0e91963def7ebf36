"""Forged person of a video with several people: found by comparison with the original, never guessed."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dfd.media.face_tracks import box_at
from dfd.media.faces import crop_box
from dfd.media.files import open_inside
from dfd.media.video import count_frames, evenly_spaced, frames_at

UNTOLD = "two people or more, and nothing says which of them is forged"
_PRESENT = 0.25  # of the frames looked at: less of it is a passer-by, or what the detector took for a face
# a side of the grid that faces are compared on: coarse enough for two encodings of the same pixels to agree
_CELLS = 32
_UPPER = 90  # percentile over the cells: some methods exchange no more than the mouth
_CLEAR = 3.0  # how many times as much as the other people the forged one differs from the original
_LEAST = 4.0  # of 255: less may be the encoder's doing


class People(NamedTuple):
    """Those who are in a video long enough to matter, the most prominent first."""

    numbers: list[int]  # of the frames looked at, ascending
    # of each person, boxes (4,) as shares of the frame; None where they are not seen
    tracks: list[list[np.ndarray | None]]


def is_present(num_seen: int, num_frames: int) -> bool:
    """Whether a second person counts, seen in some of the frames looked at: in one alone it may be the
    detector's error.
    """
    return num_seen >= max(min(2, num_frames), _PRESENT * num_frames)


def forged_person(root: str, path: str, original: str, people: People, num: int) -> int | None:
    """Which of the people differs clearly from the original while the others do not; None where none does so.

    Args:
        root: folder that the paths of both videos start at.
        num: of frames to compare.

    Raises:
        Undecodable: one of the videos is damaged.
    """
    differences: list[list[np.ndarray]] = [[] for _ in people.tracks]  # (_CELLS, _CELLS) each
    with open_inside(root, path) as fake, open_inside(root, original) as real:
        # forged videos may end early
        numbers = evenly_spaced(min(count_frames(fake), count_frames(real)), num)
        for (number, one), (_, other) in zip(frames_at(fake, numbers), frames_at(real, numbers), strict=True):
            for found, track in zip(differences, people.tracks, strict=True):
                box = box_at(people.numbers, track, number)
                if box is not None:
                    found.append(np.abs(_cells(one, box) - _cells(other, box)).mean(axis=2))
    if not all(differences):
        return None
    return clearly_largest([float(np.percentile(np.mean(found, axis=0), _UPPER)) for found in differences])


def clearly_largest(differences: Sequence[float]) -> int | None:
    """Which of two or more differences, in levels of 255, is large while the others are not."""
    *_, second, largest = np.sort(differences)
    return int(np.argmax(differences)) if largest >= max(_LEAST, _CLEAR * second) else None


def _cells(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The face (_CELLS, _CELLS, 3) in a box given as shares of the frame."""
    x, y, side, _ = crop_box(image.shape, box * ([image.shape[1], image.shape[0]] * 2), 1.0)
    face = image[y : y + side, x : x + side].astype(np.float32)
    return cv2.resize(face, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
