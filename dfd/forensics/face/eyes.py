"""Eyes: highlights on both corneas, and the shape of the pupils.

Hu, Li and Lyu, "Exposing GAN-generated faces using inconsistent corneal specular highlights", ICASSP 2021
(2009.11924): both eyes see the same lamps. Guo et al., "Eyes tell all: irregular pupil shapes reveal
GAN-generated faces", ICASSP 2022 (2109.00162): a pupil is an ellipse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceFinder, FaceGeometry, filled
from dfd.forensics.face.iris import Iris, disc, find_iris, from_middle, unrolled
from dfd.forensics.finding import Finding, Method, Region, Table

METHOD = Method("face_eyes", "Hu, Li and Lyu 2021 (2009.11924); Guo et al. 2022 (2109.00162)", kind="shows")
MIN_WIDTH = 26  # of an eye between its corners, in pixels; half as wide, a highlight is less than a pixel
MIN_PUPIL_WIDTH = 60  # of an eye, for its pupil's shape
MIN_CONTRAST = 18.0  # of an iris to the white of the eye, in grey levels
NUM = 48  # of the squares in which irises are compared


@dataclass(frozen=True)
class Eye:
    """What is measured of one eye.

    Args:
        width: between its corners, in pixels.
        iris: None where none is seen.
        highlights: (48, 48) bool, where the iris mirrors a lamp; from -1 to 1 radii of the iris.
        num_highlights: separate ones.
        pupil_iou: of the pupil with the ellipse that fits it best, on the border: 1 is an ellipse; NaN where
            no pupil is seen.
    """

    width: float
    iris: Iris | None
    highlights: np.ndarray
    num_highlights: int
    pupil_iou: float


def face_eyes(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """Whether the eyes of the largest face mirror the same lamps, and whether their pupils are ellipses.

    It never says "found": on real faces eyes differ about as often as on generated ones.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        finder: of faces.
    """
    located = finder(pixels)
    if not located:
        return METHOD("abstained", "no_face")
    face = located[0]
    left, right = measure(pixels, face)
    narrow = min(left.width, right.width)
    if narrow < MIN_WIDTH:
        return METHOD("abstained", "narrow", facts={"width": round(narrow), "needed": MIN_WIDTH})
    if left.iris is None or right.iris is None:
        return METHOD("abstained", "no_iris")
    rows = tuple(
        (
            side,
            eye.num_highlights,
            *(round(value, 2) for value in from_middle(eye.highlights)),
            round(eye.pupil_iou, 2),
        )
        for side, eye in (("left", left), ("right", right))
    )
    values = {
        "table": Table(("eye", "highlights", "across", "down", "pupil"), rows),
        "regions": tuple(
            Region(
                (
                    eye.iris.x - eye.iris.radius,
                    eye.iris.y - eye.iris.radius,
                    2 * eye.iris.radius,
                    2 * eye.iris.radius,
                ),
                "iris",
            )
            for eye in (left, right)
            if eye.iris is not None
        ),
    }
    apart = disagreement(left, right)
    facts = {"left": left.num_highlights, "right": right.num_highlights, "disagreement": apart}
    if math.isnan(apart):
        return METHOD("clear", "no_highlights", **values)
    answer = "alike" if apart < 0.7 else "differ"
    return METHOD("clear", answer, facts=facts, score=apart, unit="disagreement", **values)


def measure(pixels: np.ndarray, face: FaceGeometry) -> tuple[Eye, Eye]:
    """The eye on the picture's left, and the other."""
    return _eye(pixels, face.outline("left_eye")), _eye(pixels, face.outline("right_eye"))


def disagreement(left: Eye, right: Eye) -> float:
    """1 less the overlap (intersection over union) of both eyes' highlights, shifted against one another by
    at most a sixth of an iris, as its circle is found no better; NaN where neither has one."""
    if not left.highlights.any() and not right.highlights.any():
        return math.nan
    best = 0.0
    reach = NUM // 12
    for down in range(-reach, reach + 1, 2):
        for across in range(-reach, reach + 1, 2):
            moved = np.roll(right.highlights, (down, across), (0, 1))
            best = max(best, (left.highlights & moved).sum() / (left.highlights | moved).sum())
    return 1 - float(best)


def _eye(pixels: np.ndarray, outline: np.ndarray) -> Eye:
    width = float(np.linalg.norm(np.ptp(outline, axis=0)))
    nothing = Eye(width, None, np.zeros((NUM, NUM), bool), 0, math.nan)
    left, top = np.maximum(np.floor(outline.min(0) - width / 2), 0).astype(int)
    right, bottom = np.maximum(np.ceil(outline.max(0) + width / 2), 0).astype(int)
    # 200 pixels are enough for a highlight and a pupil
    step = max(1, math.ceil(width / 200))
    size = (pixels[top:bottom, left:right].shape[1] // step, pixels[top:bottom, left:right].shape[0] // step)
    if width < 8 or min(size) < 8:
        return nothing
    part = pixels[top : top + size[1] * step, left : left + size[0] * step]
    gray = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    around = gray.astype(np.float32)
    inside = (outline - (left, top)) / step
    iris = find_iris(around, inside)
    if iris.contrast < MIN_CONTRAST:
        return nothing
    seen = unrolled(filled(around.shape, inside).astype(np.float32), iris, NUM) > 0.5
    highlights, num = _highlights(unrolled(around, iris, NUM), seen & disc(NUM, 0.95))
    pupil = pupil_iou(unrolled(around, iris, 2 * NUM)) if width >= MIN_PUPIL_WIDTH else math.nan
    placed = Iris(iris.x * step + left, iris.y * step + top, iris.radius * step, iris.contrast)
    return Eye(width, placed, highlights, num, pupil)


def _highlights(iris: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, int]:
    """Where an iris (48, 48) is much brighter than it mostly is, in spots and not along its rim."""
    nothing = np.zeros_like(seen)
    if seen.sum() < 0.2 * seen.size:
        return nothing, 0
    usual, top = float(np.median(iris[seen])), float(np.quantile(iris[seen], 0.995))
    if top - usual < 35:
        return nothing, 0
    bright = (iris > usual + 0.5 * (top - usual)) & seen
    count, labels, stats, centers = cv2.connectedComponentsWithStats(bright.astype(np.uint8))
    kept = nothing.copy()
    num = 0
    for label in range(1, count):
        x, y = centers[label] / (NUM / 2) - 1
        # the white of the eye shines in from the rim, and fills much of the circle where that is misplaced
        if math.hypot(x, y) < 0.8 and 4 <= stats[label, cv2.CC_STAT_AREA] < 0.2 * seen.sum():
            kept |= labels == label
            num += 1
    return kept, num


def pupil_iou(iris: np.ndarray) -> float:
    """How much of an ellipse a pupil is: intersection over union of the two borders, NaN where no pupil
    stands out.

    Args:
        iris: (96, 96) float32 luma, from -1 to 1 radii.
    """
    num = iris.shape[0]
    inner = disc(num, 0.75)
    values = np.clip(cv2.GaussianBlur(iris, (0, 0), 1.0), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(values[inner][None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = (values <= threshold) & inner
    if not dark.any() or dark.all() or values[inner & ~dark].mean() - values[dark].mean() < 20:
        return math.nan
    _, labels, stats, centers = cv2.connectedComponentsWithStats(dark.astype(np.uint8))
    nearest = 1 + int(
        np.argmin(np.hypot(*(centers[1:] - num / 2).T) - np.sqrt(stats[1:, cv2.CC_STAT_AREA] / np.pi))
    )
    radius = math.sqrt(stats[nearest, cv2.CC_STAT_AREA] / math.pi)
    if not 0.18 * num / 2 < radius < 0.68 * num / 2:
        return math.nan
    outlines, _ = cv2.findContours(
        (labels == nearest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = max(outlines, key=cv2.contourArea)
    if len(outline) < 12:
        return math.nan
    pupil = np.zeros((num, num), np.uint8)
    # without the holes that highlights leave
    cv2.drawContours(pupil, [outline], -1, 1, -1)
    ellipse = np.zeros((num, num), np.uint8)
    cv2.ellipse(ellipse, cv2.fitEllipse(outline), 1, -1)
    thickness = max(1, round(0.25 * radius))
    borders = [_border(mask, thickness) for mask in (pupil, ellipse)]
    return float((borders[0] & borders[1]).sum() / max((borders[0] | borders[1]).sum(), 1))


def _border(mask: np.ndarray, thickness: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness + 1, 2 * thickness + 1))
    return (mask > 0) & (cv2.erode(mask, kernel) == 0)
