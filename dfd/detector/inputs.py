"""What a detector can be shown: a file, a file's bytes, a Pillow image, or pixels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.media.decode import read_picture
from dfd.media.files import MAX_BYTES, read_file
from dfd.media.formats import EMPTY, Undecodable
from dfd.media.picture import OPAQUE, Picture, check_size

if TYPE_CHECKING:
    from PIL import Image

    Input = str | os.PathLike[str] | bytes | Image.Image | np.ndarray


def path_of(picture: Any) -> str:
    """The file's name; "" for what is no file."""
    return os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else ""


def bytes_of(picture: Any) -> bytes | None:
    """The file's bytes; None for what is no file.

    Raises:
        Undecodable, OSError: as `read_input` does.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_file(picture)
    return bytes(picture) if isinstance(picture, (bytes, bytearray, memoryview)) else None


def read_input(picture: Any) -> Picture:
    """The picture, upright, with what is transparent in it.

    Raises:
        Undecodable: it cannot be judged, and why.
        OSError: a file that cannot be opened.
        ValueError: it is none of these things.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(read_file(picture))
    if isinstance(picture, (bytes, bytearray, memoryview)):
        if not len(picture):
            raise Undecodable(EMPTY)
        if len(picture) > MAX_BYTES:
            raise Undecodable(f"{len(picture)} bytes: up to {MAX_BYTES // 1_000_000} MB are read")
        return read_picture(bytes(picture))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(
                f"pixels of shape {picture.shape} and type {picture.dtype}: give (H, W, 3) uint8 RGB."
            )
        check_size(picture.shape[1], picture.shape[0])
        return Picture("", picture)
    from PIL import Image

    if isinstance(picture, Image.Image):
        return _from_pillow(picture)
    raise ValueError(
        f"a {type(picture).__name__} is no picture: give a path, the bytes of a file, a Pillow image, or "
        "pixels (H, W, 3) uint8 RGB."
    )


def _from_pillow(image: Image.Image) -> Picture:
    from PIL import ImageOps

    check_size(*image.size)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"a Pillow image of mode {image.mode!r} has no 8-bit pixels: convert it to RGB.")
    try:
        image = ImageOps.exif_transpose(image)
        if not image.has_transparency_data:
            return Picture("", np.array(image.convert("RGB")))
        rgba = np.array(image.convert("RGBA"))
    except (OSError, SyntaxError) as error:  # Pillow reads a file when its pixels are asked for
        raise Undecodable(f"damaged or truncated: {error}") from error
    opaque = rgba[..., 3] >= OPAQUE
    return Picture("", np.ascontiguousarray(rgba[..., :3]), None if opaque.all() else opaque)
