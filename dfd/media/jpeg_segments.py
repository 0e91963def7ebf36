"""Segments of a JPEG file: markers and their bytes (ITU-T T.81, annex B)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dfd.media.formats import Undecodable

START, HUFFMAN, SCAN, END = 0xD8, 0xC4, 0xDA, 0xD9
EXIF = 0xE1  # APP1, which XMP shares
PROFILE = 0xE2  # APP2: ICC profiles, lists of pictures (MPF)
METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn and COM: JFIF, EXIF, ICC, comments
FRAMES = frozenset(range(0xC0, 0xD0)) - {HUFFMAN, 0xC8, 0xCC}  # SOF0 to SOF15, one a process
PROGRESSIVE = frozenset((0xC2, 0xCA))
LOSSLESS = 0xC3
HEAD = 4  # bytes of a segment before its content: marker and length
MAX_SEGMENTS = 10_000  # of one file; a photograph has 10 to 300, and a file of 256 MB has room for 64 million
_FILLING = re.compile(rb"\xff+")
# bytes of a scan that are looked at in one go: few at first, since a file may have thousands of short scans
_FIRST_STRIP, _STRIP = 1 << 12, 1 << 20


class JpegHeader(NamedTuple):
    """What a JPEG says before its first scan."""

    process: int  # marker of its frame, one of FRAMES; 0 where there is none
    interleaved: bool  # the first scan holds all components, as all of a sequential file mostly do
    app1: list[bytes]  # contents of the EXIF and XMP segments
    app2: list[bytes]  # and of those with parts of an ICC profile


def read_header(data: bytes) -> JpegHeader:
    """Reads no further than the first scan. Written for speed: it runs on each picture of an epoch."""
    process, components, app1, app2 = 0, 0, [], []
    at, length, left = 2, len(data), MAX_SEGMENTS
    while at + HEAD <= length and data[at] == 0xFF and left:
        marker, left = data[at + 1], left - 1
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == SCAN:
            return JpegHeader(process, data[at + 4 : at + 5] == bytes((components,)), app1, app2)
        if marker == END:
            break
        end = at + 2 + (data[at + 2] << 8) + data[at + 3]
        if marker == EXIF:
            app1.append(data[at + HEAD : end])
        elif marker == PROFILE:
            app2.append(data[at + HEAD : end])
        elif marker in FRAMES and end <= length and end - at > 9:
            process, components = marker, data[at + 9]
        at = end
    return JpegHeader(process, False, app1, app2)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and whole segment, its head included, of each before the first scan; ends where the header is
    not a JPEG's.

    The last one is shorter than it says where the file is cut. At most MAX_SEGMENTS.
    """
    at, left = 2, MAX_SEGMENTS
    while at + HEAD <= len(data) and data[at] == 0xFF and left:
        marker, left = data[at + 1], left - 1
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in (SCAN, END):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + HEAD], "big")
        yield marker, data[at:end]
        at = end


def all_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and, of a scan, its entropy-coded bytes, of each segment of the file's first picture.

    Found as libjpeg finds them: bytes between segments that belong to none are passed over. The last one is
    END with no content where the file has one; what follows it is no part of the picture.

    Raises:
        Undecodable: more than MAX_SEGMENTS.
    """
    for place in places(data):
        yield place.marker, data[place.content : place.coded], data[place.coded : place.end]


class Place(NamedTuple):
    """Where a segment lies in a file, by the numbers of its bytes."""

    marker: int
    start: int  # of the 0xFF before its marker
    content: int  # behind marker and length
    coded: int  # behind its content; of a scan, where entropy-coded bytes begin
    end: int  # behind them


def places(data: bytes) -> Iterator[Place]:
    """Where each segment of `all_segments` lies."""
    at, scanned, left = 2, False, MAX_SEGMENTS
    while (at := data.find(b"\xff", at)) >= 0:
        left -= 1
        if not left:
            raise Undecodable(f"damaged JPEG: more than {MAX_SEGMENTS} segments")
        at = _FILLING.match(data, at).end()
        start = at - 1
        marker, at = int.from_bytes(data[at : at + 1]), at + 1
        if marker == START and scanned:  # the next picture, of a file whose first has no end
            return
        if marker in (0x00, 0x01, START) or 0xD0 <= marker <= 0xD7:  # these have no content
            continue
        if marker == END:
            yield Place(END, start, at, at, at)
            return
        coded = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        if coded > len(data):
            return
        content, at = at + 2, coded
        if marker == SCAN:
            at, scanned = _scan_end(data, at), True
        yield Place(marker, start, content, coded, at)


def _scan_end(data: bytes, start: int) -> int:
    """The first marker behind entropy-coded bytes, its filling included; the file's end where there is none.

    Any 0xFF but a restart, a stuffed byte (0xFF00) or filling before one of these.
    """
    first, size = start, _FIRST_STRIP
    while first < len(data) - 1:
        strip = np.frombuffer(data, np.uint8, min(size + 1, len(data) - first), first)
        marks = np.flatnonzero(strip[:-1] == 0xFF)
        following = strip[marks + 1]
        ends = marks[(following != 0) & (following != 0xFF) & (following >> 3 != 0xD0 >> 3)]
        if len(ends):
            end = first + int(ends[0])
            return start + len(data[start:end].rstrip(b"\xff"))
        first, size = first + size, _STRIP
    return len(data)
