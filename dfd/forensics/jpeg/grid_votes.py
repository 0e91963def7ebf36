"""Votes for the origin of the JPEG grid: each pixel votes for the block of 8 x 8 around it that has most
zeros.

JPEG sets most of a block's coefficients to zero, and only blocks on its own grid show it. Where one block of
the 64 that hold a pixel has more zeros than all others, the pixel votes for that block's grid (Nikoukhah et
al.,
ZERO: a local JPEG grid origin detector, IPOL 2021). Without any compression the 64 grids get equal shares,
which gives the probability of a majority by chance.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dfd.forensics.jpeg.dct_coefficients import BASIS

GRIDS = 64
# pixels a side of the cells in which votes are counted, and rows that are worked on at a time
CELL, STRIP = 16, 128
FAST_ABOVE = 4_000_000  # pixels
# some frequencies are multiples of 1/8: an exact half counts as zero, however it is computed
_HALF = 0.5001


def cell_votes(luma: np.ndarray) -> np.ndarray:
    """(rows, columns, 65) uint16 votes in cells of 16 x 16 pixels for each grid, and last the pixels with
    none.

    Pictures of more than 4 megapixels are judged by the 36 higher frequencies alone, which takes half the
    time.

    Grid 8 y + x has blocks that begin at row y and column x, modulo 8. A rim of less than a cell is left out.

    Args:
        luma: (H, W) uint8, at least 16 x 16.
    """
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    counts = np.empty((rows, columns, GRIDS + 1), np.uint16)
    fast = luma.size > FAST_ABOVE
    cell_of = np.arange(columns * CELL) // CELL * (GRIDS + 1)
    for top in range(0, rows * CELL, STRIP):
        bottom = min(top + STRIP, rows * CELL)
        votes = _strip_votes(luma, top, bottom, fast)[:, : columns * CELL]
        for row in range(top // CELL, bottom // CELL):
            own = votes[row * CELL - top : (row + 1) * CELL - top]
            number = np.bincount((own + cell_of).ravel(), minlength=columns * (GRIDS + 1))
            counts[row] = number.reshape(columns, GRIDS + 1)
    return counts


def _strip_votes(luma: np.ndarray, top: int, bottom: int, fast: bool) -> np.ndarray:
    """(bottom - top, W) grid that each pixel of some rows votes for, GRIDS where blocks are equal."""
    first, last = max(0, top - 7), min(len(luma), bottom + 7)
    zeros = _zeros(luma[first:last].astype(np.float32), fast)
    height, width = zeros.shape
    rows, columns = (first + np.arange(height)) % 8, np.arange(width) % 8
    grid = (8 * rows[:, None] + columns).astype(np.uint16)
    count = zeros.astype(np.uint16) << 6
    # the largest of (zeros, grid) and of (zeros, 63 - grid) over the 64 blocks: equal grids mean no tie
    best = _largest_around(count | grid) & 63
    other = 63 - (_largest_around(count | (63 - grid)) & 63)
    votes = np.where(best == other, best, GRIDS)
    return votes[top - first : bottom - first]


def _zeros(strip: np.ndarray, fast: bool) -> np.ndarray:
    """(H - 7, W - 7) uint8 coefficients of the block that begins at each pixel which round to zero."""
    height, width = strip.shape[0] - 7, strip.shape[1] - 7
    zeros = np.zeros((height, width), np.uint8)
    one = np.ones((1, 1), np.float32)
    for frequency, vertical in enumerate(BASIS):
        columns = cv2.sepFilter2D(strip, -1, one, vertical.reshape(8, 1), anchor=(0, 0))[:height]
        for horizontal in BASIS[7 - frequency if fast else 0 :]:
            dct = cv2.sepFilter2D(columns, -1, horizontal.reshape(1, 8), one, anchor=(0, 0))[:, :width]
            zeros += cv2.inRange(dct, -_HALF, _HALF) & 1
    return zeros


def _largest_around(values: np.ndarray) -> np.ndarray:
    """(H + 7, W + 7): the largest value of the blocks that hold each pixel, from (H, W) of those that begin
    there."""
    whole = cv2.copyMakeBorder(values, 7, 7, 7, 7, cv2.BORDER_CONSTANT, value=0)
    return cv2.dilate(whole, np.ones((8, 8), np.uint8), anchor=(7, 7))[7:, 7:]


def log_tail(votes: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Natural logarithm of an upper bound of the probability that so many pixels vote for one grid by chance.

    Votes of pixels in one block hang together: 64 pixels count as one vote of a binomial law with p = 1/64;
    its tail is below exp(-n KL(k / n, p)) (Chernoff). 0 for shares of 1/64 and less.
    """
    number = np.maximum(np.asarray(pixels, float) / GRIDS, 1e-9)
    share = np.clip(np.asarray(votes, float) / GRIDS / number, 1 / GRIDS, 1)
    left = np.maximum(1 - share, 1e-12)
    divergence = share * np.log(share * GRIDS) + left * np.log(left / (1 - 1 / GRIDS))
    return -number * divergence


def main_grid(counts: np.ndarray) -> tuple[int, float]:
    """The grid of most votes in a whole picture, and log10 of the number of grids that would by chance get as
    many (below 0 is no chance)."""
    votes = counts[..., :GRIDS].sum(axis=(0, 1), dtype=np.int64)
    best = int(votes.argmax())
    return best, log10_chance(int(votes[best]), int(counts.sum(dtype=np.int64)), tests=GRIDS)


def log10_chance(votes: int, pixels: int, tests: int) -> float:
    """log10 of how many of `tests` grids would by chance get so many votes of so many pixels (the NFA); 0 and
    more is chance."""
    return float(log_tail(np.array(votes), np.array(pixels))) / math.log(10) + math.log10(tests)
