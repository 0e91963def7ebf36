"""Image decoding: bytes to upright RGB pixels, the same for training, `dfd prepare` and `dfd score`.

simplejpeg decodes ordinary JPEGs (twice OpenCV's speed on small ones); Pillow decodes the rest. A file that
is not one opaque 8-bit picture is refused with a reason, never guessed.
"""

import io
import warnings
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from dfd.media.jpeg_segments import EXIF, HEAD, segments

MAX_PIXELS = 64_000_000  # a 50 megapixel photograph passes; a bomb of a few kilobytes costs 200 MB at most
# Pillow's other plugins start programs (EPS), or read formats that neither cameras nor generators write
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")


class Undecodable(ValueError):
    """The bytes are no whole, single, opaque picture; the text says why."""


class ImageInfo(NamedTuple):
    format: str  # of FORMATS; a JPEG with further pictures behind it (MPO) is a JPEG
    width: int  # pixels, upright
    height: int


def decode(data: bytes) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB, turned upright by the EXIF orientation.

    CMYK, gray, palette, 1-bit and 16-bit pictures are converted; an alpha channel is dropped where it is
    opaque everywhere.

    Raises:
        Undecodable: empty, truncated, corrupt, no picture, animated, transparent, or more than MAX_PIXELS.
    """
    if _plain_jpeg(data) is None:
        return _with_pillow(data)[1]
    try:
        image = simplejpeg.decode_jpeg(data)  # strict: what libjpeg only warns of (a missing end) raises
    except ValueError as error:
        raise Undecodable(f"damaged JPEG: {error}") from error
    return _upright(image, _jpeg_orientation(data))


def image_info(data: bytes) -> ImageInfo:
    """Format and upright size of an image. Raises Undecodable exactly where `decode` would."""
    return image_info_and_luma(data)[0]


def image_info_and_luma(data: bytes) -> tuple[ImageInfo, np.ndarray]:
    """As `image_info`, and a small gray copy (h, w) uint8 of the picture, upright, its sides 64 or more where
    the picture's are.

    A JPEG's entropy-coded data is read in full, since that is where damage shows, but at an eighth of the
    size or so and in gray: three quarters of the time of decoding it.
    """
    size = _plain_jpeg(data)
    if size is None:
        name, image = _with_pillow(data)
        return ImageInfo(name, image.shape[1], image.shape[0]), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    try:
        gray = simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, min_height=64, min_width=64)[..., 0]
    except ValueError as error:
        raise Undecodable(f"damaged JPEG: {error}") from error
    orientation = _jpeg_orientation(data)
    height, width = size if orientation < 5 else size[::-1]
    return ImageInfo("JPEG", width, height), _upright(_within(gray, size), orientation)


def _within(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a scaled copy (h, w) that shows the image of `size` (H, W).

    libjpeg scales by eighths and rounds sides up: at 2/8, 65 columns of a picture 257 wide show 260.
    Stretched by that much, a copy of a picture moves 20 bits of its perceptual hash.
    """
    if size[0] % 8 == size[1] % 8 == 0:
        return small
    from PIL import Image

    scale = next(eighths / 8 for eighths in range(8, 0, -1) if _scaled(size, eighths) == small.shape)
    height, width = size[0] * scale, size[1] * scale
    sides = small.shape[::-1]
    return np.asarray(
        Image.fromarray(small).resize(sides, Image.Resampling.LANCZOS, box=(0, 0, width, height))
    )


def _scaled(size: tuple[int, int], eighths: int) -> tuple[int, int]:
    return -(-size[0] * eighths // 8), -(-size[1] * eighths // 8)


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """(H, W) as stored of a JPEG that simplejpeg can decode to RGB; None for all that Pillow should try."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # odd subsampling or a broken header: Pillow reads the one and names the other
        return None
    if space in ("CMYK", "YCCK"):
        return None
    _check_size(width, height)
    return height, width


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Undecodable(
            f"{width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} million that are read"
        )


def _with_pillow(data: bytes) -> tuple[str, np.ndarray]:
    """Format and pixels (H, W, 3) uint8."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise Undecodable("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes and of metadata that are judged here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(*image.size)
                if image.format != "MPO" and getattr(image, "is_animated", False):
                    raise Undecodable(
                        f"{image.format} with {getattr(image, 'n_frames', 'several')} frames, not one picture"
                    )
                image.load()
                name = "JPEG" if image.format == "MPO" else str(image.format)
                orientation = _jpeg_orientation(data) if name == "JPEG" else _orientation_tag(image)
                return name, _upright(np.array(_to_rgb(image)), orientation)
    except Undecodable:
        raise
    except UnidentifiedImageError as error:
        raise Undecodable(f"not a picture in a format that is read ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise Undecodable(f"more than the {MAX_PIXELS // 1_000_000} million pixels that are read") from error
    except Exception as error:  # on hostile bytes the plugins raise anything from SyntaxError to struct.error
        raise Undecodable(f"damaged or truncated: {error or type(error).__name__}") from error


def _to_rgb(image):
    """A loaded Pillow image as mode RGB, or Undecodable where that would be a guess."""
    from PIL import Image

    if image.mode in ("RGB", "L", "1", "CMYK", "YCbCr") or (
        image.mode == "P" and "transparency" not in image.info
    ):
        if image.mode in ("RGB", "L") and "transparency" in image.info:  # a colour key, as old PNGs have it
            return _without_alpha(image.convert("RGBA"))
        return image.convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "P", "RGBX"):
        return image.convert("RGB") if image.mode == "RGBX" else _without_alpha(image.convert("RGBA"))
    if image.mode.startswith("I;16"):
        # the high byte, as Pillow itself takes it of 16-bit colour
        high = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    raise Undecodable(f"pixels of type {image.mode}, which have no clear 8-bit meaning")


def _without_alpha(image):
    if image.getchannel("A").getextrema()[0] < 255:
        raise Undecodable("transparent in parts: what is behind them is not in the file")
    return image.convert("RGB")


def _orientation_tag(image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _jpeg_orientation(data: bytes) -> int:
    """EXIF orientation 1 to 8 of a JPEG; 1 where there is none. Reads no further than the first scan."""
    for marker, whole in segments(data):
        if marker == EXIF and whole[HEAD:].startswith(b"Exif\0\0"):
            return _tiff_orientation(whole[HEAD + 6 :])
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1
    first = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        if int.from_bytes(tiff[at : at + 2], order) == 0x0112:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, 3), turned upright; orientations 5 to 8 swap height and width."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
