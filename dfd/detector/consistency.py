"""Consistency: whether a verdict survives a few mild re-deliveries, as a picture meets them on its way."""

from __future__ import annotations

import cv2
import numpy as np


def redelivered(image: np.ndarray, smallest: int) -> dict[str, np.ndarray]:
    """A picture (H, W, 3) uint8 RGB as it looks after each re-delivery that leaves `smallest` pixels on the
    shorter side, by its name; the same at each call.
    """
    from dfd.augment import corrupt  # brings torch, for which whoever imports a detector need not wait

    height, width = image.shape[:2]
    size = max(1, round(0.9 * width)), max(1, round(0.9 * height))
    smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    found = {
        "JPEG 90": corrupt(image, "jpeg", 90),
        "nine tenths of its size and JPEG 85": corrupt(smaller, "jpeg", 85),
        "224 pixels and JPEG 75": corrupt(image, "delivery", 75),
    }
    return {name: each for name, each in found.items() if min(each.shape[:2]) >= smallest}
