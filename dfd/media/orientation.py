"""Orientation: which way up a picture is stored, by its EXIF or XMP, and turning it upright."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

TAG = 0x0112
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(="|>)([0-9])')


def jpeg_orientation(app1: Sequence[bytes]) -> int:
    """1 to 8, from the contents of a JPEG's APP1 segments; 1 where they say nothing.

    EXIF stores values in any of a dozen types and two byte orders, so Pillow reads it, as it reads it of
    every other format.
    """
    exif = [content for content in app1 if content.startswith(_EXIF)]
    if exif:
        from PIL import Image

        tags = Image.Exif()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tags.load(exif[0] + b"".join(content[len(_EXIF) :] for content in exif[1:]))
        except Exception:  # a broken EXIF block says nothing about the pixels
            return 1
        if TAG in tags:
            return _known(tags)
    xmp = [content for content in app1 if content.startswith(_XMP)]
    if xmp and (found := _XMP_ORIENTATION.search(xmp[-1])):
        return _known({TAG: int(found[2])})
    return 1


def image_orientation(image: Any) -> int:
    """1 to 8, of a loaded Pillow image of another format than JPEG."""
    try:
        return _known(image.getexif())
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _known(tags: Any) -> int:
    """As ImageOps.exif_transpose takes it: what equals a number from 1 to 8, a fraction of 6/1 too."""
    value = tags.get(TAG, 1)
    return next((number for number in range(1, 9) if value == number), 1)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, 3), turned upright; orientations 5 to 8 swap height and width."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
