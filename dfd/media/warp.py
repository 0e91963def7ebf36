"""A warp that averages where it shrinks, as OpenCV's own does not."""

import math

import cv2
import numpy as np


def sampled(
    pixels: np.ndarray, matrix: np.ndarray, size: int, border: int = cv2.BORDER_REPLICATE
) -> np.ndarray:
    """A square (size, size, 3) of a picture, averaged over squares of 2, 3, ... pixels first where it is so
    many times as small: a warp by itself takes single pixels.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        matrix: (2, 3), from places of the picture to places of the square.
        size: pixels of its sides.
        border: of cv2, what lies outside of the picture.
    """
    step = int(1 / max(math.hypot(*matrix[:, 0]), 1e-6))
    if step < 2:
        return cv2.warpAffine(pixels, matrix, (size, size), borderMode=border)
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) @ back[:, :2].T + back[:, 2]
    # the last whole squares of the picture stay reachable
    limit = np.maximum(np.array(pixels.shape[1::-1]) - step, 0)
    left, top = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
    right, bottom = np.maximum(np.ceil(corners.max(0)).astype(int), (left + step, top + step))
    part = pixels[top:bottom, left:right]
    rows, columns = (max(1, side // step) for side in part.shape[:2])
    small = cv2.resize(part[: rows * step, : columns * step], (columns, rows), interpolation=cv2.INTER_AREA)
    # a pixel of the small picture is the middle of its square
    middle = np.array([left, top]) + (step - 1) / 2
    shift = matrix[:, :2] @ middle + matrix[:, 2]
    return cv2.warpAffine(
        small, np.column_stack([matrix[:, :2] * step, shift]), (size, size), borderMode=border
    )
