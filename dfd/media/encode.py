"""Encoding by OpenCV: JPEG by its libjpeg, whose files are those of Pillow at the same quality and
subsampling; PNG; and what a messenger makes of a picture.
"""

from typing import Literal

import cv2
import numpy as np
import simplejpeg

DELIVERED_SIDE = 224  # pixels; what a messenger makes of a face
SUBSAMPLING = {
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def encode_jpeg(image: np.ndarray, quality: int, subsampling: Literal["420", "422", "444"] = "420") -> bytes:
    """A JPEG file of the image (H, W, 3) uint8 RGB, with the standard's tables.

    simplejpeg is faster, and rounds its DCT more coarsely below quality 96, whatever `fastdct` says: a net
    that looks at traces can tell.

    Args:
        image: left as it is.
        quality: libjpeg's, 1 to 100.
        subsampling: of the chroma; "420" halves it both ways.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLING[subsampling]]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def through_jpeg(
    image: np.ndarray, quality: int, subsampling: Literal["420", "422", "444"] = "420"
) -> np.ndarray:
    """The image (H, W, 3) uint8 RGB as it looks after JPEG encoding."""
    return simplejpeg.decode_jpeg(
        encode_jpeg(image, quality, subsampling), "RGB", fastdct=False, fastupsample=False
    )


def delivered(image: np.ndarray, quality: int) -> np.ndarray:
    """The image (H, W, 3) uint8 RGB as a messenger hands it on: shrunk to DELIVERED_SIDE, then a JPEG."""
    return through_jpeg(shrunk(image, DELIVERED_SIDE / max(image.shape[:2])), quality)


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """Both sides by `scale`; a picture that would grow is left alone."""
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image if scale >= 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def through_gray_jpeg(luma: np.ndarray, quality: int) -> np.ndarray:
    """The gray picture (H, W) uint8 as it looks after JPEG encoding, by the faster of two encoders."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(luma[..., None]), quality=quality, colorspace="GRAY")
    return simplejpeg.decode_jpeg(data, "GRAY")[..., 0]


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of the image (H, W, 3) uint8 RGB."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
