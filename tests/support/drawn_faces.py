"""Drawn faces, and stand-ins of detector and mesh that know where they are: no weights needed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from dfd.forensics.face.geometry import FaceGeometry, filled
from dfd.media.face_topology import NUM_POINTS, PARTS
from dfd.media.faces import Face
from dfd.synthetic.person import Sitting
from dfd.synthetic.portrait import Portrait, draw_person

IDENTITY = 5


@lru_cache(maxsize=16)
def portrait(seed: int = 0, size: int = 512, identity: int = IDENTITY, **sitting: float) -> Portrait:
    """A person who looks into the camera, always at the same place of the picture.

    Args:
        seed: of background, light and camera.
        size: of the picture's sides, in pixels.
        identity: who.
        sitting: values of `dfd.synthetic.person.Sitting` to change.
    """
    rng = np.random.default_rng(seed)
    still = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "at_x": 0.0,
        "at_y": 0.0,
        "scale": 0.7,
        "smile": 0.2,
        "mouth_open": 0.0,
        "eyes_open": 1.0,
        "brow_raise": 0.0,
        "gaze_x": 0.0,
        "gaze_y": 0.0,
    }
    return draw_person(identity, rng, size, replace(Sitting.draw(rng), **{**still, **sitting}))


class DrawnFace:
    """Stands in for a detector: whatever the picture, its face is where `portrait` draws it."""

    identity = "drawn"

    def find(self, image: np.ndarray) -> list[Face]:
        marks = portrait(0, 512).marks
        size = np.array(image.shape[1::-1]) / 512
        points = np.concatenate([marks["eyes"], marks["nose"], marks["mouth"][[0, 2]]]) * size
        left, top = (marks["inner"].min(0) - np.array([20, 10])) * size
        right, bottom = (marks["inner"].max(0) + 20) * size
        return [Face((left, top, right - left, bottom - top), 0.95, points)]


class DrawnMesh:
    """Stands in for the mesh: the outlines of parts by the five points, on half of an ellipsoid."""

    def find(self, image: np.ndarray, face: Face) -> np.ndarray:
        plain = FaceGeometry(face.box, face.score, face.landmarks)
        face_outline = plain.outline("face")
        center, radius = face_outline.mean(0), np.maximum(np.ptp(face_outline, axis=0) / 2, 1e-3)
        rng = np.random.default_rng(0)
        angle, far = rng.uniform(0, 2 * np.pi, NUM_POINTS), np.sqrt(rng.uniform(0, 0.95, NUM_POINTS))
        points = center + radius * np.stack([np.cos(angle), np.sin(angle)], 1) * far[:, None]
        for part, numbers in PARTS.items():
            points[list(numbers)] = _around(plain.outline(part), len(numbers), part)
        away = (((points - center) / radius) ** 2).sum(1)
        return np.column_stack([points, -0.8 * radius[0] * np.sqrt(np.clip(1 - away, 0, 1))])


def warped(pixels: np.ndarray, factor: float = 2.5) -> np.ndarray:
    """The inner face made at a smaller size and put back, softly: what warping a generated face into place leaves."""
    height, width = pixels.shape[:2]
    (face,) = DrawnFace().find(pixels)
    plain = FaceGeometry(face.box, face.score, face.landmarks)
    outline = plain.outline("face")
    inner = outline.mean(0) + 0.75 * (outline - outline.mean(0))
    alpha = filled(pixels.shape, inner).astype(np.float32)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.03 * face.side)[..., None]
    small = cv2.resize(pixels, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return (soft * alpha + pixels * (1 - alpha)).round().astype(np.uint8)


def _around(outline: np.ndarray, num: int, part: str) -> np.ndarray:
    """`num` points of a closed curve, beginning where the topology's list of this part does."""
    start = {"face": 36, "right_eye": 0, "right_brow": 0}.get(part, 24)  # of 48: top, right end, left end
    turn = 1 if part in ("face", "right_eye", "right_brow") else -1
    if part == "face":
        turn = -1
    places = (start + turn * np.arange(num) * 48 / num).round().astype(int) % 48
    return outline[places]
