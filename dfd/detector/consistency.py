"""Consistency: whether a verdict survives a few mild re-deliveries, as a picture meets them on its way."""

from __future__ import annotations

import numpy as np

from dfd.media.encode import delivered, shrunk, through_jpeg


def redelivered(image: np.ndarray, smallest: int) -> dict[str, np.ndarray]:
    """A picture (H, W, 3) uint8 RGB as it looks after each re-delivery that leaves `smallest` pixels on the
    shorter side, by its name; the same at each call.
    """
    found = {
        "JPEG 90": through_jpeg(image, 90),
        "nine tenths of its size and JPEG 85": through_jpeg(shrunk(image, 0.9), 85),
        "224 pixels and JPEG 75": delivered(image, 75),
    }
    return {name: each for name, each in found.items() if min(each.shape[:2]) >= smallest}
