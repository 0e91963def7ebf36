"""Splice: places whose noise follows another law than the rest, by co-occurrences of a high-pass residual."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy.linalg import solve_triangular

from dfd.forensics.finding import Finding, Map, Method

METHOD = Method(
    "splice", "Cozzolino, Poggi & Verdoliva 2015, Splicebuster: a new blind splicing detector", kind="shows"
)

CELL = 8  # pixels a side of what is counted together
WINDOW = 9  # cells a side of what is compared
# pixels that are counted; of larger pictures, the first 8 x 8 pixels of each larger cell
MOST_PIXELS = 2_500_000
NEEDED = 128
COMPONENTS = 8  # principal ones of the features
# residuals come in three kinds, of this many median sizes a kind: small, and large of either sign
STEP = 2.0
# log10 of the squared distance a component: of nine tenths of a clean picture it is below the lower
CALM, LOUD = 1.0, 3.0
_NUM_CODES = 25
_EM_STEPS = 30


def splice(pixels: np.ndarray) -> Finding:
    """Where the noise of a picture differs from its own rest: (H, W, 3) uint8 RGB, 128 pixels a side or more.

    It never says found: what differs most is as often water or foliage as a splice.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    cell = CELL * int(np.ceil(np.sqrt(gray.size / MOST_PIXELS)))
    patches = _patches(gray, cell)
    features = _windows(histograms(patches))
    inside = patches[..., :CELL, :CELL]
    clipped = ((inside < 5) | (inside > 250)).mean(axis=(2, 3)).astype(np.float32)
    judged = cv2.blur(clipped, (WINDOW, WINDOW)) < 0.3
    if judged.sum() < 100 or features[judged].std(axis=0).max() < 1e-3:
        return METHOD("abstained", "flat")
    distance = np.zeros(judged.shape, np.float32)
    distance[judged] = _distances(features[judged].astype(np.float64))
    values = np.log10(1 + distance)
    score = float(np.quantile(values, 0.97))
    return METHOD("clear", "map", score=score, unit="distance", map=Map(values, CALM, LOUD, "distance"))


def _patches(gray: np.ndarray, cell: int) -> np.ndarray:
    """The first pixels of each cell, with those that its residuals and co-occurrences see.

    Returns (rows, columns, 14, 14) int16.
    """
    side = CELL + 6
    rows, columns = (length // cell for length in gray.shape)
    padded = cv2.copyMakeBorder(gray, 0, side, 0, side, cv2.BORDER_REFLECT_101)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return windows[: rows * cell : cell, : columns * cell : cell].astype(np.int16)


def histograms(patches: np.ndarray) -> np.ndarray:
    """How often each kind of four neighbouring residuals occurs, along a residual's direction and across it.

    Returns (rows, columns, 2 * 25) float32 of (rows, columns, 14, 14).
    """
    rows, columns = patches.shape[:2]
    both = [_residual(patches), _residual(patches.swapaxes(2, 3))]
    # a picture's own scale: what a sharp and a soft camera call noise differs
    step = STEP * (np.median(np.abs(np.stack(both))) + 0.25)
    counts = np.zeros(rows * columns * 2 * _NUM_CODES)
    first = np.arange(rows * columns).reshape(rows, columns, 1, 1) * (2 * _NUM_CODES)
    for residual in both:
        kinds = (1 + (residual > step / 2) - (residual < -step / 2)).astype(np.uint8)
        along = [kinds[..., :CELL, k : k + CELL] for k in range(4)]
        across = [kinds[..., k : k + CELL, :CELL] for k in range(4)]
        for direction, four in enumerate((along, across)):
            codes = _codes()[27 * four[0] + 9 * four[1] + 3 * four[2] + four[3]]
            places = first + direction * _NUM_CODES + codes
            counts += np.bincount(places.ravel(), minlength=counts.size)
    return counts.reshape(rows, columns, 2 * _NUM_CODES).astype(np.float32)


def _residual(patches: np.ndarray) -> np.ndarray:
    """Third difference along the last axis: (..., 14, 11)."""
    return np.diff(patches, n=3, axis=-1)


@lru_cache(maxsize=1)
def _codes() -> np.ndarray:
    """Which of 25 kinds each of the 81 sequences is: one backwards, or of the other sign, is the same."""
    kinds: dict[tuple[int, ...], int] = {}
    codes = np.zeros(81, np.int64)
    for number in range(81):
        four = tuple(number // 3**k % 3 for k in (3, 2, 1, 0))
        other = tuple(2 - each for each in four)
        kind = min(four, four[::-1], other, other[::-1])
        codes[number] = kinds.setdefault(kind, len(kinds))
    return codes


def _windows(counts: np.ndarray) -> np.ndarray:
    """Square roots of the shares in the window around each cell."""
    around = cv2.blur(counts, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)
    return np.sqrt(np.maximum(around, 0) / np.maximum(around.sum(axis=2, keepdims=True), 1e-6))


def _distances(features: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance a component (n,) from the most of the picture.

    By expectation and maximization of a Gaussian among outliers that are anywhere.
    """
    features = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(features.T))
    reduced = features @ vectors[:, ::-1][:, :COMPONENTS]
    # neighbouring windows overlap
    fitted = reduced[::4] if len(reduced) > 8000 else reduced
    log_outlier = -np.log(np.ptp(fitted, axis=0) + 1e-12).sum()
    mean, covariance, share = np.median(fitted, axis=0), _covariance(fitted), 0.9
    for _ in range(_EM_STEPS):
        squared, log_volume = _mahalanobis(fitted, mean, covariance)
        log_inlier = -0.5 * squared - log_volume - 0.5 * COMPONENTS * np.log(2 * np.pi)
        odds = np.log(1 - share) + log_outlier - np.log(share) - log_inlier
        weight = 1 / (1 + np.exp(np.clip(odds, -50, 50)))
        share = float(np.clip(weight.mean(), 0.5, 0.999))
        mean = np.average(fitted, axis=0, weights=weight)
        covariance = _covariance((fitted - mean) * np.sqrt(weight / weight.mean())[:, None])
    return _mahalanobis(reduced, mean, covariance)[0] / COMPONENTS


def _covariance(values: np.ndarray) -> np.ndarray:
    covariance = np.cov(values.T)
    return covariance + 1e-9 * max(np.trace(covariance), 1e-6) * np.eye(len(covariance))


def _mahalanobis(values: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """Squared distances (n,), and the log of the covariance's volume."""
    factor = np.linalg.cholesky(covariance)
    scaled = solve_triangular(factor, (values - mean).T, lower=True)
    return (scaled**2).sum(axis=0), float(np.log(np.diag(factor)).sum())
