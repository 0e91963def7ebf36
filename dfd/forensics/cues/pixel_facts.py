"""Cues of the pixels: colours, tones, sharpness, and traces of demosaicing and resampling."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.pixels.cfa import cfa_strength
from dfd.forensics.pixels.resampling import resampling_strength

NAMES = (
    *(f"pixels.{kind}_{colour}" for kind in ("mean", "std", "skew") for colour in ("red", "green", "blue")),
    "pixels.red_green",
    "pixels.green_blue",
    "pixels.saturation",
    "pixels.saturation_std",
    "pixels.black",
    "pixels.white",
    "pixels.entropy",
    "pixels.empty_levels",
    "pixels.sharpness",
    "pixels.gradient",
    "pixels.gradient_kurtosis",
    "pixels.colour_distance",
    "pixels.cfa",
    "pixels.resampling",
)
_SIDE = 256  # pixels of the middle that are searched for resampling, which is the slowest
_COLOURS = ("red", "green", "blue")


def measure(pixels: np.ndarray, luma: np.ndarray) -> dict[str, float]:
    """The cues NAMES; colours in 0 to 1.

    Args:
        pixels: (H, W, 3) uint8 RGB, 32 or more a side.
        luma: (H, W) uint8 of them.
    """
    counts = [np.bincount(pixels[..., at].ravel(), minlength=256) for at in range(3)]
    found: dict[str, float] = {}
    for colour, count in zip(_COLOURS, counts, strict=True):
        found |= _moments(colour, count)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    tones = np.bincount(luma.ravel(), minlength=256) / luma.size
    used = np.flatnonzero(tones)
    inner = tones[used[0] : used[-1] + 1]
    light = luma.astype(np.float32)
    across, down = np.diff(light, axis=1), np.diff(light, axis=0)
    steps = np.concatenate([across.ravel(), down.ravel()])
    squares = steps * steps
    power = float(squares.mean())
    top, left = (max(0, length - _SIDE) // 16 * 8 for length in luma.shape)
    middle = np.ascontiguousarray(luma[top : top + _SIDE, left : left + _SIDE])
    spread = [float(pixels[..., at].std()) for at in range(3)]
    return found | {
        "pixels.red_green": _correlation(pixels[..., 0], pixels[..., 1], spread[0] * spread[1]),
        "pixels.green_blue": _correlation(pixels[..., 1], pixels[..., 2], spread[1] * spread[2]),
        "pixels.saturation": float(hsv[..., 1].mean()) / 255,
        "pixels.saturation_std": float(hsv[..., 1].std()) / 255,
        "pixels.black": float(tones[:3].sum()),
        "pixels.white": float(tones[253:].sum()),
        "pixels.entropy": float(-(tones[used] * np.log2(tones[used])).sum()),
        # a stretched contrast leaves gaps between the tones
        "pixels.empty_levels": float((inner == 0).mean()),
        "pixels.sharpness": float(np.log(cv2.Laplacian(light, cv2.CV_32F).std() + 0.1)),
        "pixels.gradient": float(np.log(np.sqrt(power) + 0.1)),
        "pixels.gradient_kurtosis": float(np.log1p((squares * squares).mean() / (power**2 + 1e-3))),
        "pixels.colour_distance": float(
            np.abs(pixels[..., 0].astype(np.int16) - pixels[..., 2]).mean() / 255
        ),
        "pixels.cfa": cfa_strength(pixels),
        "pixels.resampling": resampling_strength(middle),
    }


def _moments(colour: str, count: np.ndarray) -> dict[str, float]:
    level, share = np.arange(256) / 255, count / count.sum()
    mean = float(share @ level)
    std = float(np.sqrt(share @ (level - mean) ** 2))
    skew = float(share @ (level - mean) ** 3) / (std**3 + 1e-4)
    return {f"pixels.mean_{colour}": mean, f"pixels.std_{colour}": std, f"pixels.skew_{colour}": skew}


def _correlation(first: np.ndarray, second: np.ndarray, spreads: float) -> float:
    if spreads < 1e-6:
        return 0.0
    first, second = first.astype(np.float32), second.astype(np.float32)
    return float(((first - first.mean()) * (second - second.mean())).mean()) / spreads
