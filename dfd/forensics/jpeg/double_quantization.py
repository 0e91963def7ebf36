"""Double quantization: how likely stored coefficients are under an earlier compression with other steps.

Coefficients that were quantized by q1 before they are by q2 lie on multiples of q1, so some of their values
are rare and others frequent (Lukas and Fridrich 2003; Popescu and Farid 2004). What the histogram would be
without an earlier compression is measured on the picture itself, on blocks shifted by half a block, where its
traces are destroyed (Fridrich, Goljan and Hogea 2002; Bianchi and Piva 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dfd.forensics.jpeg.dct_coefficients import Coefficients, block_dct, block_pixels
from dfd.forensics.jpeg.headers import scaled_tables
from dfd.forensics.jpeg.histograms import LOW_MODES

# largest absolute DCT value that is looked at, and one more than the largest earlier step that is tried
REACH, MAX_STEP = 255, 64
# absolute values 0, 1, ...: with room for what an earlier quantization rounds down to REACH
_VALUES = np.arange(REACH + MAX_STEP + 1)
# of the earlier decoder's rounding to whole grey levels, and of the colours between: standard deviation,
# levels
_NOISE = 0.6
# share of coefficients that no earlier compression explains: clipped blocks, retouched parts
_OTHERS = 0.03
# a gain is halved where there are only so many coefficients: what a few of them gain may be chance
_FEW = 1200
# gain of a frequency is kept above this, so that one odd frequency cannot outvote the others
_LEAST_GAIN = -0.5
# blocks that are read, in groups of block rows spread over the picture
_BLOCKS, _GROUP = 40_000, 8


@dataclass(frozen=True)
class Sample:
    """What is measured of a picture's luma at LOW_MODES.

    Args:
        steps: (modes,) of its own quantization.
        counts: of each mode, (K + 1,) counts of absolute stored values 0 to K, K = REACH // step.
        single: of each mode, (320,) shares of absolute DCT values as without any compression.
        blocks: that were counted.
    """

    steps: tuple[int, ...]
    counts: tuple[np.ndarray, ...]
    single: tuple[np.ndarray, ...]
    blocks: int


def sample(read: Coefficients) -> Sample:
    """Histograms of the low frequencies of luma, from at most about 40,000 blocks."""
    luma = read.luma
    rows, columns = read.size[0] // 8, read.size[1] // 8
    every = max(1, round(rows * columns / _BLOCKS))
    stored: list[list[np.ndarray]] = [[] for _ in LOW_MODES]
    shifted: list[list[np.ndarray]] = [[] for _ in LOW_MODES]
    for top in range(0, max(1, rows - _GROUP + 1), _GROUP * every):
        group = luma.plane[8 * top : 8 * min(rows, top + _GROUP), : 8 * columns]
        between = block_dct(block_pixels(group, luma.table)[4:-4, 4:-4])
        for (vertical, horizontal), values, others in zip(LOW_MODES, stored, shifted, strict=True):
            values.append(np.abs(group[vertical::8, horizontal::8]).ravel())
            others.append(np.rint(np.abs(between[vertical::8, horizontal::8])).astype(np.int64).ravel())
    steps = tuple(int(luma.table[mode]) for mode in LOW_MODES)
    counts = tuple(
        _counted(np.concatenate(values), REACH // step + 1)
        for values, step in zip(stored, steps, strict=True)
    )
    single = tuple(_smooth(_counted(np.concatenate(others), len(_VALUES))) for others in shifted)
    return Sample(steps, counts, single, sum(len(values) for values in stored[0]))


def gains(measured: Sample) -> np.ndarray:
    """(modes, MAX_STEP) mean log-likelihood gain of a coefficient by each earlier step, in nats.

    Of coefficients that are not zero: flat parts of a picture have nothing but zeros, and tell nothing. 0 for
    steps that leave no trace (0, 1 and the picture's own), and towards 0 where there are few coefficients.
    """
    found = np.zeros((len(measured.steps), MAX_STEP))
    for row, step, counts, single in zip(
        found, measured.steps, measured.counts, measured.single, strict=True
    ):
        total = counts[1:].sum()
        if not total:
            continue
        once, twice = shares(single, step)
        once, twice = once[1:] / once[1:].sum(), twice[:, 1:] / twice[:, 1:].sum(axis=1, keepdims=True)
        likelihood = np.log((1 - _OTHERS) * twice / once + _OTHERS) @ counts[1:]
        row[2:] = np.maximum(likelihood[2:] / (total + _FEW), _LEAST_GAIN)
        if step < MAX_STEP:
            row[step] = 0
    return found


def by_quality(found: np.ndarray) -> np.ndarray:
    """(100,) gain by an earlier compression with libjpeg's table of each quality: the sum over modes."""
    tables = scaled_tables().reshape(100, 8, 8)
    steps = np.minimum(np.stack([tables[:, v, h] for v, h in LOW_MODES], axis=1), MAX_STEP - 1)
    return found[np.arange(len(found)), steps].sum(axis=1)


def shares(single: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the absolute values 0 to K = REACH // step that quantization by `step` makes.

    Returns:
        (K + 1,) of one quantization, and (MAX_STEP, K + 1) of one after an earlier one by each step; rows 0
        and 1 are an earlier one by 1.
    """
    tiny = 1e-12
    twice = np.zeros((MAX_STEP, len(_VALUES)))
    for rounded in _first():
        places = (np.arange(MAX_STEP)[:, None] * len(_VALUES) + rounded).ravel()
        weights = np.broadcast_to(single / 2, rounded.shape).ravel()
        twice += np.bincount(places, weights, minlength=twice.size)[: twice.size].reshape(twice.shape)
    return _rounding(step) @ single + tiny, twice @ _noisy_rounding(step).T + tiny


def _counted(values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(values[values < count], minlength=count)


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Shares of absolute values, slightly smooth but at 0, where flat parts have a peak; none of them 0."""
    smooth = np.convolve(np.r_[counts[1], counts[1:], 0], np.ones(3) / 3, "valid")
    smooth = np.r_[counts[0], smooth] + 1e-3
    return smooth / smooth.sum()


@lru_cache(maxsize=MAX_STEP)
def _rounding(step: int) -> np.ndarray:
    """(K + 1, values) share of each absolute value that is rounded to 0 to K steps; ties go half each way."""
    weights = np.zeros((REACH // step + 1, len(_VALUES)))
    for rounded in _rounded(step):
        kept = np.flatnonzero(rounded < len(weights))
        np.add.at(weights, (rounded[kept], kept), 0.5)
    return weights


@lru_cache(maxsize=MAX_STEP)
def _noisy_rounding(step: int) -> np.ndarray:
    """As `_rounding`, of values before the earlier decoder's rounding to grey levels."""
    return _rounding(step) @ _noise()


def _rounded(step: int) -> tuple[np.ndarray, np.ndarray]:
    """(values,) in steps, ties up; and ties down."""
    up = np.floor(_VALUES / step + 0.5).astype(int)
    return up, np.ceil(_VALUES / step - 0.5).astype(int)


@lru_cache(maxsize=1)
def _first() -> tuple[np.ndarray, np.ndarray]:
    """(MAX_STEP, values) what each value becomes by a quantization with each step, ties up; and ties down."""
    both = [[rounded * step for rounded in _rounded(step)] for step in range(1, MAX_STEP)]
    up, down = (np.minimum([each[tie] for each in both], len(_VALUES) - 1) for tie in (0, 1))
    return np.vstack([up[:1], up]), np.vstack([down[:1], down])


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    """(values, values) share of each absolute value that rounding to grey levels moves to another."""
    reach = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (reach / _NOISE) ** 2)
    kernel /= kernel.sum()
    moved = np.zeros((len(_VALUES), len(_VALUES)))
    for shift, weight in zip(reach, kernel, strict=True):
        to = np.minimum(np.abs(_VALUES + shift), len(_VALUES) - 1)
        np.add.at(moved, (to, _VALUES), weight)
    return moved
