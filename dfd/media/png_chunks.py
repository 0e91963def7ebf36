"""Chunks of a PNG file (W3C PNG, third edition): those that pixels depend on, and the rest left out."""

import zlib
from collections.abc import Iterator

from dfd.media.formats import Undecodable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# header, palette, pixels, transparency; the frames of an animation; the orientation
_PIXELS = frozenset((b"IHDR", b"PLTE", b"IDAT", b"tRNS"))
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_PALETTE = 3  # the type of colours by which pixels are numbers of a palette
_KEPT = _PIXELS | {b"acTL", b"fcTL", b"fdAT", b"eXIf", b"IEND"}
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
# texts in which some tools write the orientation
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_MAX_CHUNKS = 100_000  # of one file: 256 MB in the usual 8 KB are a third of it
_MAX_TEXT = 1 << 20  # bytes of such a text; larger ones are left out like all others


def depth(data: bytes) -> int:
    """Bits a sample, as its header has it."""
    return data[24] if len(data) > 24 else 0


def without_metadata(data: bytes) -> bytes:
    """The PNG without what says nothing of its pixels or of which way up they are.

    Texts, profiles and unknown chunks may be of any size, and may be broken: libpng only warns of that.

    Raises:
        Undecodable: a chunk that the pixels depend on is cut off, or is not what its checksum says.
    """
    kept, size, dropped, texts = [SIGNATURE], len(SIGNATURE), False, set(_ORIENTATION)
    colours, seen, palette = data[25] if len(data) > 25 else 0, set(), 0
    for kind, start, end in chunks(data):
        if kind[:1].isupper() and kind not in _CRITICAL:
            unknown = kind.decode("ascii", "backslashreplace")
            raise Undecodable(f"a PNG with a chunk {unknown}, which changes its pixels and is not known")
        if (kind == b"IHDR") == bool(seen) or (kind == b"IDAT" and colours == _PALETTE and not palette):
            raise Undecodable("damaged PNG: it has no header, two headers or no palette")
        body = memoryview(data)[start + 8 : end - 4]
        name = next((text for text in texts if data.startswith(text, start + 8)), None)
        is_kept = (
            _has_meaning(kind, len(body), colours, palette, b"IDAT" in seen)
            if kind in (b"PLTE", b"tRNS")
            else kind in _KEPT or (kind in _TEXTS and name is not None and _is_small(kind, bytes(body)))
        )
        if is_kept and zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
            if kind in _PIXELS:
                raise Undecodable(f"damaged PNG: the checksum of a chunk {kind.decode()} does not match")
            is_kept = False
        if is_kept:
            texts.discard(name)
            kept.append(memoryview(data)[start:end])
            size += end - start
            palette = len(body) // 3 if kind == b"PLTE" else palette
        seen.add(kind)
        dropped |= not is_kept
    if not dropped and size == len(data):
        return data
    return b"".join(kept) + b"\0\0\0\0IEND\xaeB`\x82"


def _has_meaning(kind: bytes, length: int, colours: int, palette: int, pixels_seen: bool) -> bool:
    """Whether a palette, or transparency, belongs to a picture of such colours; libpng passes over others."""
    if kind == b"PLTE":
        return colours == _PALETTE
    if pixels_seen:
        return False
    return 0 < length <= palette if colours == _PALETTE else length == {0: 2, 2: 6}.get(colours)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk up to IEND, its length and checksum included.

    Raises:
        Undecodable: a chunk of pixels is cut off, or there are more than 100,000.
    """
    at, left = len(SIGNATURE), _MAX_CHUNKS
    while at + 12 <= len(data):
        left -= 1
        if not left:
            raise Undecodable(f"damaged PNG: more than {_MAX_CHUNKS} chunks")
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            if kind in _PIXELS:
                raise Undecodable(f"truncated PNG: it ends in a chunk {kind.decode()}")
            return
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def _is_small(kind: bytes, body: bytes) -> bool:
    """Whether a text is small, unpacked as well, of whose packed form only so much is unpacked."""
    if len(body) > _MAX_TEXT:
        return False
    after = body[body.find(b"\0") + 1 :]
    if kind == b"iTXt" and after[:1] == b"\1":
        packed = after[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        packed = after[1:]
    else:
        return True
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, _MAX_TEXT)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
