"""Photographs of a simulated camera of scenes that were never scaled: no period but the camera's own."""

import cv2
import numpy as np
from photos import ellipse

from dfd.synthetic.camera import Camera


def untouched(seed: int, size: int = 512, camera: Camera | None = None) -> np.ndarray:
    """(size, size, 3) uint8 RGB, never compressed: a scene of clouds and edges, drawn at four times the size.

    The scene of `photos.photo` is drawn from noise that was scaled up, which tools for resampling find.
    """
    rng = np.random.default_rng(seed)
    num = 2 * size
    light = np.stack([_clouds(rng, num)] * 3)
    for _ in range(12):
        light[:, _disc(rng, num)] *= rng.uniform(0.5, 1.6, (3, 1))
    light *= np.exp(0.25 * _clouds(rng, num, steepness=0.7) - 0.25)
    camera = camera or Camera.draw(rng)
    return camera.photograph(np.clip(light, 0, None).astype(np.float32), size, rng)


def _clouds(rng: np.random.Generator, num: int, steepness: float = 1.3) -> np.ndarray:
    """(num, num) from about 0 to 2: noise whose amplitude falls with the frequency as in photographs."""
    frequency = np.hypot(np.fft.fftfreq(num)[:, None], np.fft.rfftfreq(num)[None, :])
    noise = np.fft.rfft2(rng.standard_normal((num, num), dtype=np.float32))
    shaped = np.fft.irfft2(noise / np.maximum(frequency, 2 / num) ** steepness, s=(num, num))
    return np.clip(1 + 0.4 * shaped / shaped.std(), 0.05, 2.0)


def _disc(rng: np.random.Generator, num: int) -> np.ndarray:
    y, x = np.ogrid[:num, :num]
    top, left = rng.uniform(0, num, 2)
    stretch, radius = rng.uniform(0.5, 2), rng.uniform(0.05, 0.25) * num
    return (y - top) ** 2 + stretch * (x - left) ** 2 < radius**2


def scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """The same, `scale` times as large, by bicubic interpolation."""
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def pasted(pixels: np.ndarray, scale: float, center=(0.5, 0.5), radius=0.2) -> np.ndarray:
    """A splice: an ellipse (see `photos.ellipse`) of another photo of the same size, scaled."""
    size = len(pixels)
    other = scaled(untouched(1000, size), scale)[:size, :size]
    return np.where(ellipse(size, center, radius)[..., None], other, pixels)


def copied(
    pixels: np.ndarray, angle: float = 0, scale: float = 1, start=(0.3, 0.35), end=(0.7, 0.62), radius=0.16
) -> np.ndarray:
    """A copy-move: the ellipse around `start` (see `photos.ellipse`) again around `end`, turned and scaled."""
    size = len(pixels)
    (left, top), (right, bottom) = (tuple(round(c * size) for c in at) for at in (start, end))
    matrix = cv2.getRotationMatrix2D((left, top), angle, scale)
    matrix[:, 2] += (right - left, bottom - top)
    moved = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.where(_end(size, matrix, start, radius)[..., None], moved, pixels)


def copied_mask(size: int, start=(0.3, 0.35), end=(0.7, 0.62), radius=0.16) -> np.ndarray:
    """(size, size) bool, both ends of `copied` where it neither turned nor scaled."""
    return ellipse(size, start, radius) | ellipse(size, end, radius)


def _end(size: int, matrix: np.ndarray, start: tuple[float, float], radius: float) -> np.ndarray:
    source = ellipse(size, start, radius).astype(np.uint8)
    return cv2.warpAffine(source, matrix, (size, size), flags=cv2.INTER_NEAREST) > 0
