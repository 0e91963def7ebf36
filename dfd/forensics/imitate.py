"""JpegStyle: writes an image as a JPEG with the tables, subsampling and metadata of another JPEG.

Where fakes are to be told from reals by what they show, nothing around the image may tell them apart.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np

from dfd.forensics.jpeg.headers import jpeg_facts
from dfd.media.decode import stored_pixels
from dfd.media.jpeg_segments import HEAD, HUFFMAN, METADATA, read_header, segments
from dfd.media.orientation import jpeg_orientation

_SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2, "gray": 0}  # what Pillow can write, by its number
_STRIPES = np.uint8([[[200, 40, 40], [40, 200, 40], [40, 40, 200]]])
_COLORS = np.repeat(_STRIPES, 16, axis=1).repeat(32, axis=0)  # (32, 48, 3)


@dataclass(frozen=True)
class JpegStyle:
    """How one JPEG was written: all but its pixels."""

    tables: tuple[tuple[int, ...], ...]  # quantization, as in JpegFacts
    subsampling: str
    progressive: bool
    optimized: bool  # Huffman tables of its own instead of the standard's
    metadata: bytes  # its APPn and COM segments, whole: JFIF, EXIF, ICC, comments

    @classmethod
    def of(cls, data: bytes) -> JpegStyle | None:
        """The style of a JPEG file; None of what is none, is turned by EXIF, or Pillow cannot write so."""
        facts = jpeg_facts(data)
        if facts is None or facts.subsampling not in _SUBSAMPLING or _turned(data):
            return None
        metadata = b"".join(whole for marker, whole in segments(data) if marker in METADATA)
        style = cls(facts.tables, facts.subsampling, facts.progressive, False, metadata)
        try:
            style = replace(style, optimized=_huffman(data) != _huffman(style.encode(_COLORS)))
            return style if style._holds() else None
        except Exception:
            # on tables that it cannot write, and metadata that it cannot read, Pillow raises what it likes
            return None

    def encode(self, image: np.ndarray) -> bytes:
        """The picture (H, W, 3) uint8 RGB as a JPEG of this style."""
        from PIL import Image

        picture = Image.fromarray(image)
        file = io.BytesIO()
        (picture.convert("L") if self.subsampling == "gray" else picture).save(
            file,
            "JPEG",
            qtables=[list(table) for table in self.tables],
            subsampling=_SUBSAMPLING[self.subsampling],
            progressive=self.progressive,
            optimize=self.optimized,
        )
        data = file.getvalue()
        own = sum(len(whole) for marker, whole in segments(data) if marker in METADATA)
        return data[:2] + self.metadata + data[2 + own :]

    def _holds(self) -> bool:
        """Whether a file written in this style has its tables, and shows the pixels that it was given."""
        from PIL import Image

        data = self.encode(_COLORS)
        if jpeg_facts(data)[:1] + jpeg_facts(data)[4:] != (self.tables, self.subsampling, self.progressive):
            return False
        wanted = Image.fromarray(_COLORS).convert("L" if self.subsampling == "gray" else "RGB").convert("RGB")
        shown = stored_pixels(data).astype(np.float32)
        # grey levels; where an Adobe marker says that these are not YCbCr, colours are off by more
        return bool(np.abs(shown - np.asarray(wanted)).mean() < 32)


def _huffman(data: bytes) -> bytes:
    """The Huffman tables before the first scan, however they are packed into segments."""
    return b"".join(whole[HEAD:] for marker, whole in segments(data) if marker == HUFFMAN)


def _turned(data: bytes) -> bool:
    return jpeg_orientation(read_header(data).app1) != 1
