"""Pictures of HEIC and HEIF files by pillow-heif (libheif), which is the extra dfd[heif]."""

from __future__ import annotations

from dfd.media import boxes
from dfd.media.formats import Undecodable
from dfd.media.picture import Picture, check_size
from dfd.media.pillow_reader import one_large, to_rgb


def read_heif(data: bytes) -> Picture:
    """The picture that the file names as its primary one; previews, depth maps and others are passed over.

    libheif turns it as the file says; its EXIF orientation says the same again, and is not applied.

    Raises:
        Undecodable: pillow-heif is not installed; a sequence; too large; damaged. Like those of AVIF and
            WebP, its coded pixels have no checksum: changed ones show.
    """
    if any(box.kind == b"moov" for box in boxes.boxes(data)):
        raise Undecodable("HEIF with several frames, not one picture")
    try:
        import pillow_heif
    except ImportError as error:
        raise Undecodable(
            "a HEIC picture, which needs pillow-heif: pip install 'dfd[heif]'. Or convert it to JPEG or PNG, "
            "by heif-convert for instance."
        ) from error
    try:
        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        picture = file[file.primary_index]
        check_size(*picture.size, len(data))
        with one_large(*picture.size):
            image = picture.to_pillow()
            check_size(*image.size)
            pixels, opaque = to_rgb(image, picture.info.get("icc_profile") or b"")
    except Undecodable:
        raise
    except Exception as error:  # ValueError as a rule; on hostile bytes whatever libheif makes of them
        raise Undecodable(f"damaged or truncated: {str(error).strip() or type(error).__name__}") from error
    return Picture("HEIF", pixels, opaque)
