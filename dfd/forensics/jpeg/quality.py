"""jpeg_quality: quantization tables, the quality that they are or are nearest to, subsampling, and coding."""

from __future__ import annotations

from typing import NamedTuple

from dfd.forensics.finding import Finding, Method, Table
from dfd.forensics.jpeg.headers import JpegFacts, jpeg_facts, nearest_quality
from dfd.forensics.jpeg.programs import program_of
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import EXIF, HUFFMAN, SCAN, all_segments

METHOD = Method(
    "jpeg_quality",
    "ITU-T T.81, annexes B and K; tables of libjpeg, mozjpeg and Photoshop",
    version=2,
    kind="describes",
)

RESTART = 0xDD
ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB, 0xCC))


def jpeg_quality(data: bytes) -> Finding:
    """Quality, tables, subsampling and coding of a JPEG file, and of the thumbnail in its EXIF; absent of any
    other. Describes, and finds nothing."""
    facts = jpeg_facts(data)
    if facts is None:
        return METHOD("absent", "no_jpeg")
    program = program_of(facts.tables[0], facts.table_id)
    coding = jpeg_coding(data)
    said = {
        "quality": facts.quality,
        "standard": facts.standard,
        "program": program,
        "subsampling": facts.subsampling,
        "progressive": facts.progressive,
        "table_id": facts.table_id,
        "huffman": coding.huffman,
        "scans": coding.scans,
        "restart_interval": coding.restart_interval,
        "thumbnail_quality": None,
        "thumbnail_table_id": "",
    }
    rows = _rows("picture", facts)
    thumbnail = thumbnail_facts(data)
    if thumbnail is not None:
        said |= {"thumbnail_quality": thumbnail.quality, "thumbnail_table_id": thumbnail.table_id}
        rows += _rows("thumbnail", thumbnail)
    answer = "standard" if facts.standard else "known_program" if program else "own_tables"
    return METHOD(
        "clear", answer, facts=said, table=Table(("part", "table", "nearest", "steps"), tuple(rows))
    )


class JpegCoding(NamedTuple):
    """How the coefficients of a JPEG are coded, which changes no pixel."""

    huffman: str  # "standard" for the tables of annex K.3, "optimized" for others, "arithmetic"
    scans: int
    restart_interval: int  # units between two restart markers; 0 without


def jpeg_coding(data: bytes) -> JpegCoding:
    """The coding of a JPEG with headers. What follows a segment that cannot be read is not counted."""
    tables, scans, interval, arithmetic = b"", 0, 0, False
    try:
        for marker, content, _ in all_segments(data):
            if marker == HUFFMAN:
                tables += content
            elif marker == SCAN:
                scans += 1
            elif marker == RESTART:
                interval = int.from_bytes(content[:2], "big")
            arithmetic = arithmetic or marker in ARITHMETIC
    except Undecodable:  # too many segments: what was counted is said
        pass
    if arithmetic:
        return JpegCoding("arithmetic", scans, interval)
    return JpegCoding("standard" if _all_standard(tables) else "optimized", scans, interval)


def thumbnail_facts(data: bytes) -> JpegFacts | None:
    """The encoding of the JPEG thumbnail in the EXIF of a JPEG; None where there is none."""
    for marker, content, _ in all_segments(data):
        if marker == SCAN:
            return None
        start = content.find(b"\xff\xd8\xff") if marker == EXIF and content.startswith(b"Exif\0") else -1
        if start >= 0:
            return jpeg_facts(content[start:])
    return None


def _rows(part: str, facts: JpegFacts) -> list[tuple[str, int, int | None, str]]:
    """One a table; libjpeg's quality is that of the first, which is luma's."""
    nearest = [nearest_quality(facts.tables[0])[0], *[None] * (len(facts.tables) - 1)]
    return [
        (part, number, nearest[number], " ".join(map(str, steps)))
        for number, steps in enumerate(facts.tables)
    ]


def _all_standard(tables: bytes) -> bool:
    """Whether Huffman tables, as the contents of DHT segments, are those of annex K.3 without exception.

    The standard's tables are told by their counts of code lengths: 12 or 162 values follow.
    """
    at = 0
    while at + 17 <= len(tables):
        counts = tables[at + 1 : at + 17]
        if counts not in _STANDARD_COUNTS:
            return False
        at += 17 + sum(counts)
    return bool(tables)


# numbers of codes of 1 to 16 bits, ITU-T T.81 tables K.3 to K.6: DC and AC of luma and chroma
_STANDARD_COUNTS = frozenset(
    bytes.fromhex(counts)
    for counts in (
        "00010501010101010100000000000000",
        "00030101010101010101010000000000",
        "0002010303020403050504040000017d",
        "00020102040403040705040400010277",
    )
)
