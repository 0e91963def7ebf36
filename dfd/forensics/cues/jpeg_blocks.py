"""Cues of 8 x 8 blocks: their DCT, what quantization left in it, the grid, and error levels."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dfd.forensics.jpeg import jpeg_facts
from dfd.forensics.jpeg.dct_coefficients import block_dct
from dfd.media.encode import through_gray_jpeg

_DIGITS = np.log10(1 + 1 / np.arange(1, 10))  # Benford's law
_MODES = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0))  # the first in zigzag order
_BINS = 64  # of a histogram, to each side of 0
_QUALITY = 90  # of the error levels
NAMES = (
    *(f"jpeg.digit_{digit}" for digit in range(1, 10)),
    "jpeg.benford",
    "jpeg.zeros",
    "jpeg.periodicity",
    "jpeg.periodicity_max",
    *(f"jpeg.amplitude_{at:02d}" for at in range(1, 15)),
    *(f"jpeg.grid_x{at}" for at in range(8)),
    *(f"jpeg.grid_y{at}" for at in range(8)),
    "jpeg.ela",
    "jpeg.ela_spread",
)


def measure(data: bytes, luma: np.ndarray) -> dict[str, float]:
    """The cues NAMES.

    Digits, zeros and periods are of the DCT in steps of the file's own luma table, so that they are those of
    the stored coefficients; of other formats, in steps of 1. An earlier JPEG of the same grid shows in the
    histograms as a period (Popescu & Farid 2004), and in the first digits (Fu, Shi & Su 2007).

    Args:
        luma: (H, W) uint8, 32 or more a side, beginning at a corner of the file's blocks.
    """
    dct = _block_dct(luma)
    table = _table(data)
    steps = np.rint(dct / table)
    magnitude = np.abs(steps.reshape(-1, 64)[:, 1:])
    nonzero = magnitude[magnitude > 0]
    digits = _first_digits(nonzero)
    found = {f"jpeg.digit_{digit}": float(share) for digit, share in enumerate(digits, 1)}
    found["jpeg.benford"] = float(((digits - _DIGITS) ** 2 / _DIGITS).sum()) if nonzero.size else 0.0
    found["jpeg.zeros"] = 1 - nonzero.size / magnitude.size
    combs = [_periodicity(steps[:, row, column]) for row, column in _MODES]
    found |= {"jpeg.periodicity": float(np.mean(combs)), "jpeg.periodicity_max": float(np.max(combs))}
    amplitude = np.abs(dct).mean(axis=0)
    for at in range(1, 15):
        found[f"jpeg.amplitude_{at:02d}"] = float(np.log(amplitude[_diagonals() == at].mean() + 1e-2))
    return found | _grid(luma) | _ela(luma)


def _block_dct(luma: np.ndarray) -> np.ndarray:
    """(blocks, 8, 8) float32 orthonormal DCT of each whole block, in grey levels."""
    rows, columns = (length // 8 for length in luma.shape)
    plane = block_dct(luma[: rows * 8, : columns * 8])
    return plane.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)


def _table(data: bytes) -> np.ndarray:
    """(8, 8) float32 luma steps of a JPEG file; ones for any other."""
    facts = jpeg_facts(data) if data[:2] == b"\xff\xd8" else None
    if facts is None or len(facts.tables[0]) != 64:
        return np.ones((8, 8), np.float32)
    return np.maximum(np.array(facts.tables[0], np.float32).reshape(8, 8), 1)


def _first_digits(magnitude: np.ndarray) -> np.ndarray:
    """(9,) share of each first digit of whole numbers from 1 up; Benford's own where there is none."""
    if not magnitude.size:
        return _DIGITS
    power = 10 ** np.floor(np.log10(magnitude) + 1e-6)
    digit = np.clip((magnitude / power).astype(np.int64), 1, 9)
    return np.bincount(digit, minlength=10)[1:] / magnitude.size


def _periodicity(values: np.ndarray) -> float:
    """How far the strongest period of a histogram stands out, as log ratio to the median of the others."""
    counts = np.bincount(np.clip(values, -_BINS, _BINS).astype(np.int64) + _BINS, minlength=2 * _BINS + 1)
    inner = counts[1:-1].astype(np.float32)
    # what is smooth of it is the content's own, Laplacian
    rough = inner - cv2.blur(inner[None], (9, 1))[0]
    spectrum = np.abs(np.fft.rfft(rough * _hann(len(rough))))[6:]
    return float(np.log((spectrum.max() + 1e-3) / (np.median(spectrum) + 1e-3)))


def _grid(luma: np.ndarray) -> dict[str, float]:
    """How much stronger the steps between neighbours are at each of the 8 offsets than on average, as log."""
    found = {}
    for name, lines in (("x", luma), ("y", luma.T)):
        light = lines.astype(np.float32)
        # a step that is more than its neighbours on both sides: edges of content are wider than one pixel
        step = np.abs(np.diff(light, axis=1))
        own = np.maximum(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, 0).mean(axis=0)
        # step k lies between k and k + 1: that at a block's edge between 7 and 8 has offset 0
        offset = (np.arange(len(own)) + 2) % 8
        mean = np.bincount(offset, own, minlength=8) / np.maximum(np.bincount(offset, minlength=8), 1)
        level = np.log((mean + 1e-2) / (mean.mean() + 1e-2))
        found |= {f"jpeg.grid_{name}{at}": float(level[at]) for at in range(8)}
    return found


def _ela(luma: np.ndarray) -> dict[str, float]:
    """Error level (Krawetz 2007): mean change by one more JPEG, and how unlike it is from place to place."""
    again = through_gray_jpeg(luma, _QUALITY)
    error = cv2.absdiff(luma, again).astype(np.float32)
    rows, columns = (length // 16 for length in luma.shape)
    places = cv2.resize(error[: rows * 16, : columns * 16], (columns, rows), interpolation=cv2.INTER_AREA)
    return {"jpeg.ela": float(error.mean()), "jpeg.ela_spread": float(places.std())}


@lru_cache(maxsize=1)
def _diagonals() -> np.ndarray:
    """(8, 8) row plus column."""
    return np.add.outer(np.arange(8), np.arange(8))


@lru_cache(maxsize=8)
def _hann(length: int) -> np.ndarray:
    return np.hanning(length).astype(np.float32)
