"""Face crops: whether the pictures of a source show one face that fills them, as detectors expect.

A sample is looked at, and only where the face detector is installed.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from dfd.media.decode import Undecodable, decode
from dfd.media.faces import FaceDetector, find_weights
from dfd.media.files import read_inside

_NUM = 32  # pictures that are looked at
_LONG = 640  # pixels of the longer side at which they are: it is about faces that fill a good part
SMALL = 0.3  # a face's longer side as a share of the picture's; in FFHQ's crops it is about 0.6


class FaceSample(NamedTuple):
    """What the pictures of a sample show."""

    num: int
    num_without: int  # no face
    num_small: int  # the largest face is below SMALL of the picture

    def __str__(self) -> str:
        """A warning, "" where most pictures are face crops."""
        if self.num_without + self.num_small <= self.num / 2:
            return ""
        return (
            f"Of {self.num} pictures that were looked at, {self.num_without} show no face and "
            f"{self.num_small} only faces below {SMALL:.0%} of their size. They are taken whole: a detector "
            "of faces wants pictures cut to one face, as `dfd score` cuts photographs. Cut them first, or "
            "judge with `dfd score --whole`."
        )


def sample_faces(root: str, table: pa.Table, weights: Path | None) -> FaceSample:
    """Looks for faces in some pictures of a source, the first by their keys; in none without a detector.

    Args:
        table: with `key` and `path` of pictures that can be decoded.
        weights: YuNet's .onnx file; None looks for it as `find_weights` does.
    """
    try:
        found = find_weights(weights)
        detector = FaceDetector(found) if found is not None else None
    except ValueError:  # of a detector that nobody asked for here
        detector = None
    if detector is None:
        return FaceSample(0, 0, 0)
    shares = []
    for path in table.sort_by("key").slice(0, _NUM)["path"].to_pylist():
        try:
            picture = _shrunk(decode(read_inside(root, path)))
        except Undecodable:
            continue
        shares.append(
            max((face.side for face in detector.find(picture)), default=0.0) / max(picture.shape[:2])
        )
    return FaceSample(
        len(shares), sum(not share for share in shares), sum(0 < share < SMALL for share in shares)
    )


def _shrunk(picture: np.ndarray) -> np.ndarray:
    scale = _LONG / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
