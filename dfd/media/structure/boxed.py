"""Structure of HEIC, AVIF and JPEG 2000 files: boxes, the items in them, and what follows the last box."""

from __future__ import annotations

from dfd.media import boxes
from dfd.media.structure.part import Layout

_KNOWN = frozenset(
    (b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"free", b"skip", b"wide", b"uuid", b"idat", b"mpvd",
     b"sefd", b"jP  ", b"jp2h", b"jp2c", b"jp2i", b"xml ", b"jumb", b"asoc", b"rreq", b"uinf", b"pdin")
)  # fmt: skip
_PICTURES = frozenset(
    (b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"jpeg", b"avc1", b"unci", b"j2k1", b"vvc1")
)
_ROOM = frozenset((b"free", b"skip", b"wide"))


def read(data: bytes) -> Layout:
    if data[:4] == b"\xff\x4f\xff\x51":  # a bare JPEG 2000 codestream, whose end is not looked for
        return Layout(len(data))
    layout, has_type = Layout(0), False
    for box in boxes.boxes(data):
        if box.kind not in _KNOWN or (box.kind == b"ftyp" and has_type):  # another file begins
            break
        has_type = has_type or box.kind == b"ftyp"
        layout.end = box.end
        if box.kind in (b"mdat", b"jp2c"):
            layout.add("picture", box.start, box.end)
        elif box.kind == b"mpvd":
            layout.add("video", box.start, box.end, "motion photo")
        elif box.kind == b"sefd":
            layout.add("trailer", box.start, box.end, "Samsung")
        elif box.kind in _ROOM:
            if data[box.body : box.end].strip(b"\0"):
                layout.add("gap", box.start, box.end, "free space that is not empty")
        elif box.kind != b"ftyp":
            layout.add("metadata", box.start, box.end, box.kind.decode("latin-1").strip())
    layout.pictures = _count(layout, data)
    layout.add_rest(data, layout.end)
    return layout


def _count(layout: Layout, data: bytes) -> int:
    """Pictures to be shown: those that are no tile, preview, mask or gain map of another."""
    listed = boxes.items(data)
    pointed = {source: kind for kind, source, _ in boxes.references(data)}
    parts_of = {end for kind, _, ends in boxes.references(data) if kind == b"dimg" for end in ends}
    whole = 0
    for item in listed:
        if item.kind == b"Exif" or item.kind == b"mime":
            for start, length in item.extents[:1]:
                layout.add("metadata", start, start + length, item.kind.decode("latin-1"))
        elif item.kind in _PICTURES and pointed.get(item.number) == b"thmb":
            for start, length in item.extents[:1]:
                layout.add("preview", start, start + length, "thumbnail")
        elif item.kind in _PICTURES and not item.hidden and item.number not in parts_of:
            whole += pointed.get(item.number) not in (b"auxl", b"thmb")
    if any(box.kind == b"moov" for box in boxes.boxes(data)):
        return max(whole, 2)  # a sequence, whose frames are not counted
    return whole or 1
