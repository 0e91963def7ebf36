"""Drawing functions of the toy set: soft edges, bumps, noise and colour in linear light.

A canvas is (3, N, N) float32 linear light, about [0, 1], with x to the right and y down, both from -1 to 1.
Colours come first because numpy is several times faster on planes than on triples.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np


def grid(num: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y, each (num, num) float32 in [-1, 1] at pixel centres."""
    line = (np.arange(num, dtype=np.float32) + 0.5) * (2.0 / num) - 1.0
    x, y = np.meshgrid(line, line)
    return x, y


def step(low: float | np.ndarray, high: float | np.ndarray, value: np.ndarray) -> np.ndarray:
    """0 at `low` and below, 1 at `high` and above, smooth between; low > high falls instead of rising."""
    t = (value - low) * (1.0 / (high - low))
    np.clip(t, 0.0, 1.0, out=t)
    return t * t * (3.0 - 2.0 * t)


def bump(x: np.ndarray, y: np.ndarray, at_x: float, at_y: float, width: float, height: float) -> np.ndarray:
    """A Gaussian hill of height 1 at (at_x, at_y)."""
    dx, dy = (x - at_x) * (1.0 / width), (y - at_y) * (1.0 / height)
    return np.exp(-0.5 * (dx * dx + dy * dy))


def paint(canvas: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lays colour (3,) or (3, H, W) over the canvas (3, H, W), in place, where alpha (H, W) says."""
    for plane, ink in zip(canvas, colour, strict=True):
        plane += alpha * (ink - plane)


def planes(colour: np.ndarray, *factors: np.ndarray) -> np.ndarray:
    """Colour (3,) or (3, H, W) times maps (H, W): (3, H, W)."""
    map_ = factors[0]
    for factor in factors[1:]:
        map_ = map_ * factor
    return np.stack([np.float32(ink) * map_ if np.ndim(ink) == 0 else ink * map_ for ink in colour])


def window(inside: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns (at least one of each) that hold everything True in inside (H, W)."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def linear(srgb: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Linear light of an sRGB colour given in [0, 255]."""
    c = np.asarray(srgb, dtype=np.float32) / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def grain(rng: np.random.Generator, num: int, *cells: float) -> np.ndarray:
    """Smooth noise (num, num) of unit deviation: the sum of one octave for each cell size in pixels."""
    total = np.zeros((num, num), np.float32)
    for cell in cells:
        few = max(2, round(num / cell))
        octave = rng.standard_normal((few, few), dtype=np.float32)
        total += octave if few == num else cv2.resize(octave, (num, num), interpolation=cv2.INTER_CUBIC)
    return total * (1.0 / max(float(cv2.meanStdDev(total)[1][0, 0]), 1e-6))


@functools.cache
def _brush() -> np.ndarray:
    """(64, 512) of smoothed noise that `strands` pulls out into hairs: one for all, at random places."""
    noise = np.random.default_rng(0xB2).standard_normal((64, 512), dtype=np.float32)
    brush = cv2.GaussianBlur(noise, (5, 5), 0.8, sigmaY=1.2)
    return brush / brush.std()


def strands(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, fine: float = 1.0) -> np.ndarray:
    """Hair-like noise (H, W) of about unit deviation: quick across the strands, slow along them.

    `across` and `along` are coordinates (H, W) in half head heights; `fine` is the number of strands relative
    to a usual head.
    """
    at, brush = rng.uniform(0, 500, 4), _brush()
    octaves = []
    for (right, down), wide, long in ((at[:2], 110.0 * fine, 9.0), (at[2:], 260.0 * fine, 16.0)):
        x, y = across * wide + float(right), along * long + float(down)
        octaves.append(cv2.remap(brush, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
    return (octaves[0] + 0.7 * octaves[1]) * (1 / 1.22)
