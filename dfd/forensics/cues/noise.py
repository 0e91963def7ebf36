"""Cues of the noise: how strong, how even, how peaked it is, and what it has in common across colours."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.noise.residual import highpass_residual

NAMES = (
    "noise.level",
    "noise.median_level",
    "noise.spread",
    "noise.kurtosis",
    "noise.kurtosis_spread",
    "noise.level_by_light",
    "noise.flat",
    "noise.level_cb",
    "noise.level_cr",
    "noise.red_green",
    "noise.red_blue",
    "noise.green_blue",
    "noise.along",
    "noise.across",
    "noise.diagonal",
    "noise.along_2",
)
_BLOCK = 16  # pixels


def measure(pixels: np.ndarray, luma: np.ndarray) -> dict[str, float]:
    """The cues NAMES, of a 3 x 3 highpass whose level is that of white noise in grey levels; levels as log.

    Args:
        pixels: (H, W, 3) uint8 RGB, 32 or more a side.
        luma: (H, W) uint8 of them.
    """
    residual = highpass_residual(luma)
    square = residual * residual  # numpy's ** 4 is forty times slower
    fourth = square * square
    power = _by_block(square)
    level = np.log(np.sqrt(power) + 0.1)
    light = _by_block(luma.astype(np.float32))
    colours = [highpass_residual(pixels[..., at]).ravel() for at in range(3)]
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    peaked = _by_block(fourth) / (power**2 + 1e-3)
    low, high = np.percentile(level, (10, 90))
    return {
        "noise.level": float(np.log(residual.std() + 0.1)),
        "noise.median_level": float(np.median(level)),
        "noise.spread": float(high - low),
        "noise.kurtosis": float(np.log1p(fourth.mean() / (square.mean() ** 2 + 1e-3))),
        "noise.kurtosis_spread": float(np.log1p(peaked.std())),
        "noise.level_by_light": _correlation(level.ravel(), light.ravel()),
        "noise.flat": float((power < 1e-3).mean()),
        "noise.level_cb": float(np.log(highpass_residual(ycc[..., 2]).std() + 0.1)),
        "noise.level_cr": float(np.log(highpass_residual(ycc[..., 1]).std() + 0.1)),
        "noise.red_green": _correlation(colours[0], colours[1]),
        "noise.red_blue": _correlation(colours[0], colours[2]),
        "noise.green_blue": _correlation(colours[1], colours[2]),
        "noise.along": _correlation(residual[:, :-1].ravel(), residual[:, 1:].ravel()),
        "noise.across": _correlation(residual[:-1].ravel(), residual[1:].ravel()),
        "noise.diagonal": _correlation(residual[:-1, :-1].ravel(), residual[1:, 1:].ravel()),
        "noise.along_2": _correlation(residual[:, :-2].ravel(), residual[:, 2:].ravel()),
    }


def _by_block(values: np.ndarray) -> np.ndarray:
    """Means of whole blocks, (H // 16, W // 16)."""
    rows, columns = (length // _BLOCK for length in values.shape)
    whole = np.ascontiguousarray(values[: rows * _BLOCK, : columns * _BLOCK], np.float32)
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    energy = float(first @ first) * float(second @ second)
    return float(first @ second) / np.sqrt(energy) if energy > 1e-6 else 0.0
