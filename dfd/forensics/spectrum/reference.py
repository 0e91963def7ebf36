"""Spectrum of a picture beside that of real photos: log power, and the profile's departure from a power law.

The power of natural pictures falls with frequency as a power law (Field, JOSA A 1987). Generators depart from
it at high frequencies (Durall et al., CVPR 2020; Dzanic et al., NeurIPS 2020), and so do sharpening, blur,
noise and every change of size.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method, Table
from dfd.forensics.spectrum.power import ROUNDING, azimuthal_profile, power_spectrum, whole_plane

METHOD = Method(
    "spectrum", "Durall et al., CVPR 2020; Dzanic et al., NeurIPS 2020; Field, 1987", kind="shows"
)
SIDE = 128  # of the windows, in pixels
BANDS = 16  # of equal width up to 1/2 cycles a pixel
LARGEST = 2048  # pixels: of a larger picture the central part is measured
# radii of the profile, from 1/32 to 1/4 cycles a pixel, to which the law is fitted
_FITTED = slice(3, 32)
# of the map, in decibels over a squared grey level: from rounding's noise to strong content
LOW, HIGH = -10.0, 50.0


class Reference(NamedTuple):
    """Profiles of real pictures, as `departure` gives them.

    Args:
        mean: of each band, in decibels.
        deviation: of each band over the pictures, in decibels.
        pictures: how many there were.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    pictures: int


# by benchmarks/spectrum_reference.py: photos straight from 22 cameras and scanners, and real pictures of
# CASIA, ciplab and 140K, as found
REAL = Reference(
    mean=(
        *(-0.22, 0.09, -0.04, -0.11, -0.12, -0.05, 0.06, 0.14),
        *(0.19, 0.19, 0.25, 0.10, -0.04, -0.16, -0.22, -0.19),
    ),
    deviation=(
        *(2.53, 0.42, 0.59, 0.64, 0.60, 0.34, 0.46, 0.70),
        *(1.14, 1.61, 2.16, 2.49, 2.99, 3.47, 3.97, 4.37),
    ),
    pictures=245,
)


def spectrum(pixels: np.ndarray) -> Finding:
    """Log power spectrum, and how far the profile lies from those of real pictures. It never says found: real
    pictures that were sharpened, blurred or made smaller lie far away too.

    Score: root mean square of the bands' z-scores; real pictures have about 1.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": SIDE})
    top, left = (max(0, length - LARGEST) // 2 for length in (height, width))
    gray = cv2.cvtColor(pixels[top : top + LARGEST, left : left + LARGEST], cv2.COLOR_RGB2GRAY)
    power = power_spectrum(gray, SIDE)
    if power.max() < ROUNDING:
        return METHOD("abstained", "flat")
    levels = departure(power)
    z = z_scores(levels)
    score = float(np.sqrt((z**2).mean()))
    rows = tuple(
        (
            f"{band / 2 / BANDS:.3f} - {(band + 1) / 2 / BANDS:.3f}",
            *(round(float(each), 2) for each in values),
        )
        for band, values in enumerate(zip(levels, REAL.mean, z, strict=True))
    )
    high = float(z[BANDS // 2 :].mean())
    answer = "usual" if score < 2 else "more" if high > 0 else "less"
    return METHOD(
        "clear",
        answer,
        facts={"deviations": score, "high": high, "pictures": REAL.pictures},
        score=score,
        unit="deviations",
        map=Map(_decibels(whole_plane(power)).astype(np.float32), LOW, HIGH, "decibels", overlay=False),
        table=Table(("frequencies", "level", "reference", "z"), rows),
    )


def departure(power: np.ndarray) -> np.ndarray:
    """Decibels (BANDS,) by which a spectrum's profile lies above the power law that fits it best.

    The law is fitted from 1/32 to 1/4 cycles a pixel, a line in log-log terms; above, up to 1/2, it is
    continued. What a picture shows moves the line, not the departure from it.

    Args:
        power: laid out as `power_spectrum`, of side SIDE.
    """
    levels = _decibels(azimuthal_profile(power))
    decades = np.log10(np.arange(1, len(levels) + 1) / power.shape[0])
    law = np.polynomial.Polynomial.fit(decades[_FITTED], levels[_FITTED], 1)
    return (levels - law(decades)).reshape(BANDS, -1).mean(axis=1)


def z_scores(levels: np.ndarray) -> np.ndarray:
    """(BANDS,) of what `departure` gives, against real pictures."""
    return (levels - np.array(REAL.mean)) / np.array(REAL.deviation)


def _decibels(power: np.ndarray) -> np.ndarray:
    """Over a squared grey level; the noise of rounding is added, below which nothing is measured."""
    return 10 * np.log10(power + ROUNDING)
