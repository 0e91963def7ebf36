"""Noise residual: what a denoiser takes off a picture, by a wavelet Wiener filter or by a cheap high-pass.

Mihcak, Kozintsev and Ramchandran, ICASSP 1999 (local Wiener filter in the wavelet domain); Lukas, Fridrich
and Goljan, IEEE TIFS 2006 (its residual as the carrier of a sensor's pattern); Fridrich and Kodovsky, IEEE
TIFS 2012 (the 3 x 3 kernel).
"""

from __future__ import annotations

import cv2
import numpy as np
import pywt

from dfd.forensics.finding import Finding, Map, Method

METHOD = Method("noise_residual", "Mihcak et al., ICASSP 1999; Lukas et al., IEEE TIFS 2006", kind="shows")
WINDOWS = (3, 5, 7, 9)  # sides of the squares in which a coefficient's variance is estimated
# Pixels that are filtered at once: memory is then about 10 bytes for each of them, whatever the picture.
STRIP = 16_000_000
# Rows to either side of a strip, so that its seams do not show: what 4 levels of db8 and the windows reach. A
# multiple of 16, which keeps the phases of the decimation.
HALO = 304
NEEDED = 16
# of the map: a grey level or two is a camera's, far more is texture
LOW, HIGH = 0.0, 6.0
LONGEST = 512  # cells on the longer side of a map
_KERNEL = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]], np.float32) / 6


def luma(pixels: np.ndarray) -> np.ndarray:
    """(H, W) float32 in grey levels, unrounded, of (H, W, 3) uint8 RGB."""
    found = np.empty(pixels.shape[:2], np.float32)
    for top in range(0, len(found), 256):  # a float copy of the three colours is never held whole
        strip = np.ascontiguousarray(pixels[top : top + 256], np.float32)
        found[top : top + 256] = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)
    return found


def highpass_residual(image: np.ndarray) -> np.ndarray:
    """Float32 of the image's shape in grey levels: what a 3 x 3 kernel of second differences leaves.

    White noise keeps its standard deviation. Costs a few milliseconds a megapixel.

    Args:
        image: (H, W) or (H, W, 3), uint8 or float32, in grey levels.
    """
    return cv2.filter2D(np.asarray(image, np.float32), -1, _KERNEL, borderType=cv2.BORDER_REFLECT_101)


def wavelet_residual(image: np.ndarray, sigma: float = 3.0, wavelet: str = "db8") -> np.ndarray:
    """Float32 of the image's shape in grey levels: the image less its denoised self.

    Four levels; in each band the signal's variance is the least of the estimates in windows of 3, 5, 7 and 9,
    and a Wiener filter keeps what exceeds the noise. Large images are filtered in strips that overlap.

    Args:
        image: (H, W) or (H, W, 3), uint8 or float32, in grey levels; colours are filtered one by one.
        sigma: standard deviation of the noise that is taken off, in grey levels. 2 to 5 serve for photos.
        wavelet: of PyWavelets; db8 as published, db4 is a fifth faster.
    """
    if image.ndim == 3:
        return np.dstack([wavelet_residual(plane, sigma, wavelet) for plane in cv2.split(image)])
    height, width = image.shape
    rows = max(16, STRIP // width // 16 * 16)
    if height <= rows + HALO:
        return _residual(image, sigma, wavelet)
    found = np.empty((height, width), np.float32)
    for top in range(0, height, rows):
        start = max(0, top - HALO)
        strip = _residual(image[start : top + rows + HALO], sigma, wavelet)
        found[top : top + rows] = strip[top - start : top - start + rows]
    return found


def noise_residual(pixels: np.ndarray) -> Finding:
    """The wavelet residual's strength from place to place. It describes, and never says found.

    Score: the median strength in grey levels.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    values = strength(wavelet_residual(luma(pixels)), map_step(height, width))
    level = float(np.median(values))
    return METHOD("clear", "drawn", facts={"level": level}, score=level, unit="grey_levels", map=_map(values))


def map_step(height: int, width: int) -> int:
    """Side in pixels of a map's cells."""
    return max(4, min(-(-max(height, width) // LONGEST), height, width))


def strength(residual: np.ndarray, step: int) -> np.ndarray:
    """RMS of a residual (H, W) in cells of step x step pixels, (H // step, W // step) float32."""
    height, width = (length // step for length in residual.shape)
    cells = residual[: height * step, : width * step]
    return np.sqrt(cv2.resize(cells * cells, (width, height), interpolation=cv2.INTER_AREA))


def local_wiener(band: np.ndarray, noise: float) -> np.ndarray:
    """The share of each coefficient (H, W) that is noise: what a local Wiener filter takes off, in (0, 1].

    Args:
        noise: its variance.
    """
    power = band * band
    least = None
    for side in WINDOWS:
        mean = cv2.boxFilter(power, -1, (side, side), borderType=cv2.BORDER_REFLECT)
        least = mean if least is None else np.minimum(least, mean, out=least)
    assert least is not None
    # the signal's variance is max(0, least - noise): with the noise added, it is no less than the noise
    return noise / np.maximum(least, noise)


def _map(values: np.ndarray) -> Map:
    return Map(values, LOW, HIGH, "grey_levels")


def _residual(image: np.ndarray, sigma: float, wavelet: str) -> np.ndarray:
    height, width = image.shape
    levels = min(4, max(1, pywt.dwt_max_level(min(height, width), wavelet)))
    approximation = np.asarray(image, np.float32)
    bands: list[tuple[np.ndarray, ...]] = []
    for _ in range(levels):
        approximation, details = pywt.dwt2(approximation, wavelet, mode="symmetric")
        bands.append(tuple(band * local_wiener(band, sigma**2) for band in details))
    noise = np.zeros_like(approximation)
    for details in reversed(bands):
        noise = noise[: details[0].shape[0], : details[0].shape[1]]
        noise = pywt.idwt2((noise, details), wavelet, mode="symmetric")
    return noise[:height, :width]
