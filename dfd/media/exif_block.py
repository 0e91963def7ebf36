"""EXIF blocks: where a file keeps one, and what of it is safe to hand to a reader (CIPA DC-008, TIFF 6.0).

A block of 26 bytes made piexif take 46 s and 8.7 GB, since it believes what an entry says is to be read. So
the directories are walked here first, within limits, and written anew: a reader sees a small block whose
counts and offsets are our own.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dfd.media import boxes, png_chunks, webp_chunks
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import read_header

PREFIX = b"Exif\0\0"
EXIF_POINTER, GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005
THUMBNAIL, THUMBNAIL_LENGTH, MAKER_NOTE = 0x0201, 0x0202, 0x927C

# bytes a value, by its type: BYTE, ASCII, SHORT, LONG, RATIONAL, the signed ones, FLOAT, DOUBLE, IFD
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTE, _ASCII, _SHORT, _LONG, _UNDEFINED, _SSHORT, _SLONG, _IFD = 1, 2, 3, 4, 7, 8, 9, 13
_AS_BYTES = frozenset((1, 2, 6, 7))
_MAX_TAGS = 2_000  # of one block; a camera writes 60
_MAX_BYTES = 4_000_000  # of all values together
_MAX_NUMBERS = 50_000  # of all values that are not bytes: each costs a microsecond
_MAX_PROBLEMS = 30
_MAX_TEXT = 1 << 20  # of a PNG's packed text

Name = Literal["ifd0", "exif", "gps", "interop", "ifd1"]


class Entry(NamedTuple):
    """A tag as stored."""

    tag: int
    type: int
    count: int
    value: bytes  # count values, in the block's byte order


@dataclass
class Block:
    """The directories of an EXIF block, without what reaches out of it or is beyond the limits.

    Args:
        order: "<" for Intel's byte order, ">" for Motorola's.
        directories: entries of each, in their order.
        thumbnail: the preview as stored, a JPEG file as a rule; b"" where there is none.
        maker_note: bytes of the maker's own part.
        maker_note_head: its first 64 bytes, in which most makers name themselves.
        problems: what breaks the standard.
    """

    order: Literal["<", ">"]
    directories: dict[Name, list[Entry]] = field(default_factory=dict)
    thumbnail: bytes = b""
    maker_note: int = 0
    maker_note_head: bytes = b""
    problems: list[str] = field(default_factory=list)

    def written(self) -> bytes:
        """The block as a TIFF file of its own, without the thumbnail and the maker's part."""
        return _written(self)


def find_block(data: bytes) -> tuple[bytes, list[str]]:
    """The EXIF block of a picture file, from its "II" or "MM" on, b"" where it has none; and problems."""
    problems: list[str] = []
    try:
        block = _found(data, problems)
    except Undecodable as error:
        return b"", [str(error)]
    return block.removeprefix(PREFIX), problems


def read_block(tiff: bytes) -> Block | None:
    """Its directories; None where it does not begin as a TIFF file does."""
    order: Literal["<", ">"] = "<" if tiff[:2] == b"II" else ">"
    if tiff[:4] not in (b"II*\0", b"MM\0*") or len(tiff) < 8:
        return None
    block = Block(order)
    _Walk(tiff, block).read()
    block.problems = block.problems[:_MAX_PROBLEMS]
    return block


def _found(data: bytes, problems: list[str]) -> bytes:
    if data[:2] == b"\xff\xd8":
        return _in_jpeg(data, problems)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    if data[:4] in (b"II+\0", b"MM\0+"):
        problems.append("a BigTIFF, whose tags are not read")
    elif data.startswith(png_chunks.SIGNATURE):
        return _in_png(data)
    elif webp_chunks.is_webp(data):
        return next((body for kind, body in webp_chunks.chunks(data) if kind == b"EXIF"), b"")
    elif boxes.is_boxed(data):
        return boxes.exif_block(data)
    return b""


def _in_jpeg(data: bytes, problems: list[str]) -> bytes:
    first, *more = [content for content in read_header(data).app1 if content.startswith(PREFIX)] or [b""]
    parts = [first]
    for content in more:  # a block of more than 64 KB is continued; one that begins anew is another
        if content[6:10] in (b"II*\0", b"MM\0*"):
            problems.append("a second EXIF block, which is not read")
        else:
            parts.append(content[len(PREFIX) :])
    return b"".join(parts)


def _in_png(data: bytes) -> bytes:
    for kind, start, end in png_chunks.chunks(data):
        body = slice(start + 8, end - 4)
        if kind == b"eXIf":
            return data[body]
        if kind == b"zTXt" and data.startswith(b"Raw profile type exif\0\0", start + 8):
            return _from_hex(data[body][23:])
    return b""


def _from_hex(packed: bytes) -> bytes:
    """What ImageMagick wrote before PNG had a chunk for it: name, length, hexadecimal digits, packed."""
    try:
        text = zlib.decompressobj().decompress(packed, 2 * _MAX_TEXT)
        return bytes.fromhex(text.split(None, 2)[2].decode("ascii"))
    except (zlib.error, ValueError, IndexError):
        return b""


class _Walk:
    """Reads the five directories of a block, each once, so that no pointers lead in circles."""

    def __init__(self, tiff: bytes, block: Block):
        self.tiff, self.block, self.order = tiff, block, block.order
        self.tags, self.bytes, self.numbers = _MAX_TAGS, _MAX_BYTES, _MAX_NUMBERS
        self.visited: set[int] = set()

    def read(self) -> None:
        following = self._directory("ifd0", self._number(4, "I"))
        main = self.block.directories.get("ifd0", [])
        self._directory("exif", self._pointer(main, EXIF_POINTER))
        self._directory("gps", self._pointer(main, GPS_POINTER))
        self._directory("interop", self._pointer(self.block.directories.get("exif", []), INTEROP_POINTER))
        self._directory("ifd1", following)
        self._thumbnail()

    def _directory(self, name: Name, at: int) -> int:
        """Reads one directory; gives the place of the one that follows, 0 for none."""
        if not at:
            return 0
        if at < 8 or at + 2 > len(self.tiff):
            self._problem(f"{name} would begin at byte {at} of {len(self.tiff)}")
            return 0
        if at in self.visited:
            self._problem(f"{name} is a directory that was read already")
            return 0
        self.visited.add(at)
        count = self._number(at, "H")
        whole = (len(self.tiff) - at - 2) // 12
        if count > whole:
            self._problem(f"{name} says {count} tags, and {whole} of them are in the block")
        seen: dict[int, Entry] = {}
        for place in range(at + 2, at + 2 + 12 * min(count, whole), 12):
            self.tags -= 1
            if self.tags < 0:
                self._problem(f"more than {_MAX_TAGS} tags")
                break
            entry = self._entry(name, place)
            if entry is not None and entry.tag in seen:
                self._problem(f"{name} has tag {entry.tag:#06x} twice")
            elif entry is not None:
                seen[entry.tag] = entry
        self.block.directories[name] = list(seen.values())
        end = at + 2 + 12 * count
        return self._number(end, "I") if end + 4 <= len(self.tiff) else 0

    def _entry(self, name: Name, place: int) -> Entry | None:
        tag, kind, count = struct.unpack_from(f"{self.order}HHI", self.tiff, place)
        if kind not in _SIZES:
            self._problem(f"{name}: tag {tag:#06x} is of a type {kind} that there is not")
            return None
        if not count:
            return None
        size = count * _SIZES[kind]
        start = place + 8 if size <= 4 else self._number(place + 8, "I")
        if start + size > len(self.tiff):
            self._problem(f"{name}: tag {tag:#06x} reaches out of the block")
            return None
        if tag == MAKER_NOTE and name == "exif":
            self.block.maker_note = size
            self.block.maker_note_head = self.tiff[start : start + min(size, 64)]
            return None
        if size > self.bytes or (kind not in _AS_BYTES and count > self.numbers):
            self._problem(f"{name}: tag {tag:#06x} has {size} bytes, which are not read")
            return None
        self.bytes -= size
        self.numbers -= 0 if kind in _AS_BYTES else count
        return Entry(tag, kind, count, self.tiff[start : start + size])

    def _pointer(self, entries: list[Entry], tag: int) -> int:
        """Where a directory lies that a tag points to; 0 for nowhere."""
        for entry in entries:
            if entry.tag == tag and entry.type in (_LONG, _IFD) and entry.count == 1:
                return int.from_bytes(entry.value, "little" if self.order == "<" else "big")
        return 0

    def _thumbnail(self) -> None:
        place, length = (self._whole(tag) for tag in (THUMBNAIL, THUMBNAIL_LENGTH))
        if not place or not length:
            return
        if place + length > len(self.tiff):
            self._problem(
                f"the thumbnail says {length} bytes, and {max(0, len(self.tiff) - place)} are there"
            )
        self.block.thumbnail = self.tiff[place : place + min(length, _MAX_BYTES)]
        if self.block.thumbnail[:2] != b"\xff\xd8":
            self._problem("the thumbnail is no JPEG")

    def _whole(self, tag: int) -> int:
        """A whole number of the thumbnail's directory; 0 where it is none."""
        for entry in self.block.directories.get("ifd1", []):
            if entry.tag == tag and entry.type in (_SHORT, _LONG) and entry.count == 1:
                return int.from_bytes(entry.value, "little" if self.order == "<" else "big")
        return 0

    def _number(self, at: int, form: Literal["H", "I"]) -> int:
        return struct.unpack_from(self.order + form, self.tiff, at)[0]

    def _problem(self, text: str) -> None:
        if len(self.block.problems) < _MAX_PROBLEMS:
            self.block.problems.append(text)


_LEFT_OUT = frozenset((EXIF_POINTER, GPS_POINTER, INTEROP_POINTER, THUMBNAIL, THUMBNAIL_LENGTH))
_POINTERS: dict[Name, tuple[tuple[int, Name], ...]] = {
    "ifd0": ((EXIF_POINTER, "exif"), (GPS_POINTER, "gps")),
    "exif": ((INTEROP_POINTER, "interop"),),
}
_NAMES: tuple[Name, ...] = ("ifd0", "exif", "gps", "interop", "ifd1")


def _written(block: Block) -> bytes:
    names = [name for name in _NAMES if name == "ifd0" or name in block.directories]
    starts = dict.fromkeys(names, 0)
    at = 8
    for name in names:
        starts[name] = at
        at += len(_directory(_entries(block, name, starts), 0, 0, block.order))
    parts = [b"II*\0" if block.order == "<" else b"MM\0*", struct.pack(f"{block.order}I", 8)]
    for name in names:
        following = starts.get("ifd1", 0) if name == "ifd0" else 0
        parts.append(_directory(_entries(block, name, starts), starts[name], following, block.order))
    return b"".join(parts)


def _entries(block: Block, name: Name, starts: dict[Name, int]) -> list[Entry]:
    """A directory's entries as piexif reads them rightly, and one for each directory that it points to."""
    own = [_plain(each, block.order) for each in block.directories.get(name, []) if each.tag not in _LEFT_OUT]
    return own + [
        Entry(tag, _LONG, 1, struct.pack(f"{block.order}I", starts[to]))
        for tag, to in _POINTERS.get(name, ())
        if to in starts
    ]


def _plain(entry: Entry, order: str) -> Entry:
    """piexif takes the last byte of a text for its end, makes numbers of bytes, breaks on a signed SHORT, and
    knows no type IFD.
    """
    if entry.type == _BYTE and entry.count > 4:
        return entry._replace(type=_UNDEFINED)
    if entry.type == _ASCII and not entry.value.endswith(b"\0"):
        return entry._replace(count=entry.count + 1, value=entry.value + b"\0")
    if entry.type == _SSHORT:
        numbers = struct.unpack(f"{order}{entry.count}h", entry.value)
        return entry._replace(type=_SLONG, value=struct.pack(f"{order}{entry.count}i", *numbers))
    return entry._replace(type=_LONG) if entry.type == _IFD else entry


def _directory(entries: list[Entry], start: int, following: int, order: str) -> bytes:
    at = start + 2 + 12 * len(entries) + 4
    parts = [struct.pack(f"{order}H", len(entries))]
    for tag, kind, count, value in entries:
        fits = len(value) <= 4
        parts.append(struct.pack(f"{order}HHI", tag, kind, count))
        parts.append(value.ljust(4, b"\0") if fits else struct.pack(f"{order}I", at))
        at += 0 if fits else len(value)
    parts.append(struct.pack(f"{order}I", following))
    return b"".join((*parts, *(entry.value for entry in entries if len(entry.value) > 4)))
