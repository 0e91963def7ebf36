"""Chunks of a WebP file (RFC 9649): those that pixels and orientation depend on, and the rest left out."""

from collections.abc import Iterator

from dfd.media.formats import Undecodable

_PIXELS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"VP8X", b"ANIM", b"ANMF"))
_FLAGS = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}  # of VP8X, for chunks that may follow
_MAX_CHUNKS = 10_000


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def without_metadata(data: bytes) -> bytes:
    """The WebP without profiles, unknown chunks and metadata that is cut off, its size as it is: libwebp
    refuses a file that says another one.

    Raises:
        Undecodable: a chunk of pixels is cut off.
    """
    first = {}
    kept = [
        (kind, body)
        for number, (kind, body) in enumerate(chunks(data))
        if kind in _PIXELS or (kind in (b"EXIF", b"XMP ") and first.setdefault(kind, number) == number)
    ]
    absent = sum(flag for kind, flag in _FLAGS.items() if kind not in first)
    parts = []
    for kind, body in kept:
        if kind == b"VP8X" and body:
            body = bytes((body[0] & ~absent,)) + body[1:]
        parts += [kind, len(body).to_bytes(4, "little"), body, bytes(len(body) % 2)]
    size = 4 + sum(map(len, parts))
    return b"".join((b"RIFF", size.to_bytes(4, "little"), b"WEBP", *parts))


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the first header of pixels gives; None where there is none.

    Raises:
        Undecodable: as of `chunks`.
    """
    for kind, body in chunks(data):
        if kind == b"VP8X" and len(body) >= 10:
            return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        if kind == b"VP8L" and len(body) >= 5:
            sides = int.from_bytes(body[1:5], "little")  # 14 bits each
            return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
        if kind == b"VP8 " and len(body) >= 10:
            return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk.

    Raises:
        Undecodable: a chunk of pixels is cut off, or there are more than 10,000.
    """
    at = 12
    for _ in range(_MAX_CHUNKS):
        kind, end = data[at : at + 4], at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if len(data) < at + 8 or end > len(data):
            if kind in _PIXELS:
                raise Undecodable(f"truncated WebP: it ends in a chunk {kind.decode().strip()}")
            return
        yield kind, data[at + 8 : end]
        at = end + end % 2
    raise Undecodable(f"damaged WebP: more than {_MAX_CHUNKS} chunks")
