"""Orientation: which way up a picture is stored, by its EXIF or XMP, and turning it upright."""

import re
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

TAG = 0x0112
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(="|>)([0-9])')


def jpeg_orientation(app1: Sequence[bytes]) -> int:
    """1 to 8, from the contents of a JPEG's APP1 segments; 1 where they say nothing.

    EXIF stores values in any of a dozen types and two byte orders, so Pillow reads it, as it reads it of
    every other format. The spelling of nearly all cameras is read here, in a fifth of Pillow's time: it is
    asked of each picture of an epoch.
    """
    exif = [content for content in app1 if content.startswith(_EXIF)]
    if exif:
        value = _usual_orientation(exif[0][len(_EXIF) :]) if len(exif) == 1 else None
        if value is None:
            value = _orientation_by_pillow(exif[0] + b"".join(content[len(_EXIF) :] for content in exif[1:]))
        if value:
            return value
    xmp = [content for content in app1 if content.startswith(_XMP)]
    if xmp and (found := _XMP_ORIENTATION.search(xmp[-1])):
        return _known(int(found[2]))
    return 1


def _usual_orientation(tiff: bytes) -> int | None:
    """1 to 8 of one SHORT in a whole directory, 0 where that has no orientation; None for all else."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    tag, short = (b"\x12\1", b"\3\0\1\0\0\0") if order == "little" else (b"\1\x12", b"\0\3\0\0\0\1")
    first = int.from_bytes(tiff[4:8], order) + 2
    size = 12 * int.from_bytes(tiff[first - 2 : first], order)
    entries = tiff[first : first + size]
    if tiff[:4] not in (b"II*\0", b"MM\0*") or not size or len(entries) != size:
        return None
    places = [at for at in range(0, size, 12) if entries[at : at + 2] == tag]
    if not places:
        return 0
    (at, *more) = places
    value = int.from_bytes(entries[at + 8 : at + 10], order)
    return value if entries[at + 2 : at + 8] == short and 1 <= value <= 8 and not more else None


def _orientation_by_pillow(exif: bytes) -> int:
    """1 to 8; 0 where there is none."""
    from PIL import Image

    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(exif)
            return _known(tags[TAG]) if TAG in tags else 0
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def image_orientation(image: Any) -> int:
    """1 to 8, of a loaded Pillow image of another format than JPEG."""
    try:
        return _known(image.getexif().get(TAG, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _known(value: Any) -> int:
    """As ImageOps.exif_transpose takes it: what equals a number from 1 to 8, 6/1 too; else 1."""
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
