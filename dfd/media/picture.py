"""Picture: what a file shows, and the limits of what is read."""

from typing import NamedTuple

import numpy as np

from dfd.media.formats import Undecodable

MAX_PIXELS = 64_000_000  # of a decoded picture
# of a JPEG that is read at a part of its size: those of 108 and 200 megapixel cameras
MAX_JPEG_PIXELS = 256_000_000
# pixels a byte that only blank pictures reach, of pictures that are not small
DENSEST, SMALL_PIXELS = 1100, 4_000_000
OPAQUE = 250  # alpha from which a pixel counts as opaque: editors leave 254 at edges


class Picture(NamedTuple):
    format: str  # of FORMATS; a JPEG with further pictures behind it (MPO) is a JPEG
    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright; as stored, also where they are transparent
    opaque: np.ndarray | None = None  # (H, W) bool, where the picture is opaque; None where it is everywhere
    scale: int = 1  # the file's picture is so many times as wide and high: 1, 2 or 4

    def check_opaque(self) -> None:
        """Raises Undecodable where the picture is transparent."""
        if self.opaque is not None:
            share = max(1 - float(self.opaque.mean()), 0.001)
            raise Undecodable(
                f"transparent in parts ({share:.1%} of it): what is behind them is not in the file"
            )


def check_size(width: int, height: int, num_bytes: int | None = None) -> None:
    """Raises Undecodable where a picture has more than MAX_PIXELS, or more than its file can hold.

    Args:
        num_bytes: of its file. A JPEG spends a bit on a block of 8 x 8 at the least; a small file that claims
            a large picture costs the memory of all that it claims, and is damaged, or blank.
    """
    if width * height > MAX_PIXELS:
        raise too_large(width, height)
    check_density(width, height, num_bytes)


def check_density(width: int, height: int, num_bytes: int | None) -> None:
    """Raises Undecodable where so few bytes hold no photograph of that size."""
    if num_bytes is not None and width * height > max(SMALL_PIXELS, DENSEST * num_bytes):
        raise Undecodable(
            f"{width} x {height} pixels in {num_bytes} bytes, too few for a photograph of that size: it is "
            "damaged, or blank"
        )


def too_large(width: int, height: int) -> Undecodable:
    millions = MAX_PIXELS // 1_000_000, MAX_JPEG_PIXELS // 1_000_000
    return Undecodable(
        f"{width} x {height} pixels, more than the {millions[0]} million that are read "
        f"({millions[1]} million of an ordinary JPEG). Save it smaller, or cut the face out of it"
    )
