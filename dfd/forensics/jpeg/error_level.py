"""error_level: what one more JPEG compression changes, place by place (error level analysis)."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method
from dfd.media.encode import through_jpeg

METHOD = Method(
    "error_level", "Krawetz, A picture's worth, 2007; here relative to local contrast", kind="shows"
)

QUALITY = 90
BLOCK = 8
NEEDED = 64  # pixels a side
# classes of contrast, each with its own usual error
_CLASSES = 24


def error_level(pixels: np.ndarray) -> Finding:
    """Map of how far the error of saving again at quality 90 lies from what is usual at such a contrast.

    It describes and never says found: on planted splices its pixel AUC is 0.6 to 0.8, and untouched pictures
    have bright places too.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    error, contrast = block_errors(pixels)
    values = unusual(error, contrast)
    share = float((values > 3).mean())
    facts = {"quality": QUALITY, "mean_error": float(error.mean()), "unusual_share": share}
    found_map = Map(values, 0.0, 8.0, "spread")
    return METHOD("clear", "shown", facts=facts, score=share, unit="share", map=found_map)


def block_errors(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute error in grey levels of saving again, and mean contrast, of each block of 8 x 8.

    Returns:
        two (H // 8, W // 8) float32: the plain error level, and the mean absolute difference of luma between
        neighbours.
    """
    pixels = np.ascontiguousarray(pixels)
    red, green, blue = cv2.split(cv2.absdiff(pixels, through_jpeg(pixels, QUALITY, "444")))
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    gradient = cv2.addWeighted(
        cv2.absdiff(luma, np.roll(luma, 1, 0)), 0.5, cv2.absdiff(luma, np.roll(luma, 1, 1)), 0.5, 0
    )
    return _block_means(cv2.max(cv2.max(red, green), blue)), _block_means(gradient)


def unusual(error: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """(rows, columns) float32: distance of each block's error from the median at its contrast, in robust
    standard deviations, mean over 3 x 3 blocks. Edges and texture are bright in a plain error level by
    nature; here they are compared with one another.
    """
    level = np.log(error + 0.25)
    order = np.argsort(contrast, axis=None, kind="stable")
    apart = np.empty(level.size, np.float32)
    for group in np.array_split(order, min(_CLASSES, max(1, level.size // 64))):
        own = level.ravel()[group]
        middle = np.median(own)
        spread = 1.4826 * np.median(np.abs(own - middle))
        apart[group] = (own - middle) / max(spread, 0.1)
    apart = np.clip(apart, -10, 10).reshape(level.shape)
    # neighbours that lie on the same side add up; chance does not
    return np.abs(cv2.blur(apart, (3, 3))) * 2


def _block_means(plane: np.ndarray) -> np.ndarray:
    height, width = (side // BLOCK * BLOCK for side in plane.shape)
    size = (width // BLOCK, height // BLOCK)
    return cv2.resize(plane[:height, :width].astype(np.float32), size, interpolation=cv2.INTER_AREA)
