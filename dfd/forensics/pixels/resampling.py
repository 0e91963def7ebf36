"""Resampling: a picture or a part that was scaled or turned, by the period that interpolation leaves."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter
from scipy.stats import norm

from dfd.forensics.finding import Finding, Map, Method, Region, Table

METHOD = Method(
    "resampling",
    "Popescu & Farid 2005, Exposing digital forgeries by detecting traces of resampling; "
    "Kirchner 2008, Fast and reliable resampling detection by spectral analysis",
)

TILE = 128  # pixels; a multiple of 8: the lines of JPEG's grid then lie on whole frequencies
# a side; beyond, tiles lie further apart
MOST_TILES = 24
# Standard deviations of the highest peak, above which a picture was resampled, and a part of it. Of 24 camera
# originals one is above (half of its sensor's size), the next has 5.5; of 190 neighbourhoods' highest, 5.9.
WHOLE, PART = 5.6, 6.5
# a pixel that is so nearly the sum of its neighbours was interpolated (Kirchner's filter)
_PREDICTOR = np.float32([[-0.25, 0.5, -0.25], [0.5, -1.0, 0.5], [-0.25, 0.5, -0.25]])
# cycles a pixel; below it lies the picture itself
_LOWEST = 0.12
# frequencies, down and across, that a peak is compared with
_AROUND = (9, 9)


class Peak(NamedTuple):
    """A period in how well pixels follow from their neighbours.

    Args:
        strength: standard deviations above the frequencies around it.
        p: how probable so high a peak is anywhere, by chance.
        y: frequency in cycles a pixel, down, and
        x: across.
        bin: its place among the frequencies that are looked at.
    """

    strength: float
    p: float
    y: float
    x: float
    bin: int


def resampling(pixels: np.ndarray) -> Finding:
    """Whether a picture or a part of it was resampled: (H, W, 3) uint8 RGB, 192 pixels a side or more.

    The map is the strength of the strongest period, a value every half tile. The table has the scales and
    turns that leave such a period: the period of an enlargement may be that of a reduction too, so none of
    them is said to be the one.
    """
    height, width = pixels.shape[:2]
    needed = TILE * 3 // 2
    if min(height, width) < needed:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": needed})
    excess, textured = _excess(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    if textured.sum() < 4:
        return METHOD("abstained", "flat")
    whole = _highest(excess[textured].mean(axis=0), 1)
    around = _neighbourhoods(excess, textured)
    row, column = np.unravel_index(around.max(axis=2).argmax(), textured.shape)
    part = _highest(around[row, column], int(textured.sum()))
    facts = {"strength": whole.strength, "p": whole.p, "part_strength": part.strength, "part_p": part.p}
    if part.strength >= max(PART, whole.strength):
        status, answer, peak = "found", "part", part
    elif whole.strength >= WHOLE:
        status, answer, peak = "found", "whole", whole
    else:
        status, answer, peak = "clear", "none", part
    values = around[..., peak.bin]
    regions = []
    if answer == "part":
        regions = [Region(_box(row, column, textured.shape, height, width), "resampled")]
    return METHOD(
        status,
        answer,
        facts=facts,
        score=max(whole.strength / WHOLE, part.strength / PART),
        unit="thresholds",
        map=Map(np.ascontiguousarray(values, np.float32), low=3.0, high=12.0, unit="deviations"),
        table=Table(("scale", "turned"), _transforms(peak)) if status == "found" else None,
        regions=regions,
    )


def resampling_strength(gray: np.ndarray) -> float:
    """Strength of a whole picture's highest peak, in standard deviations; 0 where there is nothing to judge.

    Args:
        gray: (H, W) uint8.
    """
    if min(gray.shape) < TILE:
        return 0.0
    excess, textured = _excess(gray)
    return _highest(excess[textured].mean(axis=0), 1).strength if textured.any() else 0.0


def _excess(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log power of each tile above that of the frequencies around, (rows, columns, bins), of the p-map; and
    which tiles (rows, columns) show enough to judge.
    """
    tops, lefts = (_starts(length) for length in gray.shape)
    excess = np.zeros((len(tops), len(lefts), len(_bins())), np.float32)
    textured = np.zeros(excess.shape[:2], bool)
    hann = np.hanning(TILE + 1)[:-1].astype(np.float32)
    window = np.outer(hann, hann)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            tile = gray[top : top + TILE, left : left + TILE].astype(np.float32)
            error = np.abs(cv2.filter2D(tile, -1, _PREDICTOR, borderType=cv2.BORDER_REFLECT))
            probable = np.exp(-0.5 * error)
            if probable.std() < 0.02:
                continue
            textured[row, column] = True
            power = np.abs(scipy.fft.rfft2((probable - probable.mean()) * window)) ** 2
            log = np.log(power + 1e-9).astype(np.float32)
            excess[row, column] = (log - _background(log)).ravel()[_bins()]
    return excess, textured


def _background(log: np.ndarray) -> np.ndarray:
    """Mean of the frequencies around each, without those of the lattice, which may tower over all."""
    weight, total = _counted()
    return cv2.blur(log * weight, _AROUND, borderType=cv2.BORDER_REFLECT) / total


def _starts(length: int) -> np.ndarray:
    num = min(MOST_TILES, (length - TILE) // (TILE // 2) + 1)
    # even, so that the demosaicing of a camera has one phase everywhere
    return np.linspace(0, length - TILE, num).astype(int) // 2 * 2


@lru_cache(maxsize=1)
def _counted() -> tuple[np.ndarray, np.ndarray]:
    """1 where a frequency counts as background, and the share of such around each; (TILE, TILE // 2 + 1)."""
    weight = (~_lattice()).astype(np.float32)
    return weight, cv2.blur(weight, _AROUND, borderType=cv2.BORDER_REFLECT)


@lru_cache(maxsize=1)
def _bins() -> np.ndarray:
    """Frequencies that are looked at, as places in a flat (TILE, TILE // 2 + 1): not around the multiples of
    1/8, where JPEG's blocks and a camera's demosaicing have theirs, nor the lowest.
    """
    y, x = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]
    return np.flatnonzero(~_lattice() & (np.hypot(y, x) > _LOWEST))


def _lattice() -> np.ndarray:
    y, x = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]
    return _near_eighth(y) & _near_eighth(x)


def _near_eighth(frequency: np.ndarray) -> np.ndarray:
    return np.abs(frequency * 8 - np.round(frequency * 8)) / 8 < 3.5 / TILE


def _highest(excess: np.ndarray, places: int) -> Peak:
    """The highest peak of (bins,), where `places` such were looked at."""
    at = int(excess.argmax())
    strength = float((excess[at] - excess.mean()) / max(excess.std(), 1e-6))
    row, column = divmod(int(_bins()[at]), TILE // 2 + 1)
    p = min(1.0, float(norm.sf(strength)) * len(excess) * places)
    return Peak(strength, p, float(np.fft.fftfreq(TILE)[row]), column / TILE, at)


def _neighbourhoods(excess: np.ndarray, textured: np.ndarray) -> np.ndarray:
    """Strength in each tile and the eight around it together, (rows, columns, bins)."""
    num = uniform_filter(textured.astype(np.float32), 3, mode="constant")[..., None]
    mean = uniform_filter(excess, (3, 3, 1), mode="constant") / np.maximum(num, 1 / 9)
    centred = mean - mean.mean(axis=2, keepdims=True)
    strength = centred / np.maximum(centred.std(axis=2, keepdims=True), 1e-6)
    # a tile or two alone make no region
    return np.where(num > 3.5 / 9, strength, 0.0)


def _box(row: int, column: int, tiles: tuple[int, ...], height: int, width: int) -> tuple[float, ...]:
    """x, y, width, height of the neighbourhood of a tile."""
    tops, lefts = _starts(height), _starts(width)
    top, left = tops[max(row - 1, 0)], lefts[max(column - 1, 0)]
    bottom = tops[min(row + 1, tiles[0] - 1)] + TILE
    right = lefts[min(column + 1, tiles[1] - 1)] + TILE
    return float(left), float(top), float(right - left), float(bottom - top)


def _transforms(peak: Peak) -> tuple[tuple[float, float], ...]:
    """Scales and turns in degrees that make such a peak, the mildest first.

    A grid scaled by s and turned by t has its period at (sin t, cos t) / s, seen modulo one cycle a pixel.
    """
    found = []
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            down, across = peak.y + y, peak.x + x
            far = np.hypot(down, across)
            turn = (np.degrees(np.arctan2(down, across)) + 45) % 90 - 45
            # below a third smaller, aliasing hides the period
            if 0.25 <= far <= 1.5 and abs(turn) < 44:
                found.append((round(float(1 / far), 3), round(float(turn), 1)))
    found.sort(key=lambda each: abs(np.log(each[0])) + abs(each[1]) / 20)
    return tuple(dict.fromkeys(found))[:4] or ((1.0, 0.0),)
