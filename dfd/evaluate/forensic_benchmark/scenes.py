"""Photographs of a simulated camera: drawn scenes through lens, Bayer mosaic, sensor noise and demosaicing.

The scenes are drawn at twice the size, of noise with the spectrum of photographs (Field, 1987): nothing in
them was enlarged, which a tool that looks for resampling would rightly find.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from dfd.synthetic.camera import Camera
from dfd.synthetic.canvas import window

OBJECTS = 14


@dataclass(frozen=True)
class Scenes:
    """Untouched photographs, never compressed."""

    num: int
    seed: int = 0
    size: int = 512

    def __len__(self) -> int:
        return self.num

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(f"scene {number}" for number in range(self.num))

    def identity(self) -> dict[str, Any]:
        return {"scenes": self.num, "seed": self.seed, "size": self.size, "drawing": 2}

    def photograph(self, number: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB, each by another camera; not to be changed."""
        return _photograph(self.seed, number, self.size)


@lru_cache(maxsize=64)  # each is needed for every edit and every way to save it
def _photograph(seed: int, number: int, size: int) -> np.ndarray:
    rng = np.random.default_rng((seed, number))
    pixels = Camera.draw(rng).photograph(draw_scene(rng, 2 * size), size, rng)
    pixels.flags.writeable = False
    return pixels


def draw_scene(rng: np.random.Generator, num: int) -> np.ndarray:
    """Linear light (3, num, num) float32: a background and objects before it, each of its own colour and
    texture."""
    light = _surface(rng, num, num)
    for _ in range(OBJECTS):
        mask = _polygon(rng, num)
        if not mask.any():  # it lies outside
            continue
        cut = window(mask)
        inside = mask[cut]
        light[(..., *cut)][:, inside] = _surface(rng, *inside.shape)[:, inside]
    return light


def _surface(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(3, height, width): one colour, lit unevenly, with texture."""
    num = next_fast_len(max(height, width), real=True)
    colour = rng.uniform(0.1, 1.0) * rng.dirichlet((4, 4, 4))[:, None, None]
    texture = _noise(rng, num, rng.uniform(0.7, 1.1))
    shade = 0.35 * _noise(rng, num, 1.6) + rng.uniform(0.1, 0.3) * texture
    return (colour * np.exp(np.clip(shade[:height, :width], -2, 1.5))).astype(np.float32)


def _noise(rng: np.random.Generator, num: int, steepness: float) -> np.ndarray:
    """(num, num) of unit deviation, whose amplitude falls with the frequency to this power."""
    frequency = np.hypot(np.fft.fftfreq(num)[:, None], np.fft.rfftfreq(num)[None, :]).astype(np.float32)
    noise = rfft2(rng.standard_normal((num, num), dtype=np.float32))
    shaped = irfft2(noise * np.maximum(frequency, 2 / num) ** np.float32(-steepness), s=(num, num))
    return shaped / shaped.std()


def _polygon(rng: np.random.Generator, num: int) -> np.ndarray:
    """(num, num) bool."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 12))))
    reach = rng.uniform(0.05, 0.22) * num * rng.uniform(0.6, 1.0, len(angle))
    middle = rng.uniform(0, num, 2)
    corners = middle + np.column_stack([reach * np.cos(angle), reach * np.sin(angle)])
    mask = np.zeros((num, num), np.uint8)
    return cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1).astype(bool)
