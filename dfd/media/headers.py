"""What a file's headers say, without its pixels being decoded: size, format, metadata; a JPEG's tables."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import simplejpeg

from dfd.media.boxes import has_profile, is_heif
from dfd.media.decode import Undecodable, image_info
from dfd.media.exif_block import find_block
from dfd.media.formats import PILLOW_FORMATS
from dfd.media.jpeg_segments import METADATA, SCAN, places


class PictureHeader(NamedTuple):
    """Of any picture, as its header says; not all of its pixels need be there."""

    format: str  # of FORMATS; MPO of a JPEG that lists further pictures
    width: int  # as stored
    height: int
    exif: bool
    profile: bool  # ICC


class JpegSettings(NamedTuple):
    """How a JPEG was written."""

    tables: tuple[tuple[int, ...], ...]  # quantization, 64 steps row by row, in the order of their numbers
    factors: tuple[tuple[int, int], ...]  # sampling, horizontal and vertical, of each component
    progressive: bool


def picture_header(data: bytes) -> PictureHeader | None:
    """The header of a picture file; None where it cannot be read."""
    if is_heif(data):
        return _heif_header(data)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
                has_exif = bool(image.info.get("exif")) or bool(find_block(data)[0])
                return PictureHeader(str(image.format), *image.size, has_exif, "icc_profile" in image.info)
    except Exception:  # on broken headers Pillow raises anything from OSError to struct.error
        return None


def jpeg_settings(data: bytes) -> JpegSettings | None:
    """Tables, sampling and coding of a JPEG; None where the bytes are none with headers that can be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(_without_metadata(data)), formats=("JPEG",)) as image:
            tables = sorted(image.quantization.items())
            return JpegSettings(
                tuple(tuple(int(step) for step in table) for _, table in tables),
                tuple((int(part[1]), int(part[2])) for part in image.layer),
                bool(image.info.get("progressive") or image.info.get("progression")),
            )
    except Exception:  # as above
        return None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG as stored.

    Args:
        data: as `dfd.media.decode.plain_jpeg` gives it.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return height, width


def _without_metadata(data: bytes) -> bytes:
    """A JPEG's header without metadata, of which Pillow would read every part: a million take it a second."""
    kept = [data[:2]]
    for place in places(data):
        if place.marker not in METADATA:
            kept.append(data[place.start : place.coded])
        if place.marker == SCAN:
            break
    return b"".join(kept)


def _heif_header(data: bytes) -> PictureHeader | None:
    try:
        info = image_info(data)
    except Undecodable:
        return None
    has_exif = bool(find_block(data)[0])
    return PictureHeader(info.format, info.width, info.height, has_exif, has_profile(data))
