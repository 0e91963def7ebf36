"""Copy-move by keypoints: areas shown twice, also turned or scaled."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Method
from dfd.forensics.pixels.duplicates import (
    Duplicate,
    Working,
    copies_map,
    copies_regions,
    duplicate,
    verdict,
    working,
)

METHOD = Method(
    "copy_move_keypoints",
    "Amerini, Ballan, Caldelli, Del Bimbo & Serra 2011, A SIFT-based forensic method for copy-move attack "
    "detection; Christlein, Riess, Jordan, Riess & Angelopoulou 2012",
)

# pixels of the working picture: SIFT and its matching are to take half a second
WORKING_PIXELS = 1_000_000
MOST_KEYPOINTS = 3500
MOST_COPIES = 4
# a match is so much nearer than the next best (Lowe's ratio, within the picture)
RATIO = 0.7
NEAREST = 24.0  # pixels between the two ends
FEWEST = 6  # matches that agree on a transform
# matches that agree on none, from which things are made alike; photos have less than 100
MANY_LEFT = 300
NEEDED = 64
# pixels of an area: matches agree on it beforehand, so that fewer do than by blocks
LARGE = 1600


def copy_move_keypoints(pixels: np.ndarray) -> Finding:
    """Areas that the picture shows twice, by SIFT: (H, W, 3) uint8 RGB, 64 pixels a side or more."""
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    picture = working(pixels, WORKING_PIXELS)
    here, there = matches(picture.gray)
    found, num_left = duplicates(picture, here, there)
    copies, score, pattern = verdict(picture, found, LARGE)
    if num_left > MANY_LEFT:
        copies, score, pattern = [], min(score, 0.99), True  # as letters on a page
    facts = {"matches": len(here), "copies": len(copies)}
    said = {
        "facts": facts,
        "score": score,
        "unit": "thresholds",
        "map": copies_map(picture, [] if pattern else found),
    }
    if not copies:
        return METHOD("clear", "pattern" if pattern else "none", **said)
    return METHOD("found", "copies", regions=copies_regions(picture, copies), **said)


def matches(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) x and y of keypoints, and of the one that each is far more like than any other."""
    sift = cv2.SIFT.create(nfeatures=MOST_KEYPOINTS, contrastThreshold=0.02)
    keypoints, descriptors = sift.detectAndCompute(gray, None)
    if len(keypoints) < FEWEST:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    places = np.float32([keypoint.pt for keypoint in keypoints])
    # RootSIFT: Hellinger's distance
    descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    best, ratio = nearest(places, descriptors)
    kept = ratio < RATIO
    return places[kept], places[best[kept]]


def nearest(places: np.ndarray, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most alike keypoint that is not near, and its distance as a share of that of the next best.

    The next best lies apart from the best too: SIFT puts several keypoints on one spot.
    """
    best = np.zeros(len(places), int)
    ratio = np.ones(len(places), np.float32)
    for start in range(0, len(places), 500):
        rows = np.arange(start, min(start + 500, len(places)))
        likeness = descriptors[rows] @ descriptors.T
        likeness[_near(places[rows], places)] = -1
        first = likeness.argmax(axis=1)
        top = likeness[np.arange(len(rows)), first].copy()
        likeness[_near(places[first], places)] = -1
        second = likeness.max(axis=1)
        best[rows] = first
        # distance squared of unit vectors is 2 - 2 * likeness
        ratio[rows] = np.sqrt(np.maximum(1 - top, 0) / np.maximum(1 - second, 1e-6))
        ratio[rows[top < 0]] = 1
    return best, ratio


def _near(some: np.ndarray, places: np.ndarray) -> np.ndarray:
    across = np.abs(some[:, None, 0] - places[None, :, 0]) < NEAREST
    return across & (np.abs(some[:, None, 1] - places[None, :, 1]) < NEAREST)


def duplicates(picture: Working, here: np.ndarray, there: np.ndarray) -> tuple[list[Duplicate], int]:
    """Areas on whose transform several matches agree; and how many matches agree on none."""
    # each match is one of either direction
    source, target = np.concatenate([here, there]), np.concatenate([there, here])
    found: list[Duplicate] = []
    cv2.setRNGSeed(0)
    for _ in range(2 * MOST_COPIES):
        if len(source) < FEWEST or len(found) == MOST_COPIES:
            break
        matrix, agree = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=3.0, maxIters=3000)
        if matrix is None or agree.sum() < FEWEST:
            break
        agree = agree.ravel() > 0
        refined, _ = cv2.estimateAffine2D(source[agree], target[agree], ransacReprojThreshold=3.0)
        matrix = matrix if refined is None else refined
        if _plausible(matrix) and (copy := duplicate(picture, matrix)):
            found.append(copy)
        source, target = _without(source, target, matrix, agree)
    return found, len(source) // 2


def _plausible(matrix: np.ndarray) -> bool:
    """Whether a transform shrinks and shears no more than people do to an object."""
    sizes = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return sizes[1] > 0.3 and sizes[0] < 3.3 and sizes[0] / sizes[1] < 2


def _without(
    source: np.ndarray, target: np.ndarray, matrix: np.ndarray, agree: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The matches that are left when those of a transform, and of its inverse, are taken out."""
    back = target @ matrix[:, :2].T + matrix[:, 2]
    inverse = np.abs(back - source).max(axis=1) < 4
    kept = ~(agree | inverse)
    return source[kept], target[kept]
