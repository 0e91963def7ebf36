"""File: what the rules of metadata look at, each part read once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice

import numpy as np

from dfd.forensics.jpeg import JpegFacts, jpeg_facts
from dfd.forensics.metadata.compare import Preview, shown_in
from dfd.forensics.metadata.read import Metadata, read_metadata, stored_size
from dfd.media.decode import image_info_and_luma
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import MAX_SEGMENTS, METADATA, read_header, segments
from dfd.media.orientation import jpeg_orientation

_FIRST_SCAN = b"\xff\xda\0\2"  # where the headers end


@dataclass(frozen=True)
class File:
    """A file as rules see it.

    Args:
        data: the whole file.
        now: against which dates lie in the future, with a time zone.
    """

    data: bytes
    now: datetime

    @cached_property
    def metadata(self) -> Metadata:
        return read_metadata(self.data)

    @cached_property
    def jpeg(self) -> JpegFacts | None:
        """Tables and subsampling of a JPEG; read without the metadata, on which Pillow can spend seconds."""
        if self.data[:2] != b"\xff\xd8":
            return None
        header = islice(segments(self.data), MAX_SEGMENTS)
        kept = b"".join(segment for marker, segment in header if marker not in METADATA)
        return jpeg_facts(b"\xff\xd8" + kept + _FIRST_SCAN)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Width and height as stored; None where the picture cannot be read."""
        return stored_size(self.data) or (self._picture[0] if self._picture else None)

    @cached_property
    def upright_size(self) -> tuple[int, int] | None:
        """Width and height as the picture is shown; None where it cannot be read."""
        return self._picture[0] if self._picture else None

    @cached_property
    def gray(self) -> np.ndarray | None:
        """A small gray copy (h, w) uint8, upright; None where the picture cannot be read."""
        return self._picture[1] if self._picture else None

    @cached_property
    def preview(self) -> Preview | None:
        """What the first embedded thumbnail shows beside the picture; None where there is none to compare."""
        if not self.metadata.thumbnails or self.gray is None or self.size is None:
            return None
        if self.data[:2] == b"\xff\xd8":
            orientation = jpeg_orientation(read_header(self.data).app1)
        else:
            value = self.metadata.exif.ifd0.get("Orientation")
            orientation = value if isinstance(value, int) else 1
        return shown_in(self.metadata.thumbnails[0], self.gray, orientation)

    @property
    def make(self) -> str:
        """The camera's maker as EXIF has it."""
        return self.metadata.get("EXIF", "Make")

    @property
    def has_camera_facts(self) -> bool:
        """Whether the file names a camera or an exposure."""
        return any(self.metadata.get("EXIF", name) for name in ("Make", "Model", "ExposureTime", "FNumber"))

    @cached_property
    def _picture(self) -> tuple[tuple[int, int], np.ndarray] | None:
        try:
            info, gray = image_info_and_luma(self.data)
        except Undecodable:
            return None
        return (info.width, info.height), gray
