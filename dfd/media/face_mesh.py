"""Face mesh: 468 points of a face, by MediaPipe's network through OpenCV.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019 (1907.06724).
The weights are no part of dfd: they are a .tflite file of the user's.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path

import cv2
import numpy as np

from dfd.media.face_topology import NUM_POINTS, PARTS
from dfd.media.faces import Face
from dfd.media.warp import sampled

SIDE = 192  # of the network's input, in pixels
MARGIN = 1.5  # side of what it sees, in longer sides of the face's box
POINTS, PRESENCE = "conv2d_20", "conv2d_30"
_NOSE_TIP, _MOUTH_CORNERS = 4, (61, 291)
_BOX = 1.1  # sides of a detector's box in those of the points' own
BY_MESH = "name its weights by --mesh"  # what to do where a tool has none


class FaceMesh:
    """Finds 468 points in a face that a detector found; one mesh may serve several threads.

    Args:
        weights: MediaPipe's face_landmark.tflite of 468 points.

    Raises:
        ValueError: the file is missing or is no such network.
    """

    def __init__(self, weights: str | Path):
        path = Path(weights)
        if not path.is_file():
            raise ValueError(
                f"no face mesh: {path} is no file. Name MediaPipe's face_landmark.tflite (468 points), or "
                "leave the mesh away: the tools that need it then abstain."
            )
        self.path = path
        # OpenCV's networks keep state between calls: each thread has its own
        self._thread = threading.local()
        try:
            self._run(np.zeros((SIDE, SIDE, 3), np.uint8))
        except (cv2.error, ValueError) as error:
            cause = " ".join(str(getattr(error, "err", error)).split())
            raise ValueError(
                f"{path} ({path.stat().st_size} bytes) is no face mesh that OpenCV {cv2.__version__} can "
                f"read: {cause}. Use MediaPipe's face_landmark.tflite (468 points), or leave the mesh away."
            ) from None

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_thread"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._thread = threading.local()  # a spawned worker makes its own

    def find(self, image: np.ndarray, face: Face) -> np.ndarray | None:
        """(468, 3) float64 x, y in the picture's pixels and depth in the same unit (nearer is less); None
        where the network sees no face.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: of that picture; the network is shown it upright, turned by the line of its eyes.
        """
        to_crop = _to_crop(face)
        points, presence = self._run(sampled(image, to_crop, SIDE, cv2.BORDER_CONSTANT))
        if presence < 0 or not np.isfinite(points).all():
            return None
        scale = math.hypot(*to_crop[:, 0])
        back = cv2.invertAffineTransform(to_crop)
        return np.column_stack([points[:, :2] @ back[:, :2].T + back[:, 2], points[:, 2] / scale])

    def _run(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Points (468, 3) in the crop's pixels, and the logit of there being a face."""
        net = getattr(self._thread, "net", None)
        if net is None:
            # OpenCV 5 gives these outputs with its classic engine alone, which it does not take for a file
            # in memory; OpenCV 4 has no other
            engine = () if cv2.__version__.startswith("4.") else (cv2.dnn.ENGINE_CLASSIC,)
            net = cv2.dnn.readNetFromTFLite(str(self.path), *engine)
            lacking = {POINTS, PRESENCE} - set(net.getLayerNames())
            if lacking:
                raise ValueError(f"it lacks the outputs {', '.join(sorted(lacking))}")
            self._thread.net = net
        net.setInput(crop.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        presence, points = net.forward((PRESENCE, POINTS))
        if points.size != 3 * NUM_POINTS:
            raise ValueError(f"its points are {points.size // 3}, not {NUM_POINTS}")
        return points.reshape(NUM_POINTS, 3).astype(float), float(presence.ravel()[0])


def face_of(points: np.ndarray) -> Face:
    """The face that points (468, 2 or 3) of a mesh are of, as a detector would give it."""
    points = points[:, :2]
    low, high = points.min(0), points.max(0)
    # a detector's box begins above the brows' arch and ends below the chin
    size = _BOX * (high - low)
    eyes = [points[list(PARTS[eye])].mean(0) for eye in ("left_eye", "right_eye")]
    five = np.vstack([eyes, points[[_NOSE_TIP, *_MOUTH_CORNERS]]])
    return Face((*map(float, (low + high - size) / 2), *map(float, size)), 1.0, five)


def _to_crop(face: Face) -> np.ndarray:
    """(2, 3) from the picture to the network's input: the box's centre to its middle, the eyes on a level
    line."""
    x, y, width, height = face.box
    across = face.landmarks[1] - face.landmarks[0]
    roll = math.degrees(math.atan2(across[1], across[0]))
    scale = SIDE / (MARGIN * max(face.side, 1.0))
    matrix = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), roll, scale)
    matrix[:, 2] += SIDE / 2 - np.array([x + width / 2, y + height / 2])
    return matrix
