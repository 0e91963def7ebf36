"""Camera match: whether a photo bears a sensor's fingerprint, by its peak-to-correlation energy, and where.

Goljan, Fridrich and Filler, SPIE 2009: PCE with its threshold of 60, from a million photos of 7000 cameras.
Chen et al., IEEE TIFS 2008: the local correlation, whose lack shows a region that another camera took.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy import fft, ndimage, stats

from dfd.forensics.examine import Tool
from dfd.forensics.finding import Finding, Map, Method, Region
from dfd.forensics.noise.prnu import SIGMA, Fingerprint, pixel_digest, usable_light, without_shared
from dfd.forensics.noise.residual import luma, wavelet_residual

METHOD = Method("camera_fingerprint", "Chen et al., IEEE TIFS 2008; Goljan et al., SPIE 2009", version=2)
THRESHOLD = 60
# share of other cameras' photos above it, as Goljan et al. measured. The normal law's p is far smaller, and
# too good: what the photos of one model share is never wholly removed.
FALSE_ALARMS = 2.4e-5
_LEAST_P = 1e-300
PEAK = 5  # pixels around the peak, to each side, that are not of the background
STEP = 16  # pixels of the map's cells
WINDOWS = (64, 128, 256)  # sides of the squares that are correlated, the first that tells enough
# deviations by which a square would show the fingerprint, if the whole picture had it alike
ENOUGH = 8.0
# of the map, in deviations of what is missing
LOW, HIGH = 0.0, 10.0
# a square has lost the fingerprint if it shows less than this share of what it should
SHARE_LOST = 0.3


def camera_tool(path: Path) -> Tool:
    """The tool `camera_fingerprint` for a file that `dfd fingerprint` wrote.

    Raises:
        ValueError: it is no fingerprint.
        OSError: it cannot be read.
    """
    return Tool(METHOD, partial(_match_or_abstain, camera=Fingerprint.load(path)), "pixels")


def camera_match(pixels: np.ndarray, camera: Fingerprint) -> Finding:
    """Whether a photo bears a camera's fingerprint. A match is good news, and a mismatch no trace of editing:
    both are "clear". Found says that a region of a photo that bears it lacks it.

    Score: the peak-to-correlation energy (PCE), its sign kept. The photo is tried as it is and turned, since
    the fingerprint lies as the sensor does. The map shows where the fingerprint is missing from a photo that
    bears it elsewhere: in deviations, by which a square shows less of it than the whole photo would have it.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright, neither cropped nor resized.

    Raises:
        ValueError: the fingerprint is of other dimensions.
    """
    height, width = pixels.shape[:2]
    quarters = _quarters(pixels.shape, camera)
    if not quarters:
        down, across = camera.pattern.shape
        raise ValueError(
            f"the photo is {width} x {height} pixels, and the fingerprint is of photos of {across} x {down}. "
            "Compare a photo as the camera saved it, neither cropped nor resized, or make a fingerprint of "
            "photos of this size."
        )
    if any(pixel_digest(np.rot90(pixels, -quarter)) in camera.digests for quarter in quarters):
        return METHOD("abstained", "own_photo", facts={"photos": camera.photos})
    residual = without_shared(wavelet_residual(luma(pixels), SIGMA))
    light = usable_light(pixels)
    best, energy = quarters[0], -np.inf
    for quarter in quarters:
        tried = pce(residual, light * np.rot90(camera.pattern, quarter))
        if tried > energy:
            best, energy = quarter, tried
    root = np.sign(energy) * np.sqrt(abs(energy))
    facts = {
        "pce": energy,
        "threshold": THRESHOLD,
        "p": min(1.0, max(_LEAST_P, len(quarters) * float(stats.norm.sf(root)))),
        "false_alarms": FALSE_ALARMS,
        "photos": camera.photos,
        "turned": 90 * best,
    }
    if energy <= THRESHOLD:
        return METHOD("clear", "not_from", facts=facts, score=energy, unit="pce")
    missing, regions = _missing(residual, light * np.rot90(camera.pattern, best))
    return METHOD(
        "found" if regions else "clear",
        "same_camera_but_for_a_region" if regions else "same_camera",
        facts=facts,
        score=energy,
        unit="pce",
        map=missing,
        regions=regions,
    )


def pce(residual: np.ndarray, expected: np.ndarray) -> float:
    """Peak-to-correlation energy of two planes (H, W) that are aligned, negative where they are opposed.

    The squared correlation at no shift over the mean of the squared correlations at all shifts but those
    near: of planes that have nothing to do with one another it is a squared standard normal deviate.
    """
    product = fft.rfft2(expected)
    del expected  # of a large photo these planes are most of the memory
    np.conj(product, out=product)
    product *= fft.rfft2(residual)
    product[0, 0] = 0  # as if the mean had been taken off
    correlation = fft.irfft2(product, s=residual.shape, overwrite_x=True)
    del product
    peak = float(correlation[0, 0])
    near = np.ix_(*(np.arange(-PEAK, PEAK + 1) % length for length in residual.shape))
    energy = np.square(correlation, out=correlation)
    others = (energy.sum(dtype=np.float64) - energy[near].sum(dtype=np.float64)) / (
        energy.size - (2 * PEAK + 1) ** 2
    )
    return float(np.sign(peak) * peak * peak / others) if others > 0 else 0.0


def _match_or_abstain(pixels: np.ndarray, camera: Fingerprint) -> Finding:
    if not _quarters(pixels.shape, camera):
        height, width = pixels.shape[:2]
        down, across = camera.pattern.shape
        facts = {"width": width, "height": height, "camera_width": across, "camera_height": down}
        return METHOD("abstained", "other_dimensions", facts=facts)
    return camera_match(pixels, camera)


def _quarters(shape: tuple[int, ...], camera: Fingerprint) -> list[int]:
    """The quarter turns, counterclockwise, by which the fingerprint fits a picture."""
    sides = camera.pattern.shape
    return [quarter for quarter in range(4) if (sides if quarter % 2 == 0 else sides[::-1]) == shape[:2]]


def _missing(residual: np.ndarray, expected: np.ndarray) -> tuple[Map, list[Region]]:
    """Where a fingerprint that is in the picture is missing."""
    height, width = (length // STEP for length in residual.shape)
    shared, own, noise = (
        _cells(plane, height, width)
        for plane in (residual * expected, expected * expected, residual * residual)
    )
    # so much of the fingerprint the picture has, as a whole
    strength = float(shared.sum() / own.sum())
    sides = [side for side in WINDOWS if side <= min(residual.shape) // 2]
    for side in sides:
        sums = [_over(cells, side) for cells in (shared, own, noise)]
        scale = np.sqrt(np.maximum(sums[1] * sums[2], 1e-12))
        # correlation times the root of the pixels: its deviation is 1 where the fingerprint is not
        deviations = side * sums[0] / scale
        due = side * strength * sums[1] / scale
        if np.median(due) >= ENOUGH:
            break
    told = due >= ENOUGH
    values = np.where(told, np.maximum(due - deviations, 0), 0).astype(np.float32)
    lost = told & (deviations < SHARE_LOST * due) & (deviations < 4.0)
    labels, _ = ndimage.label(lost)
    # smaller than a quarter of a square, a hole is chance or the picture's own texture
    least = (side // STEP) ** 2 / 4
    regions = [
        Region((at[1].start * STEP, at[0].start * STEP, _length(at[1]), _length(at[0])), "region", group)
        for group, at in enumerate(ndimage.find_objects(labels), start=1)
        if (labels[at] == group).sum() >= least
    ]
    return Map(values, LOW, HIGH, "missing"), regions


def _cells(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means (height, width) of cells of STEP x STEP pixels."""
    cells = np.ascontiguousarray(plane[: height * STEP, : width * STEP])
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_AREA)


def _over(cells: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of `side` pixels around each cell."""
    return cv2.blur(cells, (side // STEP + 1, side // STEP + 1), borderType=cv2.BORDER_REFLECT)


def _length(at: slice) -> int:
    return (at.stop - at.start) * STEP
