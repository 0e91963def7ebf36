"""jpeg_grid: parts of a picture whose JPEG blocks begin elsewhere than in the rest, or that show no
blocks."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Map, Method, Region, Table
from dfd.forensics.jpeg.grid_votes import CELL, GRIDS, cell_votes, log_tail, main_grid

METHOD = Method(
    "jpeg_grid", "ZERO: Nikoukhah, Anger, Colom, Morel and Grompone von Gioi, IPOL 2021", version=2
)

# log10 of the false alarms expected in a picture without any JPEG history
FOUND = -6.0
# sides of the windows that are tried, cells
WINDOWS = (4, 8, 16)
# a grid in more of the picture than this share is not local: the whole was compressed before
LARGEST = 0.6
NEEDED = 64  # pixels a side
MISSING = GRIDS
LEAST_SHARE = 0.25
# more parts than these are a property of the whole picture, as of an enlarged one, whose smooth places lose
# its blocks
MOST_PARTS = {"foreign": 6, "missing": 3, "partly_compressed": 3}
# -log10 NFA of the strongest part of another grid: periods of an enlarged picture reach 8
STRONG_FOREIGN = 10.0
# share of the pixels that vote: white paper has none, sky and enlarged blur few
FLAT = 0.05

# (rows, columns) bool of cells, and float32 the largest -log10 NFA of the windows that hold each
Evidence = tuple[np.ndarray, np.ndarray]


def jpeg_grid(pixels: np.ndarray) -> Finding:
    """Grid of the picture's JPEG blocks, and parts with another grid, each with its number of false alarms.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < NEEDED:
        return METHOD("abstained", "too_small", facts={"width": width, "height": height, "needed": NEEDED})
    counts = cell_votes(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    if counts[..., :GRIDS].sum(dtype=np.int64) < FLAT * counts.sum(dtype=np.int64):
        return METHOD("abstained", "too_flat")
    main, chance = main_grid(counts)
    has_main = chance < FOUND
    foreign = foreign_grids(counts)
    partly = has_main and is_partial(counts, main, foreign)
    if not has_main:
        foreign = {grid: each for grid, each in foreign.items() if is_partial(counts, grid, foreign)}
    elif not partly:
        foreign.pop(main, None)
        foreign[MISSING] = missing_grid(counts, main)
    values = np.zeros(counts.shape[:2], np.float32)
    regions = []
    for grid, (mask, evidence) in foreign.items():
        if mask.mean() <= LARGEST:
            values = np.maximum(values, evidence)
            regions += [(strength, box, grid) for box, strength in parts(mask, evidence)]
    regions.sort(reverse=True)
    has_main = has_main and not partly
    kind = ""
    if regions:
        kind = "partly_compressed" if not has_main else "missing" if regions[0][2] == MISSING else "foreign"
    if kind == "foreign" and regions[0][0] < STRONG_FOREIGN:
        kind, regions = "", []
    said = {
        "has_grid": has_main,
        "grid_x": main % 8 if has_main else None,
        "grid_y": main // 8 if has_main else None,
        "log10_nfa": chance,
        "regions": len(regions),
    }
    if kind and len(regions) > MOST_PARTS[kind]:
        answer, regions = "all_over", []
    elif kind:
        answer = kind
    elif not has_main:
        answer = "no_grid"
    else:
        answer = "one_grid" if main == 0 else "moved_grid"
    rows = [
        (
            "none" if grid == MISSING else f"{grid % 8}, {grid // 8}",
            *(int(side) for side in box),
            round(strength, 1),
        )
        for strength, box, grid in regions[:12]
    ]
    return METHOD(
        "found" if regions else "clear",
        answer,
        facts=said,
        score=regions[0][0] if regions else 0.0,
        unit="nfa",
        map=Map(values, 0.0, 30.0, "nfa"),
        table=Table(("grid", "x", "y", "width", "height", "nfa"), tuple(rows)) if rows else None,
        regions=tuple(
            Region(box, "missing_grid" if grid == MISSING else "foreign_grid", grid)
            for _, box, grid in regions[:12]
        ),
    )


def is_partial(counts: np.ndarray, main: int, found: dict[int, Evidence]) -> bool:
    """Whether the strongest grid fills a part of the picture only, and the rest has none: there its share is
    that of chance."""
    if main not in found:
        return False
    outside = counts[cv2.dilate(found[main][0].astype(np.uint8), np.ones((5, 5), np.uint8)) == 0]
    votes = outside[:, :GRIDS].sum(dtype=np.int64)
    # smooth places, as of an enlarged picture, have blocks of zeros alone and hardly vote
    enough = len(outside) >= 0.1 * counts[..., 0].size and votes > 0.3 * outside.sum(dtype=np.int64)
    return bool(enough and outside[:, main].sum(dtype=np.int64) < 2 / GRIDS * votes)


def missing_grid(counts: np.ndarray, main: int) -> Evidence:
    """Cells that vote, but not for the grid that the rest of the picture has.

    Of a picture with a strong grid, 60% of the votes or more. Its least share anywhere is taken to be 25%:
    photographs saved at qualities to 97 have 30% in their finest texture.
    """
    rows, columns = counts.shape[:2]
    votes = counts[..., :GRIDS].sum(axis=2).astype(np.float32)
    own = counts[..., main].astype(np.float32)
    evidence = np.zeros((rows, columns), np.float32)
    if own.sum() < 0.6 * votes.sum():
        return evidence > 0, evidence
    sides = [side for side in WINDOWS if side <= min(rows, columns)]
    tests = math.log10(len(sides) * rows * columns)
    for side in sides:
        valid, mine = (
            cv2.boxFilter(each, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
            for each in (votes, own)
        )
        share = np.clip(mine / np.maximum(valid, 1), 1e-6, LEAST_SHARE)
        divergence = share * np.log(share / LEAST_SHARE) + (1 - share) * np.log(
            (1 - share) / (1 - LEAST_SHARE)
        )
        tail = valid / GRIDS * divergence / math.log(10) - tests
        spread = cv2.dilate(np.maximum(tail, 0).astype(np.float32), np.ones((side, side), np.uint8))
        evidence = np.maximum(evidence, spread)
    # cells of the window that have the grid themselves, or nothing to vote on
    near_own, near_votes = cv2.blur(own, (3, 3)), cv2.blur(votes, (3, 3))
    evidence[(near_own > LEAST_SHARE * near_votes) | (near_votes < 64)] = 0
    return evidence > -FOUND, evidence


def foreign_grids(counts: np.ndarray) -> dict[int, Evidence]:
    """Cells that belong to a grid, of each grid that has some.

    Returns:
        by grid: (rows, columns) bool, and float32 the largest -log10 NFA of the windows that hold each cell.
    """
    rows, columns = counts.shape[:2]
    sides = [side for side in WINDOWS if side <= min(rows, columns)]
    tests = math.log10(GRIDS * len(sides) * rows * columns)
    found: dict[int, Evidence] = {}
    for grid in range(GRIDS):
        votes = counts[..., grid].astype(np.float32)
        # 40 of 256 pixels are far above chance, 4; without such a cell no window is
        if votes.max() < 40:
            continue
        evidence = np.zeros((rows, columns), np.float32)
        for side in sides:
            window = cv2.boxFilter(votes, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
            size = side * side * CELL * CELL
            # near the share of chance, 1/64, nothing stands out
            high = window > 2.5 / GRIDS * size
            if not high.any():
                continue
            tail = np.zeros((rows, columns), np.float32)
            tail[high] = np.maximum(-log_tail(window[high], np.array(size)) / math.log(10) - tests, 0)
            # every cell of a window that stands out, if it votes so itself
            spread = cv2.dilate(tail, np.ones((side, side), np.uint8))
            evidence = np.maximum(evidence, spread)
        evidence[cv2.blur(votes, (3, 3)) < 24] = 0
        mask = evidence > -FOUND
        if mask.any():
            found[grid] = mask, evidence
    return found


def parts(mask: np.ndarray, evidence: np.ndarray) -> list[tuple[tuple[float, float, float, float], float]]:
    """Connected parts of a mask of cells: x, y, width and height in pixels, and the largest evidence in
    it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = []
    for label, (x, y, width, height, _) in enumerate(stats):
        if label:
            box = float(x * CELL), float(y * CELL), float(width * CELL), float(height * CELL)
            found.append((box, float(evidence[labels == label].max())))
    return found
