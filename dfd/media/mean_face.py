"""Mean face of face pictures, as the 468 points of a mesh: for pictures in which no face was looked for."""

from functools import cache
from importlib import resources

import numpy as np


@cache
def _mean_mesh() -> np.ndarray:
    """(468, 2) from the picture's centre, in longer sides of the face's box: the mean of four public sets."""
    with resources.files("dfd.media").joinpath("mean_face.npy").open("rb") as file:
        return np.load(file).astype(float)


def mean_face(shape: tuple[int, ...], margin: float) -> np.ndarray:
    """(468, 2) x and y in pixels of the mean face of pictures of this shape (H, W, ...), whose longer side is
    `margin` times that of the face's box.
    """
    height, width = shape[:2]
    return _mean_mesh() * (max(height, width) / margin) + (width / 2, height / 2)
