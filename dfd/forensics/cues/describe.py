"""The vector of cues of a file."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from dfd.forensics.cues import file_facts, jpeg_blocks, noise, pixel_facts, spectrum
from dfd.media.decode import read_picture

# a change of any number, or of the names, is another version: vectors of two versions are not compared
CUES_VERSION = 1
CUES: tuple[str, ...] = (
    *file_facts.NAMES,
    *jpeg_blocks.NAMES,
    *noise.NAMES,
    *spectrum.NAMES,
    *pixel_facts.NAMES,
)
KINDS = ("file", "jpeg", "noise", "spectrum", "pixels")
SIDE = 512  # pixels of the central square that is measured; a large photo costs no more than its decoding
_LEAST = 32  # pixels a side; smaller pictures are mirrored up to it
_LIMIT = np.float32(1e6)


def describe(data: bytes) -> np.ndarray:
    """(len(CUES),) float32 in the order of CUES, finite on any picture.

    Apart from the facts of the file, the central SIDE x SIDE pixels are measured, upright.

    Args:
        data: the file as found; an encoding of its pixels has other cues.

    Raises:
        Undecodable: as `dfd.media.decode.read_picture` does; transparent pictures are described.
    """
    picture = read_picture(data)
    height, width = picture.pixels.shape[:2]
    pixels = _at_least(_central(picture.pixels))
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    values = (
        file_facts.measure(data, picture.format, width, height)
        | jpeg_blocks.measure(data, luma)
        | noise.measure(pixels, luma)
        | spectrum.measure(luma)
        | pixel_facts.measure(pixels, luma)
    )
    found = np.array([values[name] for name in CUES], np.float32)
    return np.clip(np.nan_to_num(found, nan=0.0, posinf=_LIMIT, neginf=-_LIMIT), -_LIMIT, _LIMIT)


def kinds(names: Iterable[str], keep: Iterable[str] = KINDS[1:]) -> np.ndarray:
    """Places of the cues of some kinds; by default all but the facts of the file.

    Args:
        names: of the cues, CUES or those that shards have.
        keep: of KINDS.

    Raises:
        ValueError: an unknown kind.
    """
    kept = tuple(keep)
    if unknown := [kind for kind in kept if kind not in KINDS]:
        raise ValueError(f"{unknown[0]!r} is no kind of cue: there are {', '.join(KINDS)}.")
    return np.array([at for at, name in enumerate(names) if name.partition(".")[0] in kept], np.int64)


def _central(pixels: np.ndarray) -> np.ndarray:
    """The central square; it begins at multiples of 8, so that blocks keep their grid."""
    top, left = (max(0, length - SIDE) // 16 * 8 for length in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def _at_least(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if min(height, width) >= _LEAST:
        return np.ascontiguousarray(pixels)
    down, across = max(0, _LEAST - height), max(0, _LEAST - width)
    return cv2.copyMakeBorder(pixels, 0, down, 0, across, cv2.BORDER_REFLECT)
