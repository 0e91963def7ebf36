"""Teeth: whether those of an open mouth are separate, or one white surface.

Matern, Riess and Stamminger, "Exploiting visual artifacts to expose deepfakes and face manipulations", WACVW
2019.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceFinder, FaceGeometry, cut, filled
from dfd.forensics.finding import Finding, Method, Region
from dfd.media.face_mesh import BY_MESH

METHOD = Method("face_teeth", "Matern, Riess and Stamminger 2019", kind="shows")
LONGEST = 1024  # pixels of the cutting that is measured
MIN_WIDTH = 24  # of the open mouth, in pixels
MIN_OPEN = 0.1  # height of the opening, in its widths
MIN_AREA = 60  # of the teeth, in pixels
NO_MESH = f"whether a mouth is open is told by the mesh of 468 points alone: {BY_MESH}"


def face_teeth(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """How little structure there is between the teeth of the largest face.

    It never says "found": a soft picture has soft teeth.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        finder: of faces, with a mesh.
    """
    located = finder(pixels)
    if not located:
        return METHOD("abstained", "no_face")
    face = located[0]
    if face.mesh is None:
        return METHOD("abstained", "no_mesh", facts={"why": NO_MESH})
    low, high = face.outline("inner_mouth").min(0), face.outline("inner_mouth").max(0)
    width = float(high[0] - low[0])
    if width < MIN_WIDTH:
        return METHOD("abstained", "narrow", facts={"width": round(width), "needed": MIN_WIDTH})
    smoothness, share = measure(pixels, face)
    if math.isnan(smoothness):
        return METHOD("abstained", "closed")
    region = Region((*map(float, low), *map(float, high - low)), "mouth")
    facts = {"smoothness": smoothness, "share": share}
    return METHOD("clear", "seen", facts=facts, score=smoothness, unit="smoothness", regions=(region,))


def measure(pixels: np.ndarray, face: FaceGeometry) -> tuple[float, float]:
    """Smoothness of the teeth, and their share of the open mouth; NaN where the mouth is closed or shows
    none.

    Smoothness is minus the log of their structure across the mouth (of 1/8 to 1/40 of its width, the
    distance of teeth and of their gaps) over their brightness.
    """
    part, moved = cut(pixels, face, 0.05, LONGEST)
    outline = moved.outline("inner_mouth")
    width, height = np.ptp(outline, axis=0)
    if height < MIN_OPEN * width:
        return math.nan, 0.0
    mouth = filled(part.shape, outline)
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lab = cv2.cvtColor(part, cv2.COLOR_RGB2LAB)
    redness = lab[..., 1].astype(np.float32) - 128
    if mouth.sum() < MIN_AREA:
        return math.nan, 0.0
    bright = gray > 0.55 * float(np.quantile(gray[mouth], 0.95))
    # in warm light white teeth are red too, though less than the lips
    lips = filled(part.shape, moved.outline("mouth")) & ~mouth
    limit = max(14.0, float(np.median(redness[lips])) - 5) if lips.any() else 14.0
    teeth = mouth & bright & (redness < limit)
    kernel = np.ones((3, 3), np.uint8)
    teeth = cv2.morphologyEx(teeth.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool) & mouth
    if teeth.sum() < max(MIN_AREA, 0.15 * mouth.sum()) or gray[teeth].mean() < 40:
        return math.nan, float(teeth.sum() / mouth.sum())
    fine, coarse = max(0.5, width / 80), max(1.0, width / 20)
    # across the mouth alone, and not over the border of the teeth
    weight = teeth.astype(np.float32)
    filled_in = np.where(teeth, gray, 0)

    def smoothed(sigma: float) -> np.ndarray:
        size = (2 * math.ceil(3 * sigma) + 1, 1)
        over = cv2.GaussianBlur(weight, size, sigma, sigmaY=0.01)
        return cv2.GaussianBlur(filled_in, size, sigma, sigmaY=0.01) / np.maximum(over, 1e-3)

    structure = (smoothed(fine) - smoothed(coarse))[teeth]
    contrast = math.sqrt(float(np.mean(structure**2))) / float(gray[teeth].mean())
    return -math.log(contrast + 1e-3), float(teeth.sum() / mouth.sum())
