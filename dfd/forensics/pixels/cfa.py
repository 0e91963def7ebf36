"""Colour filter array: the pattern that demosaicing leaves, and regions that lack it or shift it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method, Region

METHOD = Method(
    "cfa",
    "Ferrara, Bianchi, De Rosa & Piva 2012, Image forgery localization via fine-grained analysis of CFA "
    "artifacts",
)

BLOCK = 16  # pixels a side of what the pattern is measured in
STRIP = 32  # blocks a strip: bounds the memory of large pictures
# log ratio of the errors at green's two kinds of places, from which there is a pattern, and its standard
# errors; 224 JPEGs of cameras and web sites stay below .05
PATTERN, SURE = 0.2, 12.0
# blocks a region needs, and its mean probability of having no such pattern
SMALLEST, LACKING = 24, 0.8
# variance of the error below which a block is flat: rounding to 8 bit leaves no pattern there
FLAT = 0.4
_CROSS = np.float32([[0, 0.25, 0], [0.25, -1, 0.25], [0, 0.25, 0]])


class Pattern(NamedTuple):
    """A colour filter array as the pixels show it.

    Args:
        strength: log ratio, 0 without any; its sign says at which places green was measured.
        sure: standard errors from 0.
        name: of the four corner pixels, such as RGGB; "" where there is none.
    """

    strength: float
    sure: float
    name: str


def cfa(pixels: np.ndarray) -> Finding:
    """Where a camera's colour filter array does not go on: (H, W, 3) uint8 RGB, 128 pixels a side or more.

    The map is the probability that a block lacks the pattern of the rest, at even odds.
    """
    height, width = pixels.shape[:2]
    needed = 8 * BLOCK
    if min(height, width) < needed:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": needed})
    energy = _energy(pixels[..., 1])
    ratio, judged = _ratio(energy)
    if judged.sum() < 4 * SMALLEST:
        return METHOD("abstained", "flat")
    pattern = _pattern(pixels, ratio[judged])
    facts = {"pattern": pattern.name, "strength": abs(pattern.strength), "sure": pattern.sure}
    if not pattern.name:
        return METHOD("abstained", "no_pattern", facts=facts)
    lacking = _lacking(ratio, judged, np.sign(pattern.strength))
    box, share, score = _largest(lacking, judged)
    map = Map(lacking, low=0.0, high=1.0, unit="probability")
    if not box:
        return METHOD("clear", "everywhere", facts=facts, score=score, unit="blocks", map=map)
    regions = [Region(tuple(float(BLOCK * side) for side in box), "lacking")]
    facts["share"] = share
    return METHOD("found", "region", facts=facts, score=score, unit="blocks", map=map, regions=regions)


def cfa_strength(pixels: np.ndarray) -> float:
    """Strength of the pattern, 0 without any: absolute log ratio of the errors at green's two places.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    if min(pixels.shape[:2]) < BLOCK:
        return 0.0
    ratio, judged = _ratio(_energy(pixels[..., 1]))
    return float(abs(np.median(ratio[judged]))) if judged.any() else 0.0


def _energy(channel: np.ndarray) -> np.ndarray:
    """Mean squared error of each place of a 2 x 2 grid, predicted from its four neighbours, in each block:
    (2, 2, rows, columns).
    """
    rows, columns = (length // BLOCK for length in channel.shape)
    energy = np.zeros((2, 2, rows, columns), np.float32)
    for start in range(0, rows, STRIP):
        stop = min(start + STRIP, rows)
        # with a line above and below, which the filter sees
        top, bottom = max(start * BLOCK - 1, 0), min(stop * BLOCK + 1, len(channel))
        strip = channel[top:bottom].astype(np.float32)
        error = cv2.filter2D(strip, -1, _CROSS, borderType=cv2.BORDER_REFLECT_101)
        error = error[start * BLOCK - top :][: (stop - start) * BLOCK, : columns * BLOCK] ** 2
        for y in (0, 1):
            for x in (0, 1):
                # the mean over the whole block: a quarter of its places count
                place = np.ascontiguousarray(error[y::2, x::2])
                size = columns, stop - start
                energy[y, x, start:stop] = cv2.resize(place, size, interpolation=cv2.INTER_AREA)
    return energy


def _ratio(energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log ratio of green's two kinds of places (rows, columns), and which blocks are not flat."""
    even, odd = energy[0, 0] + energy[1, 1], energy[0, 1] + energy[1, 0]
    # the rounding of 8 bit, in both
    return np.log((even + 0.1) / (odd + 0.1)), (even + odd) / 4 > FLAT


def _pattern(pixels: np.ndarray, ratio: np.ndarray) -> Pattern:
    strength = float(np.median(ratio))
    sure = float(abs(ratio.mean()) / max(ratio.std(), 1e-3) * np.sqrt(ratio.size))
    if abs(strength) < PATTERN or sure < SURE:
        return Pattern(strength, sure, "")
    # what was measured is predicted worst; green has one diagonal, red and blue a place each of the other
    red, blue = (np.log(_energy(pixels[..., c]) + 0.1).mean(axis=(2, 3)) for c in (0, 2))
    first, second = ((0, 1), (1, 0)) if strength > 0 else ((0, 0), (1, 1))
    swapped = red[second] + blue[first] > red[first] + blue[second]
    letters = [["G", "G"], ["G", "G"]]
    for (y, x), letter in zip((first, second), "BR" if swapped else "RB", strict=True):
        letters[y][x] = letter
    return Pattern(strength, sure, "".join(letters[0] + letters[1]))


def _lacking(ratio: np.ndarray, judged: np.ndarray, sign: float) -> np.ndarray:
    """Probability (rows, columns) that a block and those around it do not have the pattern, at even odds.

    Two Gaussians by expectation and maximization: with the pattern, of any mean; without, of mean 0.
    """
    value = (sign * ratio).astype(np.float32)
    seen = value[judged].astype(np.float64)
    mean, spread, spread_without, share = float(np.median(seen)), float(seen.std()), float(seen.std()), 0.1
    for _ in range(30):
        with_it = (1 - share) * _gauss(seen, mean, spread)
        without = share * _gauss(seen, 0.0, spread_without)
        odds = without / np.maximum(with_it + without, 1e-300)
        share = float(np.clip(odds.mean(), 1e-3, 0.5))
        mean = float(np.average(seen, weights=1 - odds + 1e-9))
        spread = max(float(np.sqrt(np.average((seen - mean) ** 2, weights=1 - odds + 1e-9))), 0.2 * mean)
        spread_without = float(np.sqrt(np.average(seen**2, weights=odds + 1e-9)))
        # Demosaicing that follows edges leaves half the pattern in places: that is not without it
        spread_without = float(np.clip(spread_without, 0.1 * mean, 0.2 * mean))
    # the other phase lies on the far side of 0; a stronger pattern than the mean is one
    value = np.minimum(value, mean)
    log_odds = np.log(spread / spread_without) - 0.5 * np.maximum(value, 0) ** 2 / spread_without**2
    log_odds += 0.5 * (value - mean) ** 2 / spread**2
    # one wild block does not outweigh its eight neighbours
    log_odds = np.where(judged, np.clip(log_odds, -8, 8), 0).astype(np.float32)
    around = cv2.blur(log_odds, (3, 3), borderType=cv2.BORDER_REFLECT)
    num = cv2.blur(judged.astype(np.float32), (3, 3), borderType=cv2.BORDER_REFLECT)
    # flat blocks among flat blocks say nothing, and are shown as calm
    around = np.where(num > 0.3, around / np.maximum(num, 1e-3), -8)
    return (1 / (1 + np.exp(-around))).astype(np.float32)


def _gauss(value: np.ndarray, mean: float, spread: float) -> np.ndarray:
    return np.exp(-0.5 * ((value - mean) / spread) ** 2) / spread


def _largest(
    lacking: np.ndarray, judged: np.ndarray
) -> tuple[tuple[int, int, int, int] | None, float, float]:
    """Box of the largest region without the pattern, or None; its share of the picture; blocks in it."""
    num, labels, stats, _ = cv2.connectedComponentsWithStats((lacking > 0.5).astype(np.uint8), connectivity=4)
    sizes = np.bincount(labels[judged], minlength=num).astype(float)
    sizes[0] = 0
    best = int(sizes.argmax())
    size = sizes[best]
    if size < SMALLEST or lacking[(labels == best) & judged].mean() < LACKING:
        return None, 0.0, float(size)
    x, y, wide, high = (int(value) for value in stats[best, :4])
    return (x, y, wide, high), float(size / judged.size), float(size)
