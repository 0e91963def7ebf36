"""Where a picture file keeps its C2PA manifest store, and the address of one that lies elsewhere (C2PA 2.2,
annex A).
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from itertools import islice

from dfd.media import png_chunks, webp_chunks
from dfd.media.boxes import boxes
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import all_segments

MAX_STORE = 64_000_000  # bytes
_APP11 = 0xEB
_TIFF_TAG = 0xCD41
_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_GIF_BLOCK = b"\x21\xff\x0bC2PA_GIF\x01\x00\x00"
# in XMP, as an attribute or as an element; both packets and attributes have bounds
_REMOTE = re.compile(
    rb"""dcterms:provenance(?:\s{0,20}=\s{0,20}["']([^"'<>]{1,2000})["']|\s{0,20}>([^<>]{1,2000})<)"""
)


def manifest_store(data: bytes) -> bytes | None:
    """The bytes of a file's manifest store, JUMBF as it should be; None where the file has none."""
    for signature, at, reader in _READERS:
        if data.startswith(signature, at):
            try:
                store = reader(data)
            except (ValueError, struct.error):
                return None
            return store[:MAX_STORE] if store else None
    return None


def remote_manifest(data: bytes) -> str | None:
    """The address of a manifest that lies elsewhere, as the file's XMP names it; None where it names none."""
    for match in islice(_REMOTE.finditer(data), 100):
        address = (match[1] or match[2]).decode("utf-8", "replace").strip()
        if address and not address.startswith("self#"):
            return address
    return None


def _jpeg(data: bytes) -> bytes | None:
    """APP11 segments: "JP", a box's number (2 bytes), the segment's (4), and in each the head of the box."""
    parts: dict[int, dict[int, bytes]] = defaultdict(dict)
    if b"jumb" not in data:
        return None
    try:
        for marker, content, _ in all_segments(data):
            if marker == _APP11 and content[:2] == b"JP" and content[12:16] == b"jumb":
                box, number = struct.unpack(">HI", content[2:8])
                parts[box].setdefault(number, content[8:])
    except Undecodable:
        pass
    for pieces in parts.values():
        first, *others = (pieces[number] for number in sorted(pieces))
        head = 16 if first[:4] == b"\0\0\0\1" else 8
        store = first + b"".join(other[head:] for other in others)
        if _is_store(store):
            return store
    return None


def _is_store(store: bytes) -> bool:
    """Whether a box is described as C2PA's; JUMBF holds other things too, such as 360 degree pictures."""
    return b"c2pa" in store[:64]


def _png(data: bytes) -> bytes | None:
    places = (data[start + 8 : end - 4] for kind, start, end in png_chunks.chunks(data) if kind == b"caBX")
    return next(places, None)


def _webp(data: bytes) -> bytes | None:
    return next((bytes(body) for kind, body in webp_chunks.chunks(data) if kind == b"C2PA"), None)


def _tiff(data: bytes) -> bytes | None:
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack(f"{order}I", data[4:8])[0]
    num = struct.unpack(f"{order}H", data[at : at + 2])[0]
    for entry in range(at + 2, at + 2 + 12 * num, 12):
        tag, kind, count, value = struct.unpack(f"{order}HHII", data[entry : entry + 12])
        if tag == _TIFF_TAG and kind in (1, 7):
            return data[value : value + count]
    return None


def _bmff(data: bytes) -> bytes | None:
    for box in boxes(data):
        if box.kind == b"uuid" and data[box.body : box.body + 16] == _UUID:
            # version and flags, purpose, and the place of a Merkle box
            purpose, _, rest = data[box.body + 20 : box.end].partition(b"\0")
            if purpose in (b"manifest", b"original", b"update"):
                return rest[8:]
    return None


def _gif(data: bytes) -> bytes | None:
    at = data.find(_GIF_BLOCK)
    if at < 0:
        return None
    at, parts = at + len(_GIF_BLOCK), []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts)


_READERS = (
    (b"\xff\xd8", 0, _jpeg),
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"WEBP", 8, _webp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    (b"ftyp", 4, _bmff),
    (b"GIF8", 0, _gif),
)
