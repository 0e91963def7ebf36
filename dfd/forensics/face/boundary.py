"""Blending and warping: the inner face against its own rim and what surrounds it.

Li and Lyu, "Exposing deepfake videos by detecting face warping artifacts", CVPRW 2019 (1811.00656): a face
that was made at a small size and warped into place is softer than what surrounds it. Li et al., "Face X-ray
for more general face forgery detection", CVPR 2020 (1912.13458): the two sides of a blend's border differ in
noise and colour.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceFinder, FaceGeometry, cut, filled
from dfd.forensics.finding import Finding, Map, Method, Region, Table

METHOD = Method("face_boundary", "Li and Lyu 2019 (1811.00656); Li et al. 2020 (1912.13458)")
MIN_UNIT = 30  # about the distance of the eyes, in pixels; below, the rim is a pixel or two wide
LONGEST = 640  # pixels of the cutting that is measured
# depths below the outline in units: the rim of the face, its core; and outside of it
RIM, CORE, OUTSIDE = (0.03, 0.33), 0.42, (-0.7, -0.06)
NUM_SECTORS = 16
# From the rim's share of fine detail, the core's, as 2,500 pictures of 830 real faces have it (also smaller
# and after JPEG 80), and the mean error of that: what is sharp as a whole varies more.
SLOPE, OFFSET = 0.785, -0.197
ERROR, ERROR_SLOPE = 0.282, 0.04
THRESHOLD = 2.7
# What is soft as a whole leaves no detail to miss: least energy of the rim's fine detail, and least log of
# its share.
# Without them 38 of 380 real faces are found after a blur of one pixel, with them 11 of 530, of whom
# 37 are judged.
MIN_FINE, MIN_SHARE = 0.3, -1.6


class BoundaryCues(NamedTuple):
    """What differs between inside and outside; more is more of what a blend leaves, NaN where it cannot be
    told."""

    detail: float
    softness: float
    noise: float
    seam: float


def face_boundary(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """Whether the core of the largest face lacks the fine detail that its rim has, found above 2.7; and how
    edges, noise and colour inside its outline differ from those outside, which are told and never lead to
    "found".

    Args:
        pixels: (H, W, 3) uint8 RGB.
        finder: of faces.
    """
    located = finder(pixels)
    if not located:
        return METHOD("abstained", "no_face")
    face = located[0]
    if face.unit < MIN_UNIT:
        return METHOD("abstained", "near", facts={"unit": round(face.unit), "needed": MIN_UNIT})
    cues = measure(pixels, face)
    if math.isnan(cues.detail):
        return METHOD("abstained", "flat")
    # below the threshold a place is as calm as most of a real face
    where = Map(detail_map(pixels, face), THRESHOLD, 6.0, "errors")
    values = {
        "map": where,
        "facts": cues._asdict(),
        "score": cues.detail,
        "unit": "errors",
        "table": Table(BoundaryCues._fields, (tuple(round(value, 2) for value in cues),)),
        "regions": (Region(face.box, "face"),),
    }
    if cues.detail > THRESHOLD:
        return METHOD("found", "soft_inside", **values)
    return METHOD("clear", "alike", **values)


def measure(pixels: np.ndarray, face: FaceGeometry) -> BoundaryCues:
    """The four cues of one face."""
    part, moved = cut(pixels, face, 0.3, LONGEST)
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lab = cv2.cvtColor(part.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    depth = depth_inside(part.shape, moved)
    inside = depth > RIM[0]
    outside = (depth > OUTSIDE[0]) & (depth < OUTSIDE[1])
    return BoundaryCues(
        missing_detail(gray, depth),
        softness(gray, inside, outside),
        noise_difference(gray, inside, outside),
        colour_seam(lab, depth, moved.outline("face").mean(0)),
    )


def depth_inside(shape: tuple[int, ...], face: FaceGeometry) -> np.ndarray:
    """(H, W) float32: how far within the face's outline a pixel is, in units; below 0 outside."""
    mask = filled(shape, face.outline("face")).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    return (inside - outside) / np.float32(face.unit)


def missing_detail(gray: np.ndarray, depth: np.ndarray) -> float:
    """How much less fine detail the core of a face has than its rim leads to expect, in mean errors of that
    expectation; NaN where a side is smaller than 200 pixels, or the picture is soft as a whole.

    Detail is compared as the log of the energy of the finest band over that of the next but one, so that a
    smooth cheek counts as little as a beard.
    """
    fine, coarse = _bands(gray)
    rim, core = (depth > RIM[0]) & (depth < RIM[1]), depth > CORE
    if min(rim.sum(), core.sum()) < 200 or float(coarse[core].mean()) < 0.05:
        return math.nan
    expected = _share(fine[rim].mean(), coarse[rim].mean())
    if float(fine[rim].mean()) < MIN_FINE or expected < MIN_SHARE:
        return math.nan
    return float(_against(expected, _share(fine[core].mean(), coarse[core].mean())))


def detail_map(pixels: np.ndarray, face: FaceGeometry) -> np.ndarray:
    """(h, w) float32 over the whole picture, at most 512 on its longer side: `missing_detail` of each place
    of a face, averaged over a fifth of the distance of the eyes; 0 elsewhere."""
    part, moved = cut(pixels, face, 0.0, LONGEST)
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    depth = depth_inside(part.shape, moved)
    fine, coarse = _bands(gray)
    rim = (depth > RIM[0]) & (depth < RIM[1])
    around = [cv2.GaussianBlur(energy, (0, 0), 0.2 * moved.unit) for energy in (fine, coarse)]
    missing = _against(_share(fine[rim].mean(), coarse[rim].mean()), _share(*around))
    missing = np.where(depth > RIM[0], np.maximum(missing, 0), 0).astype(np.float32)
    step = max(1, math.ceil(max(pixels.shape[:2]) / 512))
    height, width = (max(1, side // step) for side in pixels.shape[:2])
    scale = face.box[2] / moved.box[2]
    start = face.points[0] - moved.points[0] * scale
    placed = np.array([[scale, 0, start[0]], [0, scale, start[1]]]) / step
    return np.maximum(cv2.warpAffine(missing, placed, (width, height)), 0)


def _bands(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy of the finest detail, and of that which is about twice as coarse."""
    fine = gray - cv2.GaussianBlur(gray, (0, 0), 0.8)
    coarse = cv2.GaussianBlur(gray, (0, 0), 1.2) - cv2.GaussianBlur(gray, (0, 0), 2.4)
    return fine**2, coarse**2


def _share(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    # what 8 bits round away
    return np.log((fine + 0.02) / (coarse + 0.02))


def _against(rim: np.ndarray, core: np.ndarray) -> np.ndarray:
    """How far the core's share falls below what the rim's leads to expect, in mean errors."""
    return (SLOPE * rim + OFFSET - core) / (ERROR + ERROR_SLOPE * np.clip(rim, -1.5, 1.0))


def softness(gray: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    """How much softer edges inside are than those outside: log of the ratio of their sharpness, NaN without
    edges.

    Sharpness of an edge is how much of its slope a known blur takes away (Zhuo and Sim 2011). Of each side
    the sharper quarter counts, since a lens blurs what lies further away and hair is soft in parts.

    Args:
        gray: (H, W) float32 luma.
        inside: (H, W) bool, and
        outside: the two sides.
    """
    slope = _slope(cv2.GaussianBlur(gray, (0, 0), 0.6))
    blurred = _slope(cv2.GaussianBlur(gray, (0, 0), 1.8))
    edge = (slope > 8) & (slope >= cv2.dilate(slope, np.ones((3, 3), np.uint8)))
    ratio = slope / np.maximum(blurred, 1e-3)
    sharpness = []
    for side in (inside, outside):
        chosen = ratio[edge & side]
        if chosen.size < 40:
            return math.nan
        sharpness.append(float(np.quantile(chosen, 0.75)))
    return math.log(sharpness[1] / sharpness[0])


def noise_difference(gray: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    """How much less noise is inside: log of the ratio of the noise of smooth places, each brightness apart;
    NaN where the two sides share no brightness.

    The noise of a block is Immerkaer's (1996): what a product of two second differences leaves.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    residual = np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel)) * (math.sqrt(math.pi / 2) / 6)
    size = 6
    rows, columns = gray.shape[0] // size, gray.shape[1] // size
    if not rows or not columns:
        return math.nan

    def blocks(values: np.ndarray) -> np.ndarray:
        cropped = values[: rows * size, : columns * size].astype(np.float32)
        return cv2.resize(cropped, (columns, rows), interpolation=cv2.INTER_AREA)

    noise, level = blocks(residual), blocks(gray)
    texture = blocks(np.abs(_slope(cv2.GaussianBlur(gray, (0, 0), 1.5))))
    usable = (level > 25) & (level < 230)
    by_side = [(usable & (blocks(side) > 0.99)) for side in (inside, outside)]
    total, weight = 0.0, 0.0
    for low in range(24, 232, 16):
        logs, counts = [], []
        for side in by_side:
            chosen = side & (level >= low) & (level < low + 16)
            num = int(chosen.sum())
            if num < 6:
                break
            # the smoother half of the blocks
            smooth = noise[chosen][np.argsort(texture[chosen], kind="stable")[: (num + 1) // 2]]
            logs.append(math.log(float(np.median(smooth)) + 0.05))
            counts.append(num)
        if len(logs) == 2:
            total += min(counts) * (logs[1] - logs[0])
            weight += min(counts)
    return total / weight if weight >= 12 else math.nan


def colour_seam(lab: np.ndarray, depth: np.ndarray, center: np.ndarray) -> float:
    """The strongest step of colour at one depth below the outline, all around: a t value over sectors; NaN
    where fewer than 8 sectors of 16 are seen.

    Args:
        lab: (H, W, 3) float32 L, a, b.
        depth: (H, W) as of depth_inside.
        center: x, y of the face.
    """
    rows, columns = np.nonzero((depth > -0.12) & (depth < 0.72))
    angle = np.arctan2(rows - center[1], columns - center[0])
    sector = np.clip(((angle / (2 * np.pi) + 0.5) * NUM_SECTORS).astype(int), 0, NUM_SECTORS - 1)
    step = 0.06
    ring = ((depth[rows, columns] + 0.12) / step).astype(int)
    num_rings = 14
    at = sector * num_rings + np.clip(ring, 0, num_rings - 1)
    count = np.bincount(at, minlength=NUM_SECTORS * num_rings).reshape(NUM_SECTORS, num_rings)
    means = (
        np.stack(
            [
                np.bincount(at, lab[rows, columns, c], NUM_SECTORS * num_rings).reshape(
                    NUM_SECTORS, num_rings
                )
                for c in range(3)
            ],
            axis=-1,
        )
        / np.maximum(count, 1)[..., None]
    )
    seen = (count >= 4).all(1)
    if seen.sum() < NUM_SECTORS // 2:
        return math.nan
    means = means[seen]
    # a step of one ring against the slope of the rings around it
    steps = (means[:, 2:-1] - means[:, 1:-2]) - (
        (means[:, 3:] - means[:, 2:-1]) + (means[:, 1:-2] - means[:, :-3])
    ) / 2
    t = steps.mean(0) / (steps.std(0) / math.sqrt(seen.sum() - 1) + 0.15)
    return float(np.abs(t[2:]).max())


def _slope(gray: np.ndarray) -> np.ndarray:
    across, down = cv2.Scharr(gray, cv2.CV_32F, 1, 0) / 16, cv2.Scharr(gray, cv2.CV_32F, 0, 1) / 16
    return cv2.magnitude(across, down)
