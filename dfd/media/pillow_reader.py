"""Pictures by Pillow: all formats but ordinary JPEGs, their pixels without the rest of the file."""

import io
import os
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress

import numpy as np

from dfd.media import png_chunks, webp_chunks
from dfd.media.colour import cmyk_to_srgb, png_profile, to_srgb, webp_profile
from dfd.media.formats import EMPTY, PILLOW_FORMATS, Undecodable, not_a_picture
from dfd.media.orientation import image_orientation, upright
from dfd.media.picture import MAX_PIXELS, OPAQUE, Picture, check_size, too_large

# From so many pixels on, one picture at a time is decoded by a process, whatever its threads: Pillow and its
# libraries take up to 20 bytes a pixel meanwhile, and a file of a few kilobytes can ask for all of them.
_LARGE = 16_000_000
_one_large = threading.Lock()
_STRIP = 1024  # rows that are copied out of Pillow at once
_MAX_PAGES = 16  # of a TIFF, previews among them
_GRAY_MODES = ("L", "LA", "La", "1")
_REDUCED = 1  # bit of NewSubfileType; and 2 in SubfileType, its predecessor


def read_with_pillow(data: bytes, orientation: int | None = None, profile: bytes | None = None) -> Picture:
    """The picture of a file; `orientation` and `profile` are known of a JPEG, and else read from the file.

    Raises:
        Undecodable: no picture, several, too large, or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise Undecodable(EMPTY)
    if data.startswith(png_chunks.SIGNATURE):
        profile, data = png_profile(data), png_chunks.without_metadata(data)
    elif webp_chunks.is_webp(data):
        profile, data = webp_profile(data), webp_chunks.without_metadata(data)
        # before it is opened: libwebp clears a whole canvas then, where a training keeps freed memory
        if size := webp_chunks.claimed_size(data):
            check_size(*size, len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes and of metadata that are judged here
            with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
                name = "JPEG" if image.format == "MPO" else str(image.format)
                _select_only_picture(image)
                # what a PNG claims is in proportion to its bytes, by the bounds of zlib
                check_size(*image.size, None if name == "PNG" else len(data))
                with one_large(*image.size):
                    image.load()
                    if data.startswith(png_chunks.SIGNATURE) and png_chunks.depth(data) == 16:
                        _halve_colour_key(image)
                    if orientation is None:
                        orientation = image_orientation(image)
                    if profile is None:
                        profile = image.info.get("icc_profile") or b""
                    pixels, opaque = to_rgb(image, profile)
                opaque = None if opaque is None else upright(opaque, orientation)
                return Picture(name, upright(pixels, orientation), opaque)
    except Undecodable:
        raise
    except UnidentifiedImageError as error:
        raise not_a_picture(data) from error
    except Image.DecompressionBombError as error:
        raise too_large(*_claimed_size(data)) from error
    except Exception as error:  # on hostile bytes the plugins raise anything from SyntaxError to struct.error
        raise Undecodable(f"damaged or truncated: {error or type(error).__name__}") from error


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Width and height that the header of a picture gives which Pillow refuses to open for its size."""
    from PIL import Image

    for name in PILLOW_FORMATS:
        read, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            with suppress(Exception):  # another format's plugin raises anything
                return read(io.BytesIO(data), "").size
    raise Undecodable(f"more than the {MAX_PIXELS // 1_000_000} million pixels that are read")


def one_large(width: int, height: int) -> AbstractContextManager:
    """Entered by one thread of a process at a time where a picture is large."""
    return _one_large if width * height > _LARGE else nullcontext()


def _select_only_picture(image) -> None:
    """Leaves a file at its one picture, the previews beside it passed over.

    Raises:
        Undecodable: it holds several, as an animation does, or previews alone.
    """
    if image.format == "TIFF":
        image.seek(_only_page(image))
    elif image.format != "MPO" and getattr(image, "is_animated", False):
        # Pillow counts a GIF's by walking through all of them, which may be millions
        several = "several" if image.format == "GIF" else getattr(image, "n_frames", "several")
        raise Undecodable(f"{image.format} with {several} frames, not one picture")


def _only_page(tiff) -> int:
    pages = []
    for page in range(_MAX_PAGES + 1):
        try:
            tiff.seek(page)
        except Exception:  # the end, or a broken pointer behind the last page
            if page:
                break
            raise
        if page == _MAX_PAGES:
            raise Undecodable(f"TIFF with more than {_MAX_PAGES} frames, not one picture")
        if not int(tiff.tag_v2.get(254, 0)) & _REDUCED and tiff.tag_v2.get(255) != 2:
            pages.append(page)
    if not pages:
        raise Undecodable("TIFF with previews alone: its picture is stored in a way that is not read")
    if len(pages) > 1:
        raise Undecodable(f"TIFF with {len(pages)} frames, not one picture")
    return pages[0]


def _halve_colour_key(image) -> None:
    """Takes the high bytes of a 16-bit colour that means transparent, as Pillow takes those of pixels."""
    key = image.info.get("transparency")
    if isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)


def to_rgb(image, profile: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels (H, W, 3) of a loaded Pillow image as sRGB, and where they are opaque, as Picture has it;
    Undecodable where that would be a guess.
    """
    if profile and image.mode == "CMYK" and (pixels := cmyk_to_srgb(image, profile)) is not None:
        return pixels, None
    pixels, opaque = _to_rgb(image)
    if profile and image.mode not in ("CMYK", "YCbCr"):
        pixels = to_srgb(pixels, profile, gray=image.mode in _GRAY_MODES or image.mode.startswith("I;16"))
    return pixels, opaque


def _to_rgb(image) -> tuple[np.ndarray, np.ndarray | None]:
    """As `to_rgb`, without the profile."""
    if image.mode.startswith("I;16"):
        # the high byte, as Pillow itself takes it of 16-bit colour
        values = np.asarray(image).astype(np.uint16)
        opaque = values != image.info.get("transparency")  # a value that means transparent, or None
        return np.dstack([(values >> 8).astype(np.uint8)] * 3), None if opaque.all() else opaque
    colour_key = image.mode in ("P", "RGB", "L", "1") and "transparency" in image.info
    if colour_key or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = _converted(image, "RGBA", 4)
        alpha = rgba[..., 3]
        opaque = alpha >= OPAQUE
        # all 0 in a BMP is no alpha, as Windows takes it: many writers leave the fourth byte as it is
        if opaque.all() or (image.format == "BMP" and not alpha.any()):
            opaque = None
        return np.ascontiguousarray(rgba[..., :3]), opaque
    if image.mode in ("RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBX"):
        return _converted(image, "RGB", 3), None
    raise Undecodable(f"pixels of type {image.mode}, which have no clear 8-bit meaning")


def _converted(image, mode: str, channels: int) -> np.ndarray:
    """Pixels (H, W, channels) of a Pillow image in a mode, strip by strip: as a whole it would take four
    copies.
    """
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = image if bottom - top == image.height else image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(strip if strip.mode == mode else strip.convert(mode))
    return pixels


def _renew_lock() -> None:
    global _one_large
    _one_large = threading.Lock()


# a process that was forked while another thread held the lock would wait for ever
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
