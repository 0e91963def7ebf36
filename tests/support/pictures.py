"""Pictures for tests: noise, which no two seeds share, and soft patches, which survive re-encoding and resizing."""

import io
from typing import Any

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray, name: str = "PNG", **options: Any) -> bytes:
    """A file of pixels (H, W, 3) uint8, in a format as Pillow names it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()


def noise(seed: int, name: str = "PNG", width: int = 40, height: int = 40, **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return encoded(pixels, name, **options)


def patches(seed: int, name: str = "JPEG", width: int = 96, height: int = 96, **options: Any) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    smooth = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
    return encoded(np.asarray(smooth), name, **options)
