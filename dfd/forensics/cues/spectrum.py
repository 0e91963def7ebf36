"""Cues of the spectrum: its azimuthal profile, its slope, and the peaks of up-sampling lattices."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dfd.forensics.spectrum import power_spectrum

BINS = 16
NAMES = (
    *(f"spectrum.band_{at:02d}" for at in range(BINS)),
    "spectrum.slope",
    "spectrum.uneven",
    "spectrum.high_share",
    "spectrum.lattice_2",
    "spectrum.lattice_4",
    "spectrum.lattice_8",
    "spectrum.highest_peak",
)
_SIDE = 256
_LOWEST = 0.1  # cycles a pixel; below it lies the content
_AROUND = 9  # frequencies a side
_LEAST = 0.05  # power in grey levels squared; that of rounding to whole ones is 1 / 12


def measure(luma: np.ndarray) -> dict[str, float]:
    """The cues NAMES: logarithms of the power in bands of 1/32 cycle a pixel (Durall et al., 2003.01826), and
    how far it stands out at the multiples of 1/2, 1/4 and 1/8 (Frank et al., 2003.08685), as log ratios.

    Args:
        luma: (H, W) uint8, 32 or more a side; smaller than 256 it is mirrored, larger its middle is taken.
    """
    square = _square(luma)
    power = np.fft.ifftshift(power_spectrum(square, _SIDE), axes=0)
    log = np.log(power + _LEAST)
    ring, angle, weight, radius = _polar()
    total = np.bincount(ring, weight, minlength=BINS + 1)[:BINS]
    bands = np.bincount(ring, weight * log.ravel(), minlength=BINS + 1)[:BINS] / total
    found = {f"spectrum.band_{at:02d}": float(value) for at, value in enumerate(bands)}
    centre = np.log((np.arange(BINS) + 0.5) / (2 * BINS))
    found["spectrum.slope"] = float(np.polyfit(centre[1:], bands[1:], 1)[0])
    high = (ring >= BINS // 2) & (ring < BINS)
    turned = np.bincount(angle[high], log.ravel()[high], minlength=8) / np.bincount(angle[high], minlength=8)
    found["spectrum.uneven"] = float(turned.std())
    share = power.ravel()[high].sum() / (power.sum() + 1e-6)
    found["spectrum.high_share"] = float(np.log(share + 1e-9))
    above = log - cv2.blur(log.astype(np.float32), (_AROUND, _AROUND), borderType=cv2.BORDER_REFLECT)
    for period, places in _lattices().items():
        found[f"spectrum.lattice_{period}"] = float(above.ravel()[places].mean())
    found["spectrum.highest_peak"] = float(above[radius > _LOWEST].max())
    return found


def _square(luma: np.ndarray) -> np.ndarray:
    """(256, 256) float32 of the middle."""
    height, width = luma.shape
    top, left = max(0, height - _SIDE) // 2, max(0, width - _SIDE) // 2
    middle = luma[top : top + _SIDE, left : left + _SIDE]
    while min(middle.shape) < _SIDE:  # mirrored, which adds no edge
        down, across = (min(length, _SIDE - length) for length in middle.shape)
        middle = cv2.copyMakeBorder(middle, 0, down, 0, across, cv2.BORDER_REFLECT)
    return middle.astype(np.float32)


@lru_cache(maxsize=1)
def _polar() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each frequency of rfft2, flat: its ring (BINS beyond 1/2), its angle in eighths of half a turn, how
    often it counts; and (H, W) its radius in cycles a pixel.
    """
    y, x = np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None, :]
    radius = np.hypot(y, x)
    ring = np.minimum(radius * 2 * BINS, BINS).astype(np.int64)
    angle = (np.arctan2(y, x + 1e-9) / np.pi + 0.5) * 8
    weight = np.broadcast_to(np.where((x > 0) & (x < 0.5), 2.0, 1.0), radius.shape)
    return ring.ravel(), np.clip(angle.astype(np.int64), 0, 7).ravel(), weight.ravel(), radius


@lru_cache(maxsize=1)
def _lattices() -> dict[int, np.ndarray]:
    """Flat places of the frequencies that a lattice of each period adds to those of the longer ones... of
    period 2: the multiples of 1/2; of 4: those of 1/4 that are none of 1/2; of 8 likewise. Without 0.
    """
    found, seen = {}, np.zeros((_SIDE, _SIDE // 2 + 1), bool)
    seen[0, 0] = True
    for period in (2, 4, 8):
        mine = np.zeros_like(seen)
        mine[:: _SIDE // period, :: _SIDE // period] = True
        found[period] = np.flatnonzero(mine & ~seen)
        seen |= mine
    return found
