"""Cues of a file's headers: how it was written, not what it shows."""

from __future__ import annotations

import math

from dfd.forensics.jpeg import jpeg_facts
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import END, HUFFMAN, all_segments

_FORMATS = ("JPEG", "PNG", "WEBP")
_SUBSAMPLING = {"4:4:4": 0.0, "4:4:0": 0.5, "4:2:2": 0.5, "4:1:1": 1.0, "4:2:0": 1.0}
# what tells that a kind of metadata is there, in any container; searched in the head of the file
_MARKS = {
    "exif": (b"Exif\0\0", b"eXIf", b"EXIF"),
    "xmp": (b"http://ns.adobe.com/xap/1.0/", b"XML:com.adobe.xmp", b"XMP "),
    "icc": (b"ICC_PROFILE\0", b"iCCP", b"ICCP"),
    "iptc": (b"Photoshop 3.0\0",),
    "jfif": (b"JFIF\0",),
    "adobe": (b"Adobe\0", b"Adobe_CM"),
    "comment": (b"\xff\xfe",),
    "c2pa": (b"jumdc2pa", b"c2pa"),
}
_HEAD = 200_000  # bytes
NAMES = (
    *(f"file.{name.lower()}" for name in (*_FORMATS, "other")),
    "file.log_pixels",
    "file.log_aspect",
    "file.square",
    "file.sides_of_64",
    "file.log_bits_per_pixel",
    "file.quality",
    "file.standard_tables",
    "file.num_tables",
    "file.subsampling",
    "file.progressive",
    "file.num_huffman",
    "file.num_segments",
    "file.metadata_bytes",
    "file.trailing_bytes",
    *(f"file.{name}" for name in _MARKS),
)


def measure(data: bytes, format: str, width: int, height: int) -> dict[str, float]:
    """The cues NAMES. Logarithms are to base 2; those of bytes have 1 added, so that 0 is none.

    Args:
        format: of dfd.media.formats.FORMATS.
        width: and height, upright.
    """
    # before the pixels, where metadata mostly stand; in PNG and WebP also at the end
    head = data[:_HEAD] if format == "JPEG" else data[:_HEAD] + data[-_HEAD:]
    found = {f"file.{name.lower()}": float(format == name) for name in _FORMATS}
    found["file.other"] = float(format not in _FORMATS)
    found |= {f"file.{name}": float(any(mark in head for mark in marks)) for name, marks in _MARKS.items()}
    found |= {
        "file.log_pixels": math.log2(width * height),
        "file.log_aspect": math.log2(width / height),
        "file.square": float(width == height),
        "file.sides_of_64": float(width % 64 == height % 64 == 0),
        "file.log_bits_per_pixel": math.log2(8 * len(data) / (width * height)),
    }
    return found | _of_jpeg(data)


def _of_jpeg(data: bytes) -> dict[str, float]:
    facts = jpeg_facts(data) if data[:2] == b"\xff\xd8" else None
    if facts is None:
        names = ("quality", "standard_tables", "num_tables", "subsampling", "progressive", "num_huffman")
        return {f"file.{name}": 0.0 for name in (*names, "num_segments", "metadata_bytes", "trailing_bytes")}
    num, huffman, size, end = 0, 0, 0, 0
    try:
        for marker, content, coded in all_segments(data):
            num += 1
            huffman += marker == HUFFMAN
            size += len(content) if marker not in (END,) and not coded else 0
    except Undecodable:
        pass
    end = data.rfind(b"\xff\xd9")
    trailing = len(data) - end - 2 if end >= 0 else 0
    return {
        "file.quality": float(facts.quality),
        "file.standard_tables": float(facts.standard),
        "file.num_tables": float(len(facts.tables)),
        "file.subsampling": _SUBSAMPLING.get(facts.subsampling, 0.0),
        "file.progressive": float(facts.progressive),
        "file.num_huffman": float(huffman),
        "file.num_segments": float(num),
        "file.metadata_bytes": math.log2(1 + size),
        "file.trailing_bytes": math.log2(1 + trailing),
    }
