"""Symmetry of a face: of its shape, and of the detail of its two halves."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceFinder, FaceGeometry, cut, filled
from dfd.forensics.finding import Finding, Method
from dfd.media.face_mesh import BY_MESH
from dfd.media.face_topology import MIDLINE, MIRRORED, PARTS

METHOD = Method(
    "face_symmetry", "Matern, Riess and Stamminger 2019; Procrustes fit of the mirrored points", kind="shows"
)
MIN_UNIT = 24  # about the distance of the eyes, in pixels
MAX_YAW = 0.45  # of FaceGeometry.yaw, beyond which one half hides
NO_MESH = f"a face's halves are compared by the mesh of 468 points alone: {BY_MESH}"
_LEFT, _RIGHT = np.array(MIRRORED).T
_LEFT_OUTLINE = PARTS["face"][: len(PARTS["face"]) // 2 + 1]  # from the forehead to the chin


def face_symmetry(pixels: np.ndarray, finder: FaceFinder) -> Finding:
    """How unlike the halves of the largest face are.

    It never says "found": no face is symmetric, and light from a side is enough.

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
    if face.unit < MIN_UNIT:
        return METHOD("abstained", "near", facts={"unit": round(face.unit), "needed": MIN_UNIT})
    if abs(face.yaw) > MAX_YAW:
        return METHOD("abstained", "turned")
    shape, detail = measure(pixels, face)
    return METHOD(
        "clear", "compared", facts={"shape": shape, "detail": detail}, score=shape, unit="asymmetry"
    )


def measure(pixels: np.ndarray, face: FaceGeometry) -> tuple[float, float]:
    """Asymmetry of the shape, in distances of the eyes, and of the detail, from 0 (mirrored) to 2
    (inverted)."""
    assert face.mesh is not None
    return shape_asymmetry(face.mesh, face.unit), detail_asymmetry(pixels, face)


def shape_asymmetry(mesh: np.ndarray, unit: float) -> float:
    """Root mean square distance of the points from their mirrored partners, after the best rotation and
    shift of the mirrored face: a turned head is as symmetric as before.

    Args:
        mesh: (468, 3).
        unit: of the result, in the mesh's.
    """
    middle = mesh[list(MIDLINE)]
    points = np.concatenate([mesh[_LEFT], mesh[_RIGHT], middle])
    mirrored = np.concatenate([mesh[_RIGHT], mesh[_LEFT], middle]) * (-1, 1, 1)
    points, mirrored = points - points.mean(0), mirrored - mirrored.mean(0)
    # Kabsch: the rotation that brings one cloud of points nearest to the other
    u, _, vt = np.linalg.svd(mirrored.T @ points)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt)) or 1])
    apart = mirrored @ (u @ flip @ vt) - points
    return float(np.sqrt((apart**2).sum(1).mean()) / max(unit, 1e-6))


def detail_asymmetry(pixels: np.ndarray, face: FaceGeometry) -> float:
    """1 less the correlation of the left half's detail with that of the right one, mirrored onto it; NaN of
    a half of less than 200 pixels.

    Light falls out, as each place is measured against its surroundings.
    """
    part, moved = cut(pixels, face, 0.05, 320)
    assert moved.mesh is not None
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    left, right, middle = (moved.mesh[list(numbers), :2] for numbers in (_LEFT, _RIGHT, MIDLINE))
    onto_left = _affine(np.concatenate([right, middle]), np.concatenate([left, middle]))
    size = gray.shape[::-1]
    face_mask = filled(gray.shape, moved.outline("face")).astype(np.float32)
    half = filled(gray.shape, np.concatenate([moved.mesh[list(_LEFT_OUTLINE), :2], middle[::-1]]))
    half &= cv2.warpAffine(face_mask, onto_left, size) > 0.99
    if half.sum() < 200:
        return math.nan
    scale = max(2.0, 0.15 * moved.unit)
    one = _detail(gray, scale)[half]
    other = _detail(cv2.warpAffine(gray, onto_left, size, borderMode=cv2.BORDER_REPLICATE), scale)[half]
    if min(one.std(), other.std()) < 1e-6:
        return math.nan
    return 1 - float(np.corrcoef(one, other)[0, 1])


def _detail(gray: np.ndarray, scale: float) -> np.ndarray:
    """Brightness against the surroundings of so many pixels, in their deviations."""
    smooth = cv2.GaussianBlur(gray, (0, 0), scale / 8 + 0.5)
    mean = cv2.GaussianBlur(smooth, (0, 0), scale)
    deviation = np.sqrt(np.maximum(cv2.GaussianBlur((smooth - mean) ** 2, (0, 0), scale), 0))
    return (smooth - mean) / (deviation + 4)


def _affine(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(2, 3) that brings points (K, 2) nearest to places (K, 2), in the mean of squares."""
    known = np.column_stack([points, np.ones(len(points))])
    return np.linalg.lstsq(known, places, rcond=None)[0].T
