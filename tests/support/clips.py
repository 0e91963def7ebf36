"""Clips of coloured squares, a finder that takes these for faces, and a detector to which red is fake."""

from fractions import Fraction

import numpy as np
import torch

from dfd.detector import Card, Detector
from dfd.media.crops import View
from dfd.media.faces import Face
from dfd.models import Net

BAND = {"balanced": 0.0, "fpr5": 1.0, "fnr5": -1.0}
GRAY = 90
REDDISH, PALE = 200, 20


class Red(Net):
    """FAKE by how red a picture is."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, image):
        return self.gain * (image[:, 0].mean((1, 2)) - 0.5)


class Squares:
    """Finds squares that are not gray, left to right, as if they were faces."""

    identity = "squares"

    def find(self, image):
        import cv2

        odd = (np.abs(image.astype(int) - GRAY).max(2) > 40).astype(np.uint8)
        num, _, boxes, _ = cv2.connectedComponentsWithStats(odd)
        found = [Face(tuple(map(float, boxes[at][:4])), 1.0, np.zeros((5, 2))) for at in range(1, num)]
        return sorted((face for face in found if face.side > 24), key=lambda face: face.box[0])


def red_detector() -> Detector:
    view = View(size=32, crops=1, longest=64, margin=1.0)
    calibrated = {"split": "val", "images": 300, "groups": 120}
    card = Card({}, view=dict(vars(view)), thresholds=BAND, calibrated_on=calibrated)
    return Detector(Red(), card, Squares())


def frame(*squares: tuple[int, int, int], size=(160, 240)) -> np.ndarray:
    """Squares of 48 px: left, top and how red each is."""
    image = np.full((*size, 3), GRAY, np.uint8)
    for left, top, red in squares:
        image[top : top + 48, left : left + 48] = (red, 0, 255)
    return image


def brightening() -> list[np.ndarray]:
    """Two seconds of a picture that gets brighter."""
    return [np.full((96, 96, 3), 60 + 2 * at, np.uint8) for at in range(50)]


def film(path, frames, codec="libx264", times=None, fmt="yuv420p", **options):
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options={"crf": "10"} | options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for at, image in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(image, format="rgb24")
            shown.pts = 4 * at if times is None else round(100 * times[at])
            shown.time_base = Fraction(1, 100)
            file.mux(stream.encode(shown))
        file.mux(stream.encode())
    return path
