"""Image decoding: bytes to upright sRGB pixels, the same for training, `dfd prepare` and `dfd score`.

simplejpeg decodes ordinary JPEGs (twice OpenCV's speed on small ones); Pillow decodes the rest. What is
readable is decided here alone. A file that is not one picture whose pixels are all there is refused with a
reason, never guessed; what surrounds the pixels (metadata, profiles, previews) refuses none.
"""

from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from dfd.media.boxes import is_heif
from dfd.media.colour import jpeg_profile, to_srgb
from dfd.media.formats import Undecodable
from dfd.media.heif_reader import read_heif
from dfd.media.jpeg_repair import decode_repaired, repaired
from dfd.media.jpeg_segments import LOSSLESS, PROGRESSIVE, SCAN, JpegHeader, all_segments, read_header
from dfd.media.orientation import jpeg_orientation, upright
from dfd.media.picture import MAX_JPEG_PIXELS, MAX_PIXELS, Picture, check_density, check_size, too_large
from dfd.media.pillow_reader import read_with_pillow

# of one JPEG; honest progressive ones have about 10. Each costs a walk over all blocks, whatever its bytes.
MAX_SCANS = 100


class ImageInfo(NamedTuple):
    format: str  # of FORMATS; a JPEG with further pictures behind it (MPO) is a JPEG
    width: int  # pixels, upright, as `decode` gives them
    height: int


def decode(data: bytes) -> np.ndarray:
    """Pixels (H, W, 3) uint8 sRGB, turned upright by the EXIF orientation.

    An ICC profile is applied where it is another than sRGB and can be read; without one the pixels are as
    stored. CMYK, gray, palette, 1-bit and 16-bit pictures are converted; an alpha channel is dropped where
    it is opaque everywhere. A JPEG of more than MAX_PIXELS is decoded at the half or quarter of its sides
    that is below.

    While it is decoded, a picture of MAX_PIXELS takes 0.2 GB of memory as a JPEG, 0.6 GB as a progressive
    one, and up to 1.5 GB in the other formats (most in JPEG 2000). Of these a process decodes one at a time.
    What claims more than 4 million pixels and 1,100 a byte is refused before.

    Raises:
        Undecodable: empty, truncated, corrupt, no picture, animated, transparent, too large, blank and large.
    """
    picture = read_picture(data)
    picture.check_opaque()
    return picture.pixels


def read_picture(data: bytes) -> Picture:
    """As `decode`, but a picture that is transparent in parts is read too, and says where."""
    jpeg = _open_jpeg(data)
    if jpeg is None:
        return read_heif(data) if is_heif(data) else read_with_pillow(data)
    orientation = jpeg_orientation(jpeg.header.app1)
    profile = jpeg_profile(jpeg.header.app2)
    if not jpeg.plain:
        return read_with_pillow(jpeg.data, orientation, profile)
    if jpeg.scale == 1:
        pixels = _decoded(jpeg.data)
    else:
        height, width = _scaled(jpeg.size, 8 // jpeg.scale)
        pixels = _decoded(jpeg.data, min_height=height, min_width=width)
    if profile:
        pixels = to_srgb(pixels, profile, jpeg.gray)
    return Picture("JPEG", upright(pixels, orientation), None, jpeg.scale)


def image_info(data: bytes) -> ImageInfo:
    """Format and upright size of an image. Raises Undecodable exactly where `decode` would."""
    return image_info_and_luma(data)[0]


def image_info_and_luma(data: bytes) -> tuple[ImageInfo, np.ndarray]:
    """As `image_info`, and a small gray copy (h, w) uint8 of the picture, upright, its sides 64 or more where
    the picture's are.

    A JPEG's entropy-coded data is read in full, since that is where damage shows, but at an eighth of the
    size or so and in gray: three quarters of the time of decoding it.
    """
    jpeg = _open_jpeg(data)
    if jpeg is None or not jpeg.plain or jpeg.header.process == LOSSLESS:  # which has no smaller sizes
        picture = read_picture(data)
        picture.check_opaque()
        height, width = picture.pixels.shape[:2]
        return ImageInfo(picture.format, width, height), cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)
    gray = _decoded(jpeg.data, colorspace="GRAY", fastdct=True, min_height=64, min_width=64)[..., 0]
    orientation = jpeg_orientation(jpeg.header.app1)
    height, width = _scaled(jpeg.size, 8 // jpeg.scale)
    if orientation >= 5:
        height, width = width, height
    return ImageInfo("JPEG", width, height), upright(_within(gray, jpeg.size), orientation)


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


class _Jpeg(NamedTuple):
    data: bytes  # the file, repaired where libjpeg does not take its header as it is
    header: JpegHeader
    plain: bool  # simplejpeg decodes it to RGB; Pillow decodes CMYK and odd subsampling
    size: tuple[int, int]  # (H, W) as stored, of a plain one
    scale: int  # as of Picture
    gray: bool = False  # of one component


def _open_jpeg(data: bytes) -> _Jpeg | None:
    """What is to be done with a JPEG; None for another file."""
    if data[:2] != b"\xff\xd8":
        return None
    header = read_header(data)
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        data = repaired(data)
        header = read_header(data)._replace(app1=header.app1, app2=header.app2)
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        except (ValueError, KeyError):  # KeyError is its word for 4:4:1
            _check_scans(data, header)
            return _Jpeg(data, header, False, (0, 0), 1)
    by_scans = _check_scans(data, header)
    check_density(width, height, len(data))
    if space not in ("CMYK", "YCCK"):
        scale = _scale(width, height, by_scans)
        return _Jpeg(data, header, True, (height, width), scale, space.upper() == "GRAY")
    check_size(width, height)
    return _Jpeg(_undamaged(data), header, False, (height, width), 1)


def _check_scans(data: bytes, header: JpegHeader) -> bool:
    """Whether libjpeg holds all coefficients of the picture, as its data comes in scans.

    Raises:
        Undecodable: more than MAX_SCANS.
    """
    if header.interleaved and header.process not in PROGRESSIVE:
        return False  # libjpeg reads one scan of it
    # first a bound from above: previews in the metadata have scans too
    if data.count(b"\xff\xda") > MAX_SCANS:
        scans = sum(marker == SCAN for marker, *_ in all_segments(data))
        if scans > MAX_SCANS:
            raise Undecodable(f"a JPEG of {scans} scans, more than the {MAX_SCANS} that are read")
    return True


def _scale(width: int, height: int, by_scans: bool) -> int:
    """The divisor of the sides by which a JPEG has no more than MAX_PIXELS; 1 is no divisor."""
    if width * height <= MAX_PIXELS:
        return 1
    if by_scans or width * height > MAX_JPEG_PIXELS:
        raise too_large(width, height)
    return next(scale for scale in (2, 4, 8) if np.prod(_scaled((height, width), 8 // scale)) <= MAX_PIXELS)


def _decoded(data: bytes, **options) -> np.ndarray:
    """Strictly: what libjpeg only warns of is an error, unless it loses no pixel."""
    try:
        return simplejpeg.decode_jpeg(data, **options)
    except ValueError as error:
        return decode_repaired(data, lambda clean: simplejpeg.decode_jpeg(clean, **options), str(error))


def _undamaged(data: bytes) -> bytes:
    """A CMYK JPEG for Pillow, which does not hear libjpeg's warnings: repaired, and read once before."""
    read: list[bytes] = []

    def check(clean: bytes) -> np.ndarray:
        pixels = simplejpeg.decode_jpeg(clean, "CMYK", min_height=1, min_width=1)
        read.append(clean)
        return pixels

    decode_repaired(data, check)
    return read[0]


def stored_luma(clean: bytes) -> np.ndarray:
    """Luma (H, W) uint8 of a JPEG as stored, neither turned nor converted.

    Args:
        clean: as `plain_jpeg` gives it.
    """
    return simplejpeg.decode_jpeg(clean, "GRAY")[..., 0]


def stored_pixels(clean: bytes) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB of a JPEG as stored, neither turned nor converted by a profile.

    Args:
        clean: as `plain_jpeg` gives it.
    """
    return simplejpeg.decode_jpeg(clean)


def plain_jpeg(data: bytes) -> bytes:
    """A JPEG as libjpeg reads it without a complaint: the file itself, or its repaired copy.

    For readers of what `decode` does not give, such as the stored coefficients: they must not meet a file
    that it refuses.

    Raises:
        Undecodable: no JPEG, one that `decode` refuses or reads at a part of its size, in CMYK or lossless.
    """
    jpeg = _open_jpeg(data)
    if jpeg is None:
        raise Undecodable("no JPEG")
    if not jpeg.plain or jpeg.header.process == LOSSLESS:
        raise Undecodable("a JPEG in CMYK, without DCT or of odd subsampling")
    if jpeg.scale != 1:
        raise too_large(*jpeg.size[::-1])
    read = [jpeg.data]

    def check(clean: bytes) -> np.ndarray:
        pixels = simplejpeg.decode_jpeg(clean, "GRAY", fastdct=True, min_height=1, min_width=1)
        read.append(clean)
        return pixels

    try:
        check(jpeg.data)
    except ValueError as error:
        decode_repaired(data, check, str(error))
    return read[-1]
