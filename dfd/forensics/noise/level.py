"""Local noise level: where a picture is noisier or smoother than its places of the same light and texture.

Mahdian and Saic, Image and Vision Computing 2009: the noise of a block from the median of its finest diagonal
wavelet coefficients. A sensor's noise grows with light (Liu et al., PAMI 2008), and cameras smooth even areas
more than textured ones: both are taken out by a robust fit over the picture's own blocks.
"""

from __future__ import annotations

import cv2
import numpy as np
import pywt
from scipy import ndimage

from dfd.forensics.finding import Finding, Map, Method, Region
from dfd.forensics.noise.residual import luma

METHOD = Method(
    "noise_level", "Mahdian and Saic, Image and Vision Computing 2009; Liu et al., PAMI 2008", version=2
)
BLOCK = 16  # pixels
NEEDED = 160  # pixels, of a side
LEAST_BLOCKS = 64  # that are neither black nor blown out
WINDOW = 5  # blocks, over which deviations are averaged
# Doublings by which a place is noisier or smoother than it should be: `found` from here on. Of 359 real
# pictures 2 are: a roof has 1.60, dark leaves 1.63. Raising it from 1.5 lost 2 of 24 planted places.
THRESHOLD = 1.7
# of the map, in doublings
LOW, HIGH = 0.0, 2.0
DARK, BRIGHT = 8, 247  # grey levels beyond which the sensor's noise is cut off
# grey levels: what is below the noise of rounding is as good as none, and
FLOOR = 0.5
# half of the places below this, a picture has none to compare: a drawing, or one that was denoised
NOISELESS = 0.3
_STRIP = 1024  # rows that are transformed at once
_GAUSS = 0.6745  # median of a standard normal deviate's amount


def noise_level(pixels: np.ndarray) -> Finding:
    """Places whose noise is not that of the picture's other places with the same light and texture.

    Score: the largest deviation, in doublings of the noise, averaged over 80 x 80 pixels. The map shows it
    place by place, whether more noise or less.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    light, noise, texture = block_levels(luma(pixels))
    usable = (light > DARK) & (light < BRIGHT)
    if usable.sum() < LEAST_BLOCKS:
        return METHOD("abstained", "flat")
    level = float(np.median(noise[usable]))
    if level < NOISELESS:
        return METHOD("abstained", "noiseless", facts={"level": level, "needed": NOISELESS})
    doublings = averaged(deviations(light, noise, texture, usable), usable)
    amount = np.abs(doublings)
    at = np.unravel_index(int(amount.argmax()), amount.shape)
    score = float(amount[at])
    facts = {"level": level, "factor": float(2**score)}
    said = {
        "score": score,
        "unit": "doublings",
        "map": Map(amount.astype(np.float32), LOW, HIGH, "doublings"),
    }
    if score < THRESHOLD:
        return METHOD("clear", "even", facts=facts, **said)
    answer = "noisier" if doublings[at] > 0 else "smoother"
    return METHOD("found", answer, facts=facts, regions=_regions(doublings), **said)


def block_levels(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light, noise and texture of blocks of 16 x 16 pixels: (H // 16, W // 16) float64 each, in grey levels.

    Noise is the median amount of the diagonal coefficients of the first level of db4, texture that of all
    coefficients of the second, each over what it is for a standard normal deviate.

    Args:
        gray: (H, W) float32 in grey levels.
    """
    strips = [gray[top : top + _STRIP] for top in range(0, len(gray) // BLOCK * BLOCK, _STRIP)]
    parts = [_strip_levels(strip) for strip in strips if len(strip) >= BLOCK]
    light, noise, texture = (np.concatenate(each) for each in zip(*parts, strict=True))
    return light, noise, texture


def deviations(light: np.ndarray, noise: np.ndarray, texture: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Doublings of the noise of each block, over what is usual at its light and texture in this picture.

    The usual is a quadratic of both, fitted to the usable blocks with Tukey's weights, so that a region of
    another noise does not bend it. Unusable blocks get 0.
    """
    bright, rough = light / 128 - 1, np.log2(texture + FLOOR)
    terms = np.stack([np.ones_like(bright), bright, bright**2, rough, rough**2, bright * rough], axis=-1)[
        usable
    ]
    wanted = np.log2(noise + FLOOR)[usable]
    weights = np.ones(len(wanted))
    left = wanted
    for _ in range(6):
        weighted = terms * weights[:, None]
        # a little of every term is free: light may be the same all over
        solved = np.linalg.solve(weighted.T @ terms + 1e-6 * len(wanted) * np.eye(6), weighted.T @ wanted)
        left = wanted - terms @ solved
        scale = 4.7 * 1.4826 * np.median(np.abs(left)) + 1e-6
        weights = np.clip(1 - (left / scale) ** 2, 0, 1) ** 2 + 1e-9
    found = np.zeros(light.shape)
    found[usable] = left - np.median(left)
    return found


def averaged(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Means of the usable blocks in windows of 5 x 5, where these are two in five at least; else 0."""
    share = cv2.blur(usable.astype(np.float64), (WINDOW, WINDOW))
    mean = cv2.blur(values * usable, (WINDOW, WINDOW)) / np.maximum(share, 1e-9)
    return np.where(share >= 0.4, mean, 0.0)


def _strip_levels(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = (length // BLOCK for length in gray.shape)
    light = cv2.resize(
        gray[: height * BLOCK, : width * BLOCK], (width, height), interpolation=cv2.INTER_AREA
    ).astype(np.float64)
    smooth, (_, _, diagonal) = pywt.dwt2(gray, "db4", mode="symmetric")
    # the filter is centred two and a half pixels before: one coefficient is left out
    noise = _medians([diagonal[1:, 1:]], height, width, BLOCK // 2)
    _, details = pywt.dwt2(smooth[1:, 1:], "db4", mode="symmetric")
    texture = _medians([band[1:, 1:] for band in details], height, width, BLOCK // 4)
    return light, noise, texture


def _medians(bands: list[np.ndarray], height: int, width: int, side: int) -> np.ndarray:
    """Standard deviations (height, width) of squares of coefficients of all bands, by their medians."""
    squares = [
        np.abs(band[: height * side, : width * side])
        .reshape(height, side, width, side)
        .transpose(0, 2, 1, 3)
        .reshape(height, width, side * side)
        for band in bands
    ]
    return np.median(np.concatenate(squares, axis=-1), axis=-1).astype(np.float64) / _GAUSS


def _regions(doublings: np.ndarray) -> list[Region]:
    """Rectangles around what deviates by half of the threshold or more, and somewhere by all of it."""
    regions = []
    for sign, name in ((1, "noisier_here"), (-1, "smoother_here")):
        labels, count = ndimage.label(sign * doublings > THRESHOLD / 2)
        peaks = ndimage.maximum(sign * doublings, labels, np.arange(1, count + 1)) if count else []
        for (down, across), peak in zip(ndimage.find_objects(labels), peaks, strict=True):
            if peak >= THRESHOLD:
                box = (across.start, down.start, across.stop - across.start, down.stop - down.start)
                regions.append(Region(tuple(float(BLOCK * each) for each in box), name))
    return regions
