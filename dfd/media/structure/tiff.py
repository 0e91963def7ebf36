"""Structure of TIFF files: pages, previews, and the end of the last byte that any of them names."""

from __future__ import annotations

import struct

import numpy as np

from dfd.media.structure.part import Layout

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_PLACES, _LENGTHS = {273: 279, 324: 325, 513: 514}, frozenset((279, 325, 514))  # strips, tiles, a JPEG
_DEEPER = frozenset((330, 0x8769, 0x8825, 0xA005))  # further directories
_METADATA = {700: "XMP", 33723: "IPTC", 34377: "Photoshop", 34675: "ICC profile", 37724: "Photoshop layers"}
_MAX_DIRECTORIES, _MAX_TAGS = 500, 20_000


def read(data: bytes) -> Layout:
    """Everything in a TIFF is found by pointers, so its end is the end of what they point to."""
    if data[2:4] not in (b"*\0", b"\0*"):
        return Layout(len(data), problems=["a BigTIFF, whose end is not looked for"])
    order = "<" if data[:2] == b"II" else ">"
    layout = Layout(8, 0)
    waiting = [(_number(data, 4, f"{order}I"), True)]
    seen: set[int] = set()
    tags = _MAX_TAGS
    while waiting and len(seen) < _MAX_DIRECTORIES and tags > 0:
        at, is_page = waiting.pop()
        if at in seen or not 8 <= at <= len(data) - 2:
            continue
        seen.add(at)
        count = min(_number(data, at, f"{order}H"), (len(data) - at - 2) // 12)
        tags -= count
        entries = {}
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, place)
            size = _SIZES.get(kind, 0) * number
            start = place + 8 if size <= 4 else _number(data, place + 8, f"{order}I")
            if start + size > len(data):
                continue
            layout.end = max(layout.end, start + size)
            entries[tag] = (kind, number, start)
            if tag in _METADATA:
                layout.add("metadata", start, start + size, _METADATA[tag])
            if tag in _DEEPER:
                inner = _values(data, order, entries[tag])[:_MAX_DIRECTORIES]
                waiting += [(int(each), False) for each in inner]
        end = at + 2 + 12 * count
        layout.end = max(layout.end, min(end + 4, len(data)))
        _add_pixels(layout, data, order, entries, is_page)
        if is_page and end + 4 <= len(data):
            waiting.append((_number(data, end, f"{order}I"), True))
    layout.pictures = max(layout.pictures, 1)
    layout.add_rest(data, layout.end)
    return layout


def _add_pixels(layout: Layout, data: bytes, order: str, entries: dict, is_page: bool) -> None:
    subfile = _values(data, order, entries[254]) if 254 in entries else [0]
    is_preview = bool(len(subfile) and int(subfile[0]) & 1)
    if is_page and not is_preview and (273 in entries or 324 in entries):
        layout.pictures += 1
    for places_tag, lengths_tag in _PLACES.items():
        if places_tag not in entries or lengths_tag not in entries:
            continue
        starts = _values(data, order, entries[places_tag]).astype(np.int64)
        lengths = _values(data, order, entries[lengths_tag]).astype(np.int64)
        ends = starts[: len(lengths)] + lengths[: len(starts)]
        if not len(ends):
            continue
        end = int(min(ends.max(), len(data)))
        layout.end = max(layout.end, end)
        small = is_preview or not is_page or places_tag == 513
        first = min(int(starts.min()), end)
        layout.add("preview" if small else "picture", first, end, "thumbnail" if small else "")


def _values(data: bytes, order: str, entry: tuple[int, int, int]) -> np.ndarray:
    """Whole numbers of a tag; none where it holds others."""
    kind, count, start = entry
    letter = {1: "u1", 3: "u2", 4: "u4", 13: "u4"}.get(kind)
    return np.frombuffer(data, f"{order}{letter}", count, start) if letter else np.zeros(0, "u4")


def _number(data: bytes, at: int, form: str) -> int:
    return struct.unpack_from(form, data, at)[0] if at + struct.calcsize(form) <= len(data) else 0
