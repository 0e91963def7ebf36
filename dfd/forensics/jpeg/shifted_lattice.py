"""Shifted lattice: traces of an earlier JPEG compression whose blocks began elsewhere (non-aligned double
JPEG).

Seen on the grid of the earlier compression, and on no other, DCT values still gather near multiples of its
steps (Bianchi and Piva, Detection of nonaligned double JPEG compression based on integer periodicity maps,
2012).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dfd.forensics.jpeg.dct_coefficients import block_dct
from dfd.forensics.jpeg.headers import scaled_tables
from dfd.forensics.jpeg.histograms import LOW_MODES

# DCT values up to this are counted, in bins of half a unit; earlier steps that are tried
_REACH, _BINS = 255, 2
_STEPS = np.arange(3, 64)


class Lattice(NamedTuple):
    """The strongest earlier grid."""

    x: int  # column modulo 8 at which its blocks begin
    y: int
    quality: int  # of libjpeg whose steps fit best
    strength: float  # standard deviations above the other grids


def shifted_lattice(pixels: np.ndarray) -> Lattice:
    """The grid on which DCT values gather most, other than the picture's own and those at half a block from
    it.

    Args:
        pixels: (H, W) uint8 luma whose own blocks begin at 0, 0; both sides at least 64.
    """
    height, width = ((side - 8) // 8 * 8 for side in pixels.shape)
    counts = np.zeros((8, 8, len(LOW_MODES), _REACH * _BINS))
    for y in range(8):
        for x in range(8):
            dct = block_dct(pixels[y : y + height, x : x + width])
            for number, (vertical, horizontal) in enumerate(LOW_MODES):
                counts[y, x, number] = _counts(dct[vertical::8, horizontal::8])
    gathered = _gathering(counts)
    strength = np.zeros((8, 8, 100))
    # grids that share rows or columns with the picture's own see a part of its quantization: among themselves
    for ys, xs in (((0,), range(1, 8)), (range(1, 8), (0,)), (range(1, 8), range(1, 8))):
        group = gathered[np.ix_(ys, xs)]
        # spread of a sum over frequencies of independent values of unit variance
        excess = group - np.median(group, axis=(0, 1))
        strength[np.ix_(ys, xs)] = excess[:, :, np.arange(len(LOW_MODES)), _table_steps()].sum(axis=-1)
    strength /= np.sqrt(len(LOW_MODES))
    # a shift by half a block has symmetries with the picture's own grid that look like a lattice
    strength[::4, ::4] = 0
    y, x, quality = (int(at) for at in np.unravel_index(strength.argmax(), strength.shape))
    return Lattice(x, y, quality + 1, float(strength[y, x, quality]))


def _counts(values: np.ndarray) -> np.ndarray:
    """(bins,) how many values are of each size."""
    bins = np.rint(np.abs(values) * _BINS).astype(np.int64).ravel()
    return np.bincount(bins[bins < _REACH * _BINS], minlength=_REACH * _BINS)


def _gathering(counts: np.ndarray) -> np.ndarray:
    """(..., steps) how much values gather at multiples of each step but 0, of their (..., bins) counts; unit
    variance without a lattice.
    """
    return counts @ _WAVES.T / np.sqrt(np.maximum(counts @ _SQUARES.T, 1))


def _table_steps() -> np.ndarray:
    """(100, modes) place in _STEPS of libjpeg's steps at each quality."""
    tables = scaled_tables().reshape(100, 8, 8)
    steps = np.stack([tables[:, v, h] for v, h in LOW_MODES], axis=1)
    return np.clip(steps, _STEPS[0], _STEPS[-1]) - _STEPS[0]


def _waves() -> np.ndarray:
    """(steps, bins) cosines with the periods of the steps, 0 below 0.6 of a step: what is near 0 tells
    nothing."""
    at = np.arange(_REACH * _BINS) / _BINS
    waves = np.cos(2 * np.pi * at / _STEPS[:, None])
    return np.where(at < 0.6 * _STEPS[:, None], 0, waves)


_WAVES = _waves()
_SQUARES = _WAVES**2
