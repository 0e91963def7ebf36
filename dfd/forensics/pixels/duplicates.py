"""Duplicated areas: where a picture agrees with itself, moved by a transform."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics.finding import Map, Region

WINDOW = 15  # pixels a side of the windows that are compared
SIMILAR = 0.9  # their correlation
# grey levels between the two ends of most pixels of an exact copy; nature repeats shapes, but not noise
EXACT = 1.0
# pixels of an area that agrees exactly; and of any other, which is also this share of the picture
SMALLEST, LARGE, LARGE_SHARE = 350, 2500, 0.005
# copies in one picture, from which they are things made alike
MANY = 4
_BACK = cv2.WARP_INVERSE_MAP


class Duplicate(NamedTuple):
    """One area shown twice, in pixels of the working picture.

    Args:
        there: (h, w) bool, the one end, and
        here: the other.
        matrix: (2, 3), from the places of `here` to those of `there`.
        similar: mean correlation of the windows.
        apart: grey levels between most of its pixels and their other ends, once both are equally light.
    """

    there: np.ndarray
    here: np.ndarray
    matrix: np.ndarray
    similar: float
    apart: float


class Working(NamedTuple):
    """A picture as copies are searched in it.

    Args:
        gray: (h, w) uint8.
        detail: (h, w) float32, grey levels: what changes within a few pixels.
        distinct: (h, w) bool, where a window has edges of two directions. In flat areas and along a straight
            line every place is like its neighbours.
        scale: of the picture that it is made of.
    """

    gray: np.ndarray
    detail: np.ndarray
    distinct: np.ndarray
    scale: float


def working(pixels: np.ndarray, most: int) -> Working:
    """The working picture of (H, W, 3) uint8 RGB, of no more than `most` pixels."""
    height, width = pixels.shape[:2]
    scale = min(1.0, float(np.sqrt(most / (height * width))))
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    light = gray.astype(np.float32)
    detail = light - cv2.GaussianBlur(light, (0, 0), 3.0)
    return Working(gray, detail, _distinct(light), scale)


def _distinct(light: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(light, (0, 0), 1.0)
    weakest = cv2.cornerMinEigenVal(smooth, WINDOW, ksize=3)
    # of Sobel's sums over the window, in (grey levels a pixel) squared
    return weakest > 1.0


def similarity(picture: Working, matrix: np.ndarray) -> np.ndarray:
    """Correlation (h, w) of the window around x with that around matrix @ x; 0 where it says nothing."""
    height, width = picture.gray.shape
    moved = cv2.warpAffine(picture.detail, matrix, (width, height), flags=_BACK | cv2.INTER_LINEAR)
    distinct = picture.distinct.astype(np.uint8)
    judged = cv2.warpAffine(distinct, matrix, (width, height), flags=_BACK | cv2.INTER_NEAREST)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (WINDOW, WINDOW))

    here, there = mean(picture.detail), mean(moved)
    both = mean(picture.detail * moved) - here * there
    energy = (mean(picture.detail**2) - here**2) * (mean(moved**2) - there**2)
    correlation = both / np.sqrt(np.maximum(energy, 1e-3))
    return np.where(picture.distinct & (judged > 0), correlation, 0)


def refined(picture: Working, matrix: np.ndarray) -> np.ndarray:
    """The transform with its shift corrected by less than two pixels (Lucas & Kanade).

    Offsets between blocks are whole pixels; those in a picture that was made smaller are not.
    """
    matrix = matrix.astype(np.float64)
    height, width = picture.gray.shape
    for _ in range(2):
        alike = similarity(picture, matrix) > 0.6
        if alike.sum() < SMALLEST:
            break
        moved = cv2.warpAffine(picture.detail, matrix, (width, height), flags=_BACK | cv2.INTER_LINEAR)
        slope = np.stack([cv2.Sobel(moved, -1, *order, ksize=3)[alike] / 8 for order in ((1, 0), (0, 1))])
        normal = slope @ slope.T + 1e-3 * np.eye(2)
        shift = np.linalg.solve(normal, slope @ (picture.detail - moved)[alike])
        # below a tenth, whole pixels are right
        if np.abs(shift).max() < 0.1 or np.abs(shift).max() > 2:
            break
        matrix[:, 2] += matrix[:, :2] @ shift
    return matrix


def duplicate(picture: Working, matrix: np.ndarray) -> Duplicate | None:
    """The area that the transform shows twice; None where it is too small."""
    correlation = similarity(picture, matrix)
    # single windows that agree by chance
    alike = cv2.morphologyEx((correlation > SIMILAR).astype(np.uint8), cv2.MORPH_OPEN, _disc(5))
    num, labels, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=8)
    kept = 1 + np.flatnonzero(stats[1:num, cv2.CC_STAT_AREA] >= SMALLEST)
    if not len(kept):
        return None
    core = np.isin(labels, kept)
    # windows at its rim see what lies outside: it is found smaller than it is
    here = cv2.dilate(core.astype(np.uint8), _disc(WINDOW // 2))
    height, width = here.shape
    there = cv2.warpAffine(here, matrix, (width, height), flags=cv2.INTER_NEAREST)
    moved = cv2.warpAffine(picture.detail, matrix, (width, height), flags=_BACK | cv2.INTER_LINEAR)
    # three pixels of four: the rest are the soft rim of what was pasted
    apart = float(np.quantile(np.abs(moved - picture.detail)[core], 0.75))
    return Duplicate(there > 0, here > 0, matrix, float(correlation[core].mean()), apart)


def evidence(picture: Working, found: Duplicate, large: int = LARGE) -> float:
    """How far an area exceeds what nature repeats; from 1 it is a copy.

    Windows, letters and hair agree well over small areas: in 224 real photos over less than 2500 pixels of
    the working picture, but not as closely as a copy does that was not compressed.

    Args:
        large: pixels that an area needs which does not agree exactly.
    """
    exact = found.apart <= EXACT
    needed = SMALLEST if exact else max(large, LARGE_SHARE * picture.gray.size)
    return float(found.here.sum() / needed)


def goes_on(picture: Working, found: Duplicate) -> bool:
    """Whether the same transform leads on from the other end to a third one, as along a row of windows."""
    if (found.here & found.there).sum() > 0.2 * found.here.sum():
        return True
    whole = np.vstack([found.matrix, [0, 0, 1]])
    further = similarity(picture, (whole @ whole)[:2])[found.here]
    return bool((further > SIMILAR).mean() > 0.25)


class Verdict(NamedTuple):
    """What the areas of a picture amount to.

    Args:
        copies: those that are no pattern, the strongest first.
        score: of the strongest; from 1 there are copies.
        pattern: whether things repeat that are made alike, as windows and letters, and nothing else does.
    """

    copies: list[Duplicate]
    score: float
    pattern: bool


def verdict(picture: Working, found: list[Duplicate], large: int = LARGE) -> Verdict:
    """Tells copies from patterns; `large` as of `evidence`."""
    repeated = np.zeros(picture.gray.shape, bool)
    single = []
    for each in found:
        if goes_on(picture, each):
            repeated |= each.here | each.there
        else:
            single.append(each)
    # two windows of a row far apart, too
    single = [each for each in single if repeated[each.here].mean() < 0.5]
    single.sort(key=lambda each: -evidence(picture, each, large))
    score = evidence(picture, single[0], large) if single else 0.0
    copies = [each for each in single if evidence(picture, each, large) >= 1]
    if len(copies) >= MANY:
        return Verdict([], 0.99, True)
    return Verdict(copies, score, bool(found) and not single)


def _disc(side: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def copies_map(picture: Working, found: list[Duplicate]) -> Map:
    """Correlation of each place with its other end, 0 where it has none; (h, w) of the working picture."""
    values = np.zeros(picture.gray.shape, np.float32)
    for each in found:
        values[each.here | each.there] = np.maximum(values[each.here | each.there], each.similar)
    return Map(values, low=0.0, high=1.0, unit="correlation")


def copies_regions(picture: Working, found: list[Duplicate]) -> list[Region]:
    """The boxes of both ends of each copy, of one group, in pixels of the picture itself."""
    regions = []
    for group, each in enumerate(found, start=1):
        for end in (each.here, each.there):
            if end.any():
                x, y, wide, high = cv2.boundingRect(end.astype(np.uint8))
                box = tuple(float(side / picture.scale) for side in (x, y, wide, high))
                regions.append(Region(box, "copy", group))
    return regions
