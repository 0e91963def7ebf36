"""Segments of a JPEG file: markers and their bytes, up to the first scan (ITU-T T.81, annex B)."""

from collections.abc import Iterator

HUFFMAN, SCAN, END = 0xC4, 0xDA, 0xD9
EXIF = 0xE1  # APP1, which XMP shares
METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn and COM: JFIF, EXIF, ICC, comments
HEAD = 4  # bytes of a segment before its content: marker and length


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and whole segment, its head included, of each; ends where the header is not a JPEG's.

    The last one is shorter than it says where the file is cut.
    """
    at = 2
    while at + HEAD <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in (SCAN, END):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + HEAD], "big")
        yield marker, data[at:end]
        at = end
