"""Structure of BMP and PPM files: a header, then pixels of a known length."""

from __future__ import annotations

import re
import struct

from dfd.media.structure.part import Layout

_PPM = re.compile(rb"P([1-6])((?:\s|#[^\n]*\n)+\d+){2,3}\s")
_COMMENT = re.compile(rb"#[^\n]*\n")


def read_bmp(data: bytes) -> Layout:
    """Its end is the later one of what its header says and where its pixels end: many writers say 0."""
    if len(data) < 30:
        return Layout(len(data), problems=["its header is cut off"])
    said, pixels = struct.unpack_from("<I4xI", data, 2)
    width, height = struct.unpack_from("<ii", data, 18)
    depth, packed = struct.unpack_from("<HI", data.ljust(34, b"\0"), 28)
    rows = 0 if packed in (1, 2) else (abs(width) * depth + 31) // 32 * 4 * abs(height)
    end = min(max(said, pixels + rows), len(data))
    layout = Layout(end)
    layout.add("picture", min(pixels, end), end)
    layout.add_rest(data, end)
    return layout


def read_ppm(data: bytes) -> Layout:
    head = _PPM.match(data[:4096])
    if head is None or head[1] in b"123":  # in digits, whose end is the file's
        return Layout(len(data))
    numbers = [int(each) for each in _COMMENT.sub(b" ", head[0])[2:].split()]
    width, height, most = (*numbers, 1)[:3]
    if head[1] == b"4":
        length = (width + 7) // 8 * height
    else:
        length = width * height * (3 if head[1] == b"6" else 1) * (2 if most > 255 else 1)
    end = min(head.end() + length, len(data))
    layout = Layout(end)
    layout.add("picture", head.end(), end)
    layout.add_rest(data, end)
    return layout
