"""Photographs of a simulated camera, for forensic tools: untouched, then edited with a known mask."""

import io

import cv2
import numpy as np
from PIL import Image

from dfd.synthetic.camera import Camera
from dfd.synthetic.canvas import grain
from dfd.synthetic.setting import backdrop


def photo(seed: int, size: int = 512, camera: Camera | None = None) -> np.ndarray:
    """An untouched photograph (size, size, 3) uint8 RGB, never compressed: a scene with texture through a lens, a
    Bayer mosaic and a noisy sensor."""
    rng = np.random.default_rng(seed)
    num = size + size // 4
    light = backdrop(rng, num) * np.exp(0.35 * grain(rng, num, 3.0, 9.0, 30.0, 90.0))
    camera = camera or Camera.draw(rng)
    return camera.photograph(np.clip(light, 0, None).astype(np.float32), size, rng)


def jpeg(pixels: np.ndarray, quality: int = 92, **options) -> bytes:
    """The picture as a JPEG file by libjpeg; chroma 4:2:0 unless `subsampling` says otherwise."""
    return _saved(pixels, "JPEG", quality=quality, **options)


def png(pixels: np.ndarray, **options) -> bytes:
    return _saved(pixels, "PNG", **options)


def ellipse(size: int, center: tuple[float, float] = (0.5, 0.5), radius: float = 0.18) -> np.ndarray:
    """A mask (size, size) bool."""
    mask = np.zeros((size, size), np.uint8)
    at = tuple(round(c * size) for c in center)
    cv2.ellipse(mask, at, (round(radius * size), round(0.8 * radius * size)), 20, 0, 360, 1, -1)
    return mask.astype(bool)


def noisy(pixels: np.ndarray, mask: np.ndarray, sigma: float = 12.0) -> np.ndarray:
    """The picture with gray noise of `sigma` grey levels where the mask (H, W) says."""
    noise = np.random.default_rng(0).normal(0, sigma, mask.shape)[..., None]
    return np.where(mask[..., None], np.clip(pixels + noise + 0.5, 0, 255), pixels).astype(np.uint8)


def _saved(pixels: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()
