"""Pictures by Pillow: all formats but ordinary JPEGs, their pixels without the rest of the file."""

import io
import warnings

import numpy as np

from dfd.media.formats import FORMATS, Undecodable, not_a_picture
from dfd.media.orientation import image_orientation, upright
from dfd.media.picture import MAX_PIXELS, OPAQUE, Picture, check_size
from dfd.media.png_chunks import SIGNATURE, without_metadata

_MAX_PAGES = 16  # of a TIFF, previews among them
_REDUCED = 1  # bit of NewSubfileType; and 2 in SubfileType, its predecessor


def read_with_pillow(data: bytes, orientation: int | None = None) -> Picture:
    """The picture of a file; `orientation` is known of a JPEG, and else read from the file.

    Raises:
        Undecodable: no picture, several, too large, or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise Undecodable("empty file")
    if data.startswith(SIGNATURE):
        data = without_metadata(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes and of metadata that are judged here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                name = "JPEG" if image.format == "MPO" else str(image.format)
                _select_only_picture(image)
                check_size(*image.size)
                image.load()
                if orientation is None:
                    orientation = image_orientation(image)
                pixels, opaque = _to_rgb(image)
                opaque = None if opaque is None else upright(opaque, orientation)
                return Picture(name, upright(pixels, orientation), opaque)
    except Undecodable:
        raise
    except UnidentifiedImageError as error:
        raise not_a_picture(data) from error
    except Image.DecompressionBombError as error:
        raise Undecodable(f"more than the {MAX_PIXELS // 1_000_000} million pixels that are read") from error
    except Exception as error:  # on hostile bytes the plugins raise anything from SyntaxError to struct.error
        raise Undecodable(f"damaged or truncated: {error or type(error).__name__}") from error


def _select_only_picture(image) -> None:
    """Leaves a file at its one picture, the previews beside it passed over.

    Raises:
        Undecodable: it holds several, as an animation does, or previews alone.
    """
    if image.format == "TIFF":
        image.seek(_only_page(image))
    elif image.format != "MPO" and getattr(image, "is_animated", False):
        several = getattr(image, "n_frames", "several")
        raise Undecodable(f"{image.format} with {several} frames, not one picture")


def _only_page(tiff) -> int:
    pages = []
    for page in range(_MAX_PAGES + 1):
        try:
            tiff.seek(page)
        except EOFError:
            break
        if page == _MAX_PAGES:
            raise Undecodable(f"TIFF with more than {_MAX_PAGES} frames, not one picture")
        if not int(tiff.tag_v2.get(254, 0)) & _REDUCED and tiff.tag_v2.get(255) != 2:
            pages.append(page)
    if not pages:
        raise Undecodable("TIFF with previews alone: its picture is stored in a way that is not read")
    if len(pages) > 1:
        raise Undecodable(f"TIFF with {len(pages)} frames, not one picture")
    return pages[0]


def _to_rgb(image) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels (H, W, 3) of a loaded Pillow image, and where they are opaque, as Picture has it; Undecodable
    where that would be a guess.
    """
    if image.mode.startswith("I;16"):
        # the high byte, as Pillow itself takes it of 16-bit colour
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.dstack([high] * 3), None
    colour_key = image.mode in ("P", "RGB", "L", "1") and "transparency" in image.info
    if colour_key or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        # all 0 in a BMP is no alpha, as Windows takes it: its writers leave the fourth byte as it is
        means_nothing = image.format == "BMP"
        alpha_too = np.array(image.convert("RGBA"))
        alpha = alpha_too[..., 3]
        opaque = alpha >= OPAQUE
        pixels = np.ascontiguousarray(alpha_too[..., :3])
        return pixels, None if opaque.all() or (means_nothing and not alpha.any()) else opaque
    if image.mode in ("RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBX"):
        return np.array(image.convert("RGB")), None
    raise Undecodable(f"pixels of type {image.mode}, which have no clear 8-bit meaning")
