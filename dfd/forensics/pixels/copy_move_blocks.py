"""Copy-move by blocks: areas shown twice at some distance, neither turned nor scaled, smooth ones too."""

from __future__ import annotations

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Method
from dfd.forensics.pixels.duplicates import (
    Working,
    copies_map,
    copies_regions,
    duplicate,
    refined,
    verdict,
    working,
)

METHOD = Method(
    "copy_move_blocks",
    "Fridrich, Soukal & Lukas 2003, Detection of copy-move forgery in digital images; Popescu & Farid 2004",
)

BLOCK = 16
# Pixels of the working picture: the search looks at each place, and is to take half a second
WORKING_PIXELS = 400_000
NEAREST = 32  # pixels between the two ends
NEEDED = 64
# squared distance of two blocks that match, as a share of their energy
ALIKE = 0.02
# matches of about one offset, from which it is looked at; and how many offsets are
FEWEST, MOST_OFFSETS = 30, 6
# of the search: orders that blocks are sorted in, neighbours in each; bits and coefficients of a sorting key
_ORDERS, _NEIGHBOURS, _BITS, _DIGITS = 4, 3, 6, 5
# frequencies of a block down and across, without its mean: a copy is often made lighter or darker
_ZIGZAG = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0))


def copy_move_blocks(pixels: np.ndarray) -> Finding:
    """Areas that the picture shows twice, by the DCT of blocks: (H, W, 3) uint8 RGB, 64 a side or more."""
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    picture = working(pixels, WORKING_PIXELS)
    found = [
        copy
        for down, across in offsets(picture)
        if (copy := duplicate(picture, refined(picture, np.float32([[1, 0, across], [0, 1, down]]))))
    ]
    copies, score, pattern = verdict(picture, found)
    said = {
        "facts": {"copies": len(copies)},
        "score": score,
        "unit": "thresholds",
        "map": copies_map(picture, [] if pattern else found),
    }
    if not copies:
        return METHOD("clear", "pattern" if pattern else "none", **said)
    return METHOD("found", "copies", regions=copies_regions(picture, copies), **said)


def offsets(picture: Working) -> list[tuple[float, float]]:
    """Offsets, down and across, at which many blocks have one that is like them; the most frequent first."""
    vectors = coefficients(picture.gray)
    rows, columns = vectors.shape[:2]
    middle = picture.distinct[BLOCK // 2 :, BLOCK // 2 :][:rows, :columns]
    vectors, places = vectors[middle], np.argwhere(middle)
    match, distance = most_alike(vectors, places)
    alike = distance < ALIKE * (vectors**2).sum(axis=1)
    offset = places[match[alike]] - places[alike]
    # either end may be the first: all offsets point down
    upwards = (offset[:, 0] < 0) | ((offset[:, 0] == 0) & (offset[:, 1] < 0))
    offset[upwards] *= -1
    return _frequent(offset, picture.gray.shape)


def _frequent(offset: np.ndarray, shape: tuple[int, ...]) -> list[tuple[float, float]]:
    """Peaks of the histogram of offsets (n, 2), in cells of two pixels."""
    height, width = shape
    cells = np.stack([offset[:, 0] // 2, (offset[:, 1] + width) // 2], axis=1)
    size = height // 2 + 1, width + 1
    votes = np.bincount(cells[:, 0] * size[1] + cells[:, 1], minlength=size[0] * size[1])
    around = cv2.blur(votes.reshape(size).astype(np.float32), (3, 3), borderType=cv2.BORDER_CONSTANT) * 9
    found = []
    while len(found) < MOST_OFFSETS:
        row, column = np.unravel_index(around.argmax(), size)
        if around[row, column] < FEWEST:
            break
        near = np.abs(cells - (row, column)).max(axis=1) <= 1
        down, across = np.median(offset[near], axis=0)
        found.append((float(down), float(across)))
        around[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 0
    return found


def coefficients(gray: np.ndarray) -> np.ndarray:
    """Nine low frequencies of the DCT of the block whose corner is at each pixel.

    Returns (rows, columns, 9) float32, in grey levels times BLOCK.
    """
    light = gray.astype(np.float32)
    place = np.arange(BLOCK)
    waves = [np.sqrt(2 / BLOCK) * np.cos(np.pi * (place + 0.5) * k / BLOCK) for k in range(4)]
    waves[0] /= np.sqrt(2)
    kernels = [wave.astype(np.float32) for wave in waves]
    rows, columns = (length - BLOCK + 1 for length in gray.shape)
    across = [cv2.filter2D(light, -1, kernel[None], anchor=(0, 0))[:, :columns] for kernel in kernels]
    found = [cv2.filter2D(across[x], -1, kernels[y][:, None], anchor=(0, 0))[:rows] for y, x in _ZIGZAG]
    return np.stack(found, axis=2)


def most_alike(vectors: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each block the most alike one that is not near, and its squared distance (inf where none was seen).

    Blocks are sorted by a key that interleaves the bits of their coefficients, shifted and shuffled for each
    of several orders, and compared with the next ones in each: what is nearly equal lies close in some order.
    """
    num = len(vectors)
    best, match = np.full(num, np.inf, np.float32), np.zeros(num, int)
    rng = np.random.default_rng(0)
    if not num:
        return match, best
    # about equally many in each cell of the key
    usual = np.abs(vectors).mean(axis=0)
    spread = np.arctan(vectors / (1.5 * usual + 1e-6)) / np.pi + 0.5
    for _ in range(_ORDERS):
        digits = rng.permutation(_DIGITS)
        shift = rng.uniform(0, 0.25, _DIGITS).astype(np.float32)
        order = np.argsort(_interleaved(0.75 * spread[:, digits] + shift), kind="stable")
        sorted_vectors, sorted_places = vectors[order], places[order]
        for ahead in range(1, _NEIGHBOURS + 1):
            distance = ((sorted_vectors[ahead:] - sorted_vectors[:-ahead]) ** 2).sum(axis=1)
            apart = np.abs(sorted_places[ahead:] - sorted_places[:-ahead]).max(axis=1)
            distance[apart < NEAREST] = np.inf
            for one, other in ((order[:-ahead], order[ahead:]), (order[ahead:], order[:-ahead])):
                nearer = distance < best[one]
                best[one[nearer]] = distance[nearer]
                match[one[nearer]] = other[nearer]
    return match, best


def _interleaved(values: np.ndarray) -> np.ndarray:
    """(n,) uint32 of (n, d) in [0, 1): the first bit of all d, then the second of all (Morton order)."""
    cells = (values * (1 << _BITS)).astype(np.uint32)
    key = np.zeros(len(values), np.uint32)
    for bit in reversed(range(_BITS)):
        for digit in range(values.shape[1]):
            key = (key << 1) | ((cells[:, digit] >> bit) & 1)
    return key
