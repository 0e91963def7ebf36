"""Power spectrum of an image's luma, in numpy, and its azimuthal profile.

Up-sampling leaves lattices of bright points in the spectrum of a picture, and too much or too little at its
high frequencies. Durall et al., 2003.01826; Frank et al., 2003.08685. `dfd.models.LogSpectrum` is the same as
`log_spectrum` in torch; the audit averages it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

MOST_WINDOWS = 24  # down and across: 24 x 24 of 128 pixels, half overlapping, fill 1600 x 1600
ROUNDING = 1 / 12  # power of rounding to grey levels, beside which nothing is measured


def log_spectrum(image: np.ndarray, side: int) -> np.ndarray:
    """log1p amplitude (side, side // 2 + 1) of the central square's luma in grey levels, under a Hann window.

    Rows run from -1/2 to 1/2 cycles a pixel, frequency 0 in row side // 2; columns from 0 to 1/2.

    Args:
        image: (H, W, 3) uint8 RGB, H and W from `side` up.
        side: of the square, in pixels.
    """
    top, left = ((length - side) // 2 for length in image.shape[:2])
    luma = cv2.cvtColor(image[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.fft.rfft2((luma - luma.mean()) * _window(side))
    return np.log1p(np.abs(np.fft.fftshift(spectrum, axes=0)))


def power_spectrum(image: np.ndarray, side: int = 128) -> np.ndarray:
    """Power (side, side // 2 + 1) float64 in squared grey levels: the mean over windows all over the picture.

    Welch's method: squares under a Hann window, by half over one another, further apart in a large
    picture. Laid out as `log_spectrum`. Of white noise it is the noise's variance at every frequency.

    Args:
        image: (H, W) of grey levels, or (H, W, 3) uint8 RGB; H and W from `side` up.
        side: of the squares, in pixels.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    tops, lefts = (_starts(length, side) for length in luma.shape)
    total = np.zeros((side, side // 2 + 1))
    for top in tops:
        squares = np.stack([luma[top : top + side, left : left + side] for left in lefts]).astype(np.float32)
        squares -= squares.mean(axis=(1, 2), keepdims=True)
        spectra = fft.rfft2(squares * _window(side))
        total += (spectra.real**2 + spectra.imag**2).sum(axis=0, dtype=np.float64)
    return np.fft.fftshift(total, axes=0) / (len(tops) * len(lefts))


def azimuthal_profile(power: np.ndarray) -> np.ndarray:
    """Mean power (side // 2,) at each radius, of a spectrum laid out as `power_spectrum` (Durall et al.).

    Entry k is the mean over the frequencies whose radius, times `side`, rounds to k + 1: from 1/side to 1/2
    cycles a pixel. The corners beyond 1/2 are left out: there not all directions are.
    """
    side = power.shape[0]
    down = np.arange(side)[:, None] - side // 2
    across = np.arange(side // 2 + 1)
    ring = np.rint(np.hypot(down, across)).astype(np.int64)
    # columns between the first and the last stand for their mirror images too
    weight = np.broadcast_to(np.where((across == 0) | (2 * across == side), 1.0, 2.0), power.shape)
    sums = np.bincount(ring.ravel(), (power * weight).ravel())
    return (sums / np.bincount(ring.ravel(), weight.ravel()))[1 : side // 2 + 1]


def whole_plane(half: np.ndarray) -> np.ndarray:
    """(side, side) of a spectrum laid out as `power_spectrum`; side is even, frequency 0 in the middle."""
    side = half.shape[0]
    shifted = np.fft.ifftshift(half, axes=0)
    mirrored = shifted[-np.arange(side) % side, side // 2 - 1 : 0 : -1]
    return np.fft.fftshift(np.hstack([shifted, mirrored]))


def _starts(length: int, side: int) -> np.ndarray:
    """Where windows begin, spread evenly from one end to the other."""
    num = min(MOST_WINDOWS, 2 * (length - side) // side + 1)
    if num == 1:
        return np.array([(length - side) // 2])
    return np.rint(np.linspace(0, length - side, num)).astype(np.int64)


@lru_cache(maxsize=4)
def _window(side: int) -> np.ndarray:
    """Hann, periodic, of energy 1: (side, side). Noise then reads the same at any size."""
    window = np.hanning(side + 1)[:-1]
    return (np.outer(window, window) / (window**2).sum()).astype(np.float32)
