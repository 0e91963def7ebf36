"""Iris: where it is in an eye, by the circle across which brightness rises most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.forensics.face.geometry import filled

# of the circle those parts that lids rarely cover: of the right side, then of the left one; y runs downwards
_SIDE = np.radians(np.linspace(-50, 40, 14))
_ANGLES = np.concatenate([_SIDE, np.pi - _SIDE])
# radii in widths of the eye: an iris is 12 mm wide, the opening of the lids 28 to 32
_RADII = np.arange(0.15, 0.27, 0.015)


@dataclass(frozen=True)
class Iris:
    """A circle, in pixels of the picture it was found in.

    Args:
        x: of its centre.
        y: of its centre.
        radius: in pixels.
        contrast: grey levels by which the white of the eye is brighter, on the fainter of the two sides.
    """

    x: float
    y: float
    radius: float
    contrast: float


def find_iris(gray: np.ndarray, outline: np.ndarray) -> Iris:
    """The iris in an eye: Daugman's integro-differential operator on both flanks (1993).

    Args:
        gray: (H, W) float32 luma.
        outline: (K, 2) of the lids.
    """
    center, width = outline.mean(0), max(float(np.ptp(outline[:, 0])), 1.0)
    columns = center[0] + width * np.arange(-0.28, 0.281, 0.035)
    rows = center[1] + width * np.arange(-0.1, 0.121, 0.04)
    at = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    radii = width * _RADII
    smooth = cv2.GaussianBlur(gray, (0, 0), max(0.6, 0.02 * width))
    step = 0.03 * width
    rise = _on_circles(smooth, at, radii + step) - _on_circles(smooth, at, radii - step)
    seen = _on_circles(filled(gray.shape, outline).astype(np.float32), at, radii) > 0.5
    # a highlight on the rim is no more than a good edge
    rise = np.where(seen, np.clip(rise, -40, 80), 0)
    half = len(_SIDE)
    # a flank that the lids cover is no flank
    right, left = (
        rise[..., side].sum(-1) / np.maximum(seen[..., side].sum(-1), 5)
        for side in (slice(0, half), slice(half, None))
    )
    value = np.minimum(left, right) + (left + right) / 4
    place, size = np.unravel_index(int(value.argmax()), value.shape)
    contrast = float(min(left[place, size], right[place, size]))
    return Iris(float(at[place, 0]), float(at[place, 1]), float(radii[size]), contrast)


def unrolled(image: np.ndarray, iris: Iris, num: int) -> np.ndarray:
    """The square around an iris (num, num), from -1 to 1 radii on each axis."""
    scale = num / 2 / iris.radius
    middle = num / 2 - 0.5
    matrix = np.array([[scale, 0, middle - scale * iris.x], [0, scale, middle - scale * iris.y]])
    return cv2.warpAffine(image, matrix, (num, num), borderMode=cv2.BORDER_REPLICATE)


def _on_circles(image: np.ndarray, at: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(places, radii, angles) values of an image on circles."""
    x = at[:, 0, None, None] + radii[:, None] * np.cos(_ANGLES)
    y = at[:, 1, None, None] + radii[:, None] * np.sin(_ANGLES)
    flat = (x.reshape(len(at), -1).astype(np.float32), y.reshape(len(at), -1).astype(np.float32))
    values = cv2.remap(image, *flat, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(x.shape)


def disc(num: int, radius: float = 1.0) -> np.ndarray:
    """(num, num) bool, the disc of so many radii in what `unrolled` gives."""
    axis = (np.arange(num) + 0.5) / num * 2 - 1
    return np.hypot(axis[:, None], axis) <= radius


def from_middle(mask: np.ndarray) -> tuple[float, float]:
    """x, y of a mask's centre of mass (num, num), in radii from the middle."""
    rows, columns = np.nonzero(mask)
    half = mask.shape[0] / 2
    if not rows.size:
        return math.nan, math.nan
    return float((columns.mean() + 0.5) / half - 1), float((rows.mean() + 0.5) / half - 1)
