"""Boxes of HEIC, AVIF, JPEG 2000 and MP4 files (ISO/IEC 14496-12), and the items of HEIF files (23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_BOXES = 10_000  # of one level; a photograph has 5 at the top
MAX_ITEMS = 10_000  # of one file; a photograph of 48 megapixels in tiles of 512 has 200
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))
MAX_METADATA = 16_000_000  # bytes of one item that are read


class Box(NamedTuple):
    kind: bytes  # 4 letters
    start: int  # of its head
    body: int  # first byte behind its head
    end: int  # behind its last byte; the file's end where it says more


class Item(NamedTuple):
    """Something that a HEIF file holds: a picture, a tile of one, a preview, metadata."""

    number: int
    kind: bytes  # hvc1, av01, grid, Exif, mime...
    extents: tuple[tuple[int, int], ...]  # start and length in the file of each part; () where elsewhere
    hidden: bool  # not to be shown by itself, as tiles are


def is_boxed(data: bytes) -> bool:
    """Whether a file begins as HEIC, AVIF and MP4 files do."""
    return data[4:8] == b"ftyp"


def is_heif(data: bytes) -> bool:
    """Whether it is a HEIC or HEIF picture; AVIF is another format, though it names their brands too."""
    named = set(brands(data)) if is_boxed(data) else set()
    return bool(named & HEIF_BRANDS) and not named & AVIF_BRANDS


def brands(data: bytes) -> tuple[bytes, ...]:
    """The major brand and the compatible ones; () where the file has none."""
    first = next(boxes(data), None)
    if first is None or first.kind != b"ftyp":
        return ()
    end = min(first.end, first.body + 4 * 64)
    named = [data[at : at + 4] for at in range(first.body, end - 3, 4)]
    return (*named[:1], *named[2:])


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of a level, MAX_BOXES at most; ends where the bytes are no boxes."""
    end = len(data) if end is None else end
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, body = (
            int.from_bytes(data[start : start + 4], "big"),
            data[start + 4 : start + 8],
            start + 8,
        )
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        elif size == 0:  # to the end of the file
            size = end - start
        if size < body - start or not _is_name(kind):
            return
        yield Box(kind, start, min(body, end), min(start + size, end))
        start += size


def child(data: bytes, parent: Box | None, kind: bytes) -> Box | None:
    """The first box of a kind inside another."""
    if parent is None:
        return None
    skipped = 4 if parent.kind == b"meta" else 0  # its version and flags
    inner = boxes(data, parent.body + skipped, parent.end)
    return next((box for box in inner if box.kind == kind), None)


def meta_box(data: bytes) -> Box | None:
    return next((box for box in boxes(data) if box.kind == b"meta"), None)


def primary_item(data: bytes) -> int | None:
    """Number of the picture that is shown."""
    box = child(data, meta_box(data), b"pitm")
    if box is None:
        return None
    wide = 4 if data[box.body : box.body + 1] != b"\0" else 2
    return int.from_bytes(data[box.body + 4 : box.body + 4 + wide], "big")


def items(data: bytes) -> list[Item]:
    """The items that a HEIF file lists, MAX_ITEMS at most."""
    meta = meta_box(data)
    listing = child(data, meta, b"iinf")
    if meta is None or listing is None:
        return []
    kinds: dict[int, tuple[bytes, bool]] = {}
    count = 2 if data[listing.body : listing.body + 1] == b"\0" else 4
    for box in boxes(data, listing.body + 4 + count, listing.end):
        version = data[box.body] if box.body < box.end else 0
        if box.kind != b"infe" or version < 2:
            continue
        wide = 2 if version == 2 else 4
        at = box.body + 4
        number = int.from_bytes(data[at : at + wide], "big")
        is_hidden = bool(data[box.body + 3] & 1) if box.body + 3 < box.end else False
        kinds[number] = (data[at + wide + 2 : at + wide + 6], is_hidden)
        if len(kinds) == MAX_ITEMS:
            break
    places = _locations(data, meta)
    return [Item(number, kind, places.get(number, ()), hidden) for number, (kind, hidden) in kinds.items()]


def references(data: bytes) -> list[tuple[bytes, int, tuple[int, ...]]]:
    """Kind (thmb, dimg, auxl, cdsc), from which item, to which, of each reference between items."""
    box = child(data, meta_box(data), b"iref")
    if box is None:
        return []
    wide = 2 if data[box.body : box.body + 1] == b"\0" else 4
    found = []
    for each in boxes(data, box.body + 4, box.end):
        count = int.from_bytes(data[each.body + wide : each.body + wide + 2], "big")
        first = each.body + wide + 2
        last = min(first + wide * count, each.end)
        ends = tuple(int.from_bytes(data[at : at + wide], "big") for at in range(first, last, wide))
        found.append((each.kind, int.from_bytes(data[each.body : each.body + wide], "big"), ends))
    return found


def has_profile(data: bytes) -> bool:
    """Whether a HEIF file holds an ICC profile; most say their colours by numbers instead (nclx)."""
    properties = child(data, child(data, meta_box(data), b"iprp"), b"ipco")
    if properties is None:
        return False
    inner = boxes(data, properties.body, properties.end)
    return any(box.kind == b"colr" and data[box.body : box.body + 4] in (b"prof", b"rICC") for box in inner)


def exif_block(data: bytes) -> bytes:
    """The EXIF of a HEIC or AVIF file as stored: "II" or "MM" first; b"" where it has none."""
    for item in items(data):
        if item.kind == b"Exif" and item.extents:
            block, room = b"", MAX_METADATA  # extents may say the same bytes again and again
            for start, length in item.extents:
                block += data[start : start + min(length, room - len(block))]
            # how far the TIFF header is behind this number; "Exif\0\0" may lie between
            return block[4 + int.from_bytes(block[:4], "big") :]
    return b""


def _locations(data: bytes, meta: Box) -> dict[int, tuple[tuple[int, int], ...]]:
    """Start and length of each extent of each item, where the file itself holds them."""
    box = child(data, meta, b"iloc")
    if box is None or box.body + 8 > box.end:
        return {}
    version, sizes = data[box.body], int.from_bytes(data[box.body + 4 : box.body + 6], "big")
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index_size = index_size if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    inside = child(data, meta, b"idat")
    reader = _Numbers(data, box.body + 6, box.end)
    found: dict[int, tuple[tuple[int, int], ...]] = {}
    extents_left = MAX_ITEMS
    for _ in range(min(reader.take(wide), MAX_ITEMS)):
        number = reader.take(wide)
        method = reader.take(2) & 15 if version in (1, 2) else 0
        reader.take(2)  # which file: 0 is this one
        base, count = reader.take(base_size), reader.take(2)
        extents = []
        for _ in range(min(count, extents_left)):
            extents_left -= 1
            reader.take(index_size)
            start, length = base + reader.take(offset_size), reader.take(length_size)
            if method == 1 and inside is not None:
                start += inside.body
            if method in (0, 1) and start < len(data):
                extents.append((start, min(length, len(data) - start)))
            if reader.ended:
                break
        found[number] = tuple(extents)
        if reader.ended or not extents_left:
            break
    return found


class _Numbers:
    """Numbers one after the other; 0 behind the end."""

    def __init__(self, data: bytes, at: int, end: int):
        self._data, self._at, self._end = data, at, end

    @property
    def ended(self) -> bool:
        return self._at >= self._end

    def take(self, size: int) -> int:
        value = int.from_bytes(self._data[self._at : min(self._at + size, self._end)], "big")
        self._at += size
        return value


def _is_name(kind: bytes) -> bool:
    """Whether four bytes may name a box: letters, digits, spaces; QuickTime has copyright signs too."""
    return all(32 <= byte < 127 or byte == 0xA9 for byte in kind)
