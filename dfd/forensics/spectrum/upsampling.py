"""Up-sampling peaks: traces of enlargement by 2, 4 or 8 all over a picture, with their period and p value.

A generator enlarges its maps step by step. Uneven taps of a transposed convolution leave a lattice on the
picture (Odena et al., Distill 2016; Frank et al., 2003.08685): sharp peaks of the residual's spectrum at
multiples of 1/8 cycles a pixel. Repeated or interpolated pixels leave steps from pixel to pixel that are
small and large in turn (Gallagher, CRV 2005; Kirchner, 2008).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft, stats

from dfd.forensics.finding import Finding, Map, Method, Table

METHOD = Method(
    "upsampling_peaks", "Frank et al., ICML 2020; Gallagher, CRV 2005; Odena et al., Distill 2016"
)
NEEDED = 128
LARGEST = 2048  # pixels: of a larger picture the central part is examined
# after Bonferroni's correction for all tests of a picture
THRESHOLD = 1e-6
# by so much a contrast varies more than independent blocks would, on real photos
OVERDISPERSION = 1.5
# of a lattice, relative to the residual's local strength: in 25 photos straight from cameras it was up to
# 0.013 both ways, as found and after JPEG 75
LEAST_LATTICE = 0.02
# of steps from pixel to pixel, relative to their mean: less is no picture's, however many its pixels
LEAST_CONTRAST = 0.01
_LEAST_P = 1e-300
# of the map, in decibels above the neighbours: chance reaches 10 at a few of 65,536 frequencies
LOW, HIGH = 9.0, 30.0


class Peak(NamedTuple):
    """One test of a picture.

    Args:
        kind: lattice (of the residual), steps (from pixel to pixel, compared with what JPEG's blocks do), or
            blocks (steps within the blocks of JPEG, where enlarged pictures begin at the corner).
        period: in pixels.
        strength: the statistic: power over that of the neighbours, or a contrast in deviations.
        p: of chance alone, not corrected for the number of tests.
    """

    kind: str
    period: int
    strength: float
    p: float


def upsampling_peaks(pixels: np.ndarray) -> Finding:
    """Peaks of up-sampling by 2, 4 or 8 in both directions.

    Score: minus log10 of the least p value, corrected for the number of tests. The map is the spectrum of the
    residual, in decibels above the neighbouring frequencies.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    gray = cv2.cvtColor(_central(pixels), cv2.COLOR_RGB2GRAY)
    if gray.min() == gray.max():
        return METHOD("abstained", "flat")
    residual = evened_residual(gray)
    peaks = [*lattice_peaks(residual), *step_peaks(gray)]
    strongest = min(peaks, key=lambda peak: peak.p)
    p = min(1.0, max(strongest.p, _LEAST_P) * len(peaks))
    said = {
        "score": float(-np.log10(p)) + 0.0,  # no minus zero
        "unit": "minus_log10_p",
        "map": _map(residual),
        "table": Table(("kind", "period", "strength", "p"), tuple(tuple(peak) for peak in peaks)),
    }
    if p < THRESHOLD:
        facts = {"period": strongest.period, "p": p}
        return METHOD("found", strongest.kind, facts=facts, **said)
    return METHOD("clear", "none", facts={"p": p}, **said)


def evened_residual(gray: np.ndarray) -> np.ndarray:
    """What a gray picture (H, W) has beyond its blurred self, over the local strength of it: (H, W) float32.

    So no edge outweighs a picture's even parts. The blur is binomial, 3 x 3: a filter of second differences
    both down and across would be blind to lines.
    """
    values = gray.astype(np.float32)
    residual = values - cv2.GaussianBlur(values, (3, 3), 0.85)
    return residual / np.sqrt(cv2.blur(residual * residual, (9, 9)) + 1.0)


def lattice_peaks(residual: np.ndarray) -> list[Peak]:
    """Peaks at 1/2, 1/4 and 1/8 cycles a pixel that are there both down and across.

    A camera's mosaic leaves peaks where both frequencies are high, and columns of a sensor one way only: they
    do not count, nor does what is weaker than LEAST_LATTICE. Power at a frequency over the mean of its m
    neighbours on the axis follows F(2, 2 m), at 1/2 F(1, 2 m).
    """
    # the axes of the picture's spectrum are the spectra of its means
    profiles = [_means(residual, axis) for axis in (0, 1)]
    peaks = []
    for period in (2, 4, 8):
        ratios, chances = zip(*(_over_neighbours(profile, period) for profile in profiles), strict=True)
        # both ways at once: the chance of the weaker, squared
        peaks.append(Peak("lattice", period, min(ratios), max(chances) ** 2))
    return peaks


def step_peaks(gray: np.ndarray) -> list[Peak]:
    """Steps from pixel to pixel that repeat with a period of 2 or 4 pixels, down and across.

    The blocks of JPEG repeat every 8 pixels and so have all multiples of 1/8; enlargement by 2 or 4 leaves
    out the odd ones, with which it is compared: F(2, 4), at 1/2 F(1, 4). Within the blocks, JPEG's steps
    change gently from place to place: a contrast that no cubic has is left by enlargement alone.
    """
    profiles = [_step_profile(gray, axis) for axis in (0, 1)]
    powers = [np.abs(fft.rfft(profile - profile.mean())) ** 2 for profile in profiles]
    peaks = []
    for period in (2, 4):
        ratios = [_over_odd(power, period) for power in powers]
        chance = stats.f.sf(min(ratios), 1 if period == 2 else 2, 4)
        peaks.append(Peak("steps", period, min(ratios), float(chance) ** 2))
    contrasts, chances = zip(*(_contrast(profile) for profile in profiles), strict=True)
    # steps that are small three times of four have as much power at 1/4 as at 1/2, those in turn have none
    quarters = sum(_at(power, 4) for power in powers) > 0.5 * sum(_at(power, 2) for power in powers)
    period = 4 if quarters else 2
    peaks.append(Peak("blocks", period, min(contrasts), max(chances) ** 2))
    return peaks


def _central(pixels: np.ndarray) -> np.ndarray:
    """The central part, at most LARGEST a side; it begins at a multiple of 8, as JPEG's blocks do."""
    height, width = pixels.shape[:2]
    top, left = (max(0, length - LARGEST) // 2 // 8 * 8 for length in (height, width))
    return pixels[top : top + LARGEST, left : left + LARGEST]


def _means(plane: np.ndarray, axis: int) -> np.ndarray:
    """Means along an axis, cut to a multiple of 8 so that multiples of 1/8 are frequencies of their own."""
    return plane.mean(axis=axis)[: plane.shape[1 - axis] // 8 * 8].astype(np.float64)


def _over_neighbours(profile: np.ndarray, period: int) -> tuple[float, float]:
    """Power at 1 / period over that of its neighbours, and the chance of so much."""
    length = len(profile)
    amplitude = np.abs(fft.rfft(profile - profile.mean())) / length
    power = amplitude**2
    at, reach = length // period, length // 16 - 1
    near = np.r_[at - reach : at, at + 1 : at + reach + 1]
    near = near[near < length // 2]
    mean = float(power[near].mean())
    # at 1/2 the spectrum is real: one degree of freedom, and no half of the wave at minus 1/2
    freedom = 1 if period == 2 else 2
    if mean <= 0 or freedom * amplitude[at] < LEAST_LATTICE:
        return 0.0, 1.0
    ratio = float(power[at]) / mean
    return ratio, float(stats.f.sf(ratio, freedom, 2 * len(near)))


def _step_profile(gray: np.ndarray, axis: int) -> np.ndarray:
    """Mean step across each border of two columns (axis 0) or rows (axis 1), relative to steps around it."""
    steps = np.abs(np.diff(gray.astype(np.float32), axis=1 - axis))
    return _means(steps / (cv2.blur(steps, (9, 9)) + 1.0), axis)


def _at(power: np.ndarray, period: int) -> float:
    """Power at 1 / period cycles a pixel of a real signal's spectrum."""
    return float(power[2 * (len(power) - 1) // period])


def _over_odd(power: np.ndarray, period: int) -> float:
    """Power at 1 / period over the larger of those at 1/8 and 3/8 cycles a pixel and of the neighbours."""
    length = 2 * (len(power) - 1)
    at, reach = length // period, length // 16 - 1
    near = power[max(1, at - reach) : at].mean()
    others = max(_at(power, 8), float(power[3 * length // 8]), float(near))
    return float(power[at]) / others if others > 0 else 0.0


def _contrast(profile: np.ndarray) -> tuple[float, float]:
    """Contrast within blocks of 8 in deviations, and the chance of so much."""
    blocks = profile.reshape(-1, 8)
    values = blocks[:, 1:6] @ np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / 16
    deviation = float(values.std(ddof=1)) / np.sqrt(len(values)) * OVERDISPERSION
    mean = float(values.mean())
    if not deviation or mean < LEAST_CONTRAST * profile.mean():
        return 0.0, 1.0
    return mean / deviation, float(stats.t.sf(mean / deviation, len(values) - 1))


def _map(residual: np.ndarray) -> Map:
    """The spectrum of the residual's tiles laid over one another, where what repeats stays."""
    side = 256 if min(residual.shape) >= 256 else 128
    down, across = (length // side for length in residual.shape)
    tiles = residual[: down * side, : across * side].reshape(down, side, across, side)
    power = np.abs(np.fft.fftshift(np.fft.fft2(tiles.mean(axis=(0, 2))))) ** 2
    # the mean of the 224 around each
    around = (225 * cv2.blur(power, (15, 15), borderType=cv2.BORDER_REFLECT_101) - power) / 224
    values = 10 * np.log10(np.maximum(power, 1e-9) / np.maximum(around, 1e-9))
    return Map(values.astype(np.float32), LOW, HIGH, "decibels", overlay=False)
