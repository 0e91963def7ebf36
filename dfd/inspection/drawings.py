"""Pictures of an inspection's page: the photograph made small, and maps in a fixed colour scale."""

from __future__ import annotations

import io
from functools import lru_cache

import cv2
import numpy as np

from dfd.forensics import Map
from dfd.media.encode import encode_jpeg

LONGEST = 1000  # pixels of a picture on the page
PALETTE = "viridis"
# of the palette's colours over a picture: from a third to full at a third of the scale
_OPACITY = tuple(min(255, 85 + 2 * step) for step in range(256))


def small_photo(pixels: np.ndarray, longest: int = LONGEST) -> bytes:
    """The picture (H, W, 3) uint8 RGB as a JPEG file whose longer side is at most `longest` pixels."""
    return encode_jpeg(_shrunk(pixels, longest), 85)


def map_png(drawn: Map) -> bytes:
    """A map as a PNG file of 256 colours: its `low` is the palette's first, its `high` the last.

    Large maps are averaged down to a page's size, small ones keep a pixel a value. Over a picture low values
    are half transparent, so that it stays to be seen where a map is calm.
    """
    from PIL import Image

    values = (np.clip(drawn.values, drawn.low, drawn.high) - drawn.low) / (drawn.high - drawn.low)
    indices = (255 * _shrunk(values.astype(np.float32), LONGEST) + 0.5).astype(np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(_palette())
    file = io.BytesIO()
    opacity = bytes(_OPACITY) if drawn.overlay else bytes([255] * 256)
    picture.save(file, "PNG", optimize=True, transparency=opacity)
    return file.getvalue()


def scale_colours(steps: int = 9) -> list[str]:
    """Colours of the palette, low to high, as CSS has them."""
    colours = np.frombuffer(_palette(), np.uint8).reshape(256, 3)
    return ["#" + colours[round(at)].tobytes().hex() for at in np.linspace(0, 255, steps)]


@lru_cache(maxsize=1)
def _palette() -> bytes:
    from matplotlib import colormaps

    colours = np.asarray(colormaps[PALETTE](np.arange(256)))[:, :3]
    return (255 * colours + 0.5).astype(np.uint8).tobytes()


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
