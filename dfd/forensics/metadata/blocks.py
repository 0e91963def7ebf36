"""Metadata blocks of a picture file as stored: XMP, Photoshop's, ICC, texts, previews.

`containers` finds them. What is kept is bounded, so that their readers need not ask how much there is.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

MAX_TEXTS = 200
MAX_UNPACKED = 8_000_000  # bytes of all texts and profiles of a file together that are unpacked
MAX_PACKETS = 4  # of XMP, and previews
MAX_OTHERS = 50


@dataclass
class Blocks:
    """What a file holds beside its pixels and its EXIF.

    Args:
        xmp: packets; of a JPEG the extended one too.
        photoshop: image resources, all together.
        iptc: IIM records that lie outside of them, as in a TIFF.
        icc: the profile.
        texts: origin (COM, tEXt, GIF), keyword and text of each.
        jfif: content of the JFIF segment behind its name; b"" where there is none.
        previews: those of the JFIF segments: origin, width, height and bytes; 0 x 0 for one that is a JPEG.
        adobe: whether a JPEG has Adobe's segment APP14.
        modified: of a PNG, its time of last change as written in the file; "".
        others: name and first letters of further segments or chunks.
        problems: what breaks the standard, or is not read.
        room: bytes that may still be unpacked.
    """

    xmp: list[bytes] = field(default_factory=list)
    photoshop: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    texts: list[tuple[str, str, str]] = field(default_factory=list)
    jfif: bytes = b""
    previews: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    adobe: bool = False
    modified: str = ""
    others: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    room: int = MAX_UNPACKED

    def add_xmp(self, packet: bytes) -> None:
        if len(self.xmp) < MAX_PACKETS:
            self.xmp.append(packet)

    def add_preview(self, origin: str, width: int, height: int, data: bytes) -> None:
        if len(self.previews) < MAX_PACKETS:
            self.previews.append((origin, width, height, data))

    def add_text(self, origin: str, keyword: str, text: str) -> None:
        if text.strip() and len(self.texts) < MAX_TEXTS:
            self.texts.append((origin, keyword, text))

    def add_other(self, name: str, value: str = "") -> None:
        if len(self.others) < MAX_OTHERS:
            self.others.append((name, value))

    def unpack(self, packed: bytes, room: int) -> bytes:
        """Unpacked by zlib, `room` bytes at most and no more than is left; b"" of what is damaged."""
        room = min(room, self.room)
        if room <= 0:  # which zlib takes for no bound
            return b""
        try:
            unpacked = zlib.decompressobj().decompress(packed, room)
        except zlib.error:
            return b""
        self.room -= len(unpacked)
        if not self.room:
            self.problems.append(f"more than {MAX_UNPACKED} bytes of packed texts: the rest is not read")
        return unpacked
