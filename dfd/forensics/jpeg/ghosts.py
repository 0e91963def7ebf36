"""jpeg_ghosts: parts of a picture that were compressed before at another quality than the rest."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method, Region, Table
from dfd.forensics.jpeg.dct_coefficients import block_dct, unclipped
from dfd.forensics.jpeg.headers import scaled_tables
from dfd.forensics.jpeg.histograms import LOW_MODES

METHOD = Method("jpeg_ghosts", "Farid, Exposing digital forgeries from JPEG ghosts, 2009", version=2)

QUALITIES = (40, 50, 55, 60, 65, 70, 75, 80, 85, 88, 90, 92, 95)
CELL = 16  # pixels a side
STRIP = 512  # rows that are worked on at a time
NEEDED = 128
FOUND = 6.0
# median of a part's cells, and coefficients of the part and of the rest: what unedited pictures do not reach
# after they were saved again, turned, enlarged, brightened or blurred (115 variants of 12 camera files)
STRONG = 8.0
_ENOUGH = 500
_LARGEST = 0.5  # share of the picture that a part may fill
_SMALLEST = 25  # cells of a part
# differences to the picture saved again, over those expected without an earlier compression: a quality shows
# in one of a part and the rest, and not in the other
_SHOWS, _SHOWS_NOT = 0.3, 0.7


def jpeg_ghosts(pixels: np.ndarray) -> Finding:
    """Parts whose differences to the picture saved again, over qualities, are unlike the rest's.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    error, number = ghosts(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), unclipped(pixels))
    values = apart(error, number)
    regions = _regions(values, error, number)
    rest = _quality(error, number, values < FOUND / 2)
    score = max((strength for *_, strength in regions), default=0.0)
    table = Table(
        ("x", "y", "width", "height", "quality", "spread"),
        tuple((*(int(side) for side in box), quality, round(s, 1)) for box, quality, s in regions[:12]),
    )
    facts = {
        "rest_quality": rest,
        "regions": len(regions),
        "region_quality": regions[0][1] if regions else None,
    }
    answer = "even"
    if regions:
        answer = "ghost" if regions[0][1] is not None else "without_ghost"
    return METHOD(
        "found" if regions else "clear",
        answer,
        facts=facts,
        score=score,
        unit="spread",
        map=Map(values, 0.0, 12.0, "spread"),
        table=table if regions else None,
        regions=tuple(Region(box, "ghost", number) for number, (box, *_) in enumerate(regions[:12])),
    )


def ghosts(luma: np.ndarray, counted_blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference of a picture to itself saved again at each of QUALITIES, in cells of 16 x 16 pixels.

    Computed on the low frequencies of the DCT, where differences are the same as on pixels (Parseval), and
    only of coefficients that saving does not round to zero.

    Args:
        luma: (H, W) uint8.
        counted_blocks: (H // 8, W // 8) bool, as of `unclipped`.

    Returns:
        (qualities, rows, columns) float32 sum of squared differences, each over that expected of a
        coefficient without an earlier compression; and the number of coefficients in it.
    """
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    error = np.zeros((len(QUALITIES), rows, columns), np.float32)
    number = np.zeros_like(error)
    tables = scaled_tables().reshape(100, 8, 8)
    for top in range(0, rows * CELL, STRIP):
        shown = luma[top : min(top + STRIP, rows * CELL), : columns * CELL]
        strip = block_dct(shown)
        at = slice(top // CELL, top // CELL + len(strip) // CELL)
        blocks = counted_blocks[top // 8 :, : columns * 2][: len(shown) // 8]
        for vertical, horizontal in LOW_MODES:
            dct = np.ascontiguousarray(strip[vertical::8, horizontal::8])
            for place, quality in enumerate(QUALITIES):
                step = np.float32(tables[quality - 1, vertical, horizontal])
                whole = np.rint(dct / step)
                rest = (dct / step - whole) ** 2 * 12
                counted = ((whole != 0) & blocks).astype(np.float32)
                error[place, at] += _by_cell(rest * counted)
                number[place, at] += _by_cell(counted)
    return error, number


def apart(error: np.ndarray, number: np.ndarray) -> np.ndarray:
    """(rows, columns) float32: how far a cell and its neighbours lie from the median of the picture at the
    quality where that is most, in robust standard deviations."""
    found = np.zeros(error.shape[1:], np.float32)
    for errors, numbers in zip(error, number, strict=True):
        errors, numbers = cv2.blur(errors, (3, 3)) * 9, cv2.blur(numbers, (3, 3)) * 9
        known = numbers >= 12
        if known.mean() < 0.1:
            continue
        level = np.log((errors + 1) / (numbers + 1))
        middle = np.median(level[known])
        # a few coefficients scatter by chance: the variance of 12 x a squared uniform is 0.8
        spread = np.maximum(1.4826 * np.median(np.abs(level[known] - middle)), np.sqrt(0.8 / (numbers + 1)))
        found = np.maximum(found, np.where(known, np.abs(level - middle) / np.maximum(spread, 0.08), 0))
    return np.minimum(found, 50).astype(np.float32)


def _regions(
    values: np.ndarray, error: np.ndarray, number: np.ndarray
) -> list[tuple[tuple[float, float, float, float], int | None, float]]:
    """Box in pixels, quality and strength of each part that stands out, the strongest first."""
    mask = (values >= FOUND).astype(np.uint8)
    if mask.mean() > _LARGEST:
        return []
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label, (x, y, width, height, area) in enumerate(stats):
        inside = labels == label
        if not label or area < _SMALLEST:
            continue
        strength = float(np.median(values[inside]))
        if strength >= STRONG and _differs(error, number, inside, values < FOUND / 2):
            box = float(x * CELL), float(y * CELL), float(width * CELL), float(height * CELL)
            found.append((box, _quality(error, number, inside), strength))
    return sorted(found, key=lambda each: -each[2])


def _differs(error: np.ndarray, number: np.ndarray, inside: np.ndarray, rest: np.ndarray) -> bool:
    """Whether a quality shows in one of two parts alone."""
    part, other = _levels(error, number, inside), _levels(error, number, rest)
    known = np.minimum(number[:, inside].sum(axis=1), number[:, rest].sum(axis=1)) >= _ENOUGH
    return bool((known & (np.minimum(part, other) < _SHOWS) & (np.maximum(part, other) > _SHOWS_NOT)).any())


def _levels(error: np.ndarray, number: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(qualities,) difference of a part over that expected; _SHOWS where few coefficients tell."""
    count = number[:, inside].sum(axis=1)
    return np.where(count < 200, _SHOWS, error[:, inside].sum(axis=1) / np.maximum(count, 1))


def _quality(error: np.ndarray, number: np.ndarray, inside: np.ndarray) -> int | None:
    """The quality at which saving a part again changes least, where it shows."""
    levels = _levels(error, number, inside)
    best = int(levels.argmin())
    return QUALITIES[best] if levels[best] < _SHOWS else None


def _by_cell(plane: np.ndarray) -> np.ndarray:
    return plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
