"""Geometry of the faces of a picture: boxes, five points, mesh, and the outlines of parts by either."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np

from dfd.media.face_topology import PARTS
from dfd.media.faces import Face


class Detector(Protocol):
    """`find(image)` -> faces; as `dfd.media.FaceDetector`."""

    def find(self, image: np.ndarray) -> Sequence[Face]: ...


class Mesh(Protocol):
    """`find(image, face)` -> (468, 3) or None; as `dfd.media.face_mesh.FaceMesh`."""

    def find(self, image: np.ndarray, face: Face) -> np.ndarray | None: ...


@dataclass(frozen=True)
class FaceGeometry:
    """Where a face and its parts are, in pixels of a picture. Left and right are the picture's.

    Args:
        box: x, y, width, height.
        score: the detector's confidence, in [0, 1].
        points: (5, 2) eyes, tip of the nose, corners of the mouth, of each pair the left one first.
        mesh: (468, 3) x, y and depth; None without a mesh.
    """

    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray = field(compare=False)
    mesh: np.ndarray | None = field(compare=False, default=None)

    @property
    def side(self) -> float:
        """The longer side of the box."""
        return max(self.box[2:])

    @property
    def unit(self) -> float:
        """About the distance of the eyes, in pixels; of a face in profile that from eyes to mouth."""
        eyes, mouth = self.points[:2], self.points[3:]
        apart = np.linalg.norm(eyes[1] - eyes[0])
        return float(max(apart, np.linalg.norm(mouth.mean(0) - eyes.mean(0)), 1.0))

    @property
    def yaw(self) -> float:
        """Sideways place of the nose's tip between the eyes, in half distances of them: 0 seen from the
        front, beyond 1 in profile."""
        left, right = self.points[:2]
        across = right - left
        length = max(float(across @ across), 1e-6)
        return float((self.points[2] - (left + right) / 2) @ across / length * 2)

    def outline(self, part: str) -> np.ndarray:
        """(K, 2) float64, a closed curve around a part of topology.PARTS: by the mesh, else an ellipse by
        the five points (which know no inner mouth: it has the lips').

        The ellipses are the medians of the meshes of 1,981 real faces that look into the camera.
        """
        if self.mesh is not None:
            return self.mesh[list(PARTS[part]), :2]
        left, right, _, mouth_left, mouth_right = self.points
        eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
        down, across = _axes(left, right, eyes, mouth)
        unit = self.unit
        if part == "face":
            return _ellipse(eyes + 0.46 * unit * down, 1.1 * unit * across, 1.28 * unit * down)
        outward = unit * across * (-1 if part.startswith("left") else 1)
        eye = left if part.startswith("left") else right
        if part.endswith("eye"):
            return _ellipse(eye + 0.04 * outward, 0.225 * unit * across, 0.065 * unit * down)
        if part.endswith("brow"):
            return _ellipse(eye + 0.1 * outward - 0.26 * unit * down, 0.35 * unit * across, 0.1 * unit * down)
        half = max(float(np.linalg.norm(mouth_right - mouth_left)) / 2, 0.1 * unit)
        return _ellipse(mouth + 0.07 * unit * down, half * across, 0.18 * unit * down)

    def moved(self, left: float, top: float, scale: float) -> FaceGeometry:
        """In the pixels of a cutting that begins at (left, top) and is `scale` times as large."""
        x, y, width, height = self.box
        start = np.array([left, top])
        mesh = None
        if self.mesh is not None:
            mesh = (self.mesh - np.array([left, top, 0])) * scale
        box = ((x - left) * scale, (y - top) * scale, width * scale, height * scale)
        return replace(self, box=box, points=(self.points - start) * scale, mesh=mesh)


class FaceFinder:
    """Finds the faces of a picture and their meshes; the last picture's are kept, so that several tools over
    one picture share one detection. A picture is not to be changed between them.

    Args:
        detector: of faces.
        mesh: of their points; None has outlines by the detector's five.
    """

    def __init__(self, detector: Detector, mesh: Mesh | None = None):
        self.detector, self.mesh = detector, mesh
        self._last: tuple[weakref.ref[np.ndarray], tuple[FaceGeometry, ...]] | None = None

    def __call__(self, pixels: np.ndarray) -> tuple[FaceGeometry, ...]:
        """The faces of a picture (H, W, 3) uint8 RGB, the largest first."""
        last = self._last
        if last is not None and last[0]() is pixels:
            return last[1]
        faces = tuple(self._located(pixels, face) for face in self.detector.find(pixels))
        faces = tuple(sorted(faces, key=lambda face: -face.side))
        self._last = weakref.ref(pixels), faces
        return faces

    def _located(self, pixels: np.ndarray, face: Face) -> FaceGeometry:
        mesh = self.mesh.find(pixels, face) if self.mesh is not None else None
        return FaceGeometry(face.box, face.score, np.asarray(face.landmarks, float), mesh)


def cut(
    pixels: np.ndarray, face: FaceGeometry, margin: float, longest: int
) -> tuple[np.ndarray, FaceGeometry]:
    """A face with its surroundings, and its geometry in them.

    Pixels are the picture's own; a cutting of more than `longest` pixels is averaged over squares of 2, 3,
    ...
    pixels, since any other scale would leave traces of its own.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        face: of that picture.
        margin: on each side, in longer sides of the box.
        longest: pixels of the cutting's longer side.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = face.box
    room = margin * face.side
    left, top = (max(math.floor(start - room), 0) for start in (x, y))
    right = min(math.ceil(x + w + room), width)
    bottom = min(math.ceil(y + h + room), height)
    part = pixels[top:bottom, left:right]
    step = max(1, math.ceil(max(part.shape[:2]) / longest))
    if step > 1:
        rows, columns = (max(1, side // step) for side in part.shape[:2])
        part = cv2.resize(
            part[: rows * step, : columns * step], (columns, rows), interpolation=cv2.INTER_AREA
        )
    return np.ascontiguousarray(part), face.moved(left, top, 1 / step)


def filled(shape: Sequence[int], outline: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool of what a closed curve (K, 2) encloses."""
    mask = np.zeros(shape[:2], np.uint8)
    corners = np.clip(outline, -30_000, 30_000)
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)  # sixteenths of pixels
    return mask.astype(bool)


def _axes(
    left: np.ndarray, right: np.ndarray, eyes: np.ndarray, mouth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors down the face and across it."""
    down = mouth - eyes
    if np.linalg.norm(down) < 1e-6:
        down = np.array([left[1] - right[1], right[0] - left[0]])
    length = float(np.linalg.norm(down))
    down = down / length if length > 1e-6 else np.array([0.0, 1.0])
    return down, np.array([down[1], -down[0]])


def _ellipse(center: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return center + np.cos(angle) * across + np.sin(angle) * down
