"""Metadata of a picture file, every field by its origin: EXIF, XMP, IPTC, ICC, JFIF, texts, previews."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from dfd.forensics.metadata.blocks import MAX_PACKETS, Blocks
from dfd.forensics.metadata.containers import find_blocks
from dfd.forensics.metadata.icc import read_icc
from dfd.forensics.metadata.makers import note_maker
from dfd.forensics.metadata.photoshop import IPTC, PREVIEW, preview, read_iptc, resources
from dfd.forensics.metadata.xmp import read_xmp
from dfd.media.exif import Exif, read_exif
from dfd.media.jpeg_segments import FRAMES, MAX_SEGMENTS, segments
from dfd.media.png_chunks import SIGNATURE
from dfd.media.webp_chunks import is_webp

MAX_FIELDS = 2_000
MAX_VALUE = 20_000  # characters of one value; a page shows fewer
_OF_PIXELS = frozenset(("JFIF", "ICC", "File"))  # origins that tell of no camera, program, date or place
_DIRECTORIES = ("ifd0", "exif", "gps", "interop", "ifd1")


class Field(NamedTuple):
    """One thing that a file says of itself. Name and value are a stranger's."""

    origin: str  # EXIF, GPS, EXIF thumbnail, XMP, IPTC, Photoshop, ICC, JFIF, COM, tEXt, PNG, ...
    name: str
    value: str


class Thumbnail(NamedTuple):
    """A preview inside the file: a JPEG, or RGB of so many pixels."""

    origin: str
    data: bytes
    width: int = 0  # 0 of a JPEG
    height: int = 0


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself beside its pixels.

    Args:
        fields: all of it, in the order of the file's kinds of metadata.
        exif: the EXIF block by directories and tags.
        thumbnails: previews, the one of the EXIF block first.
        maker: whose maker note it is by its first letters; "" where there is none, or none that is known.
        jfif: whether a JPEG has the segment JFIF, which few cameras write.
        adobe: whether a JPEG has the segment APP14 of Adobe.
        problems: what breaks a standard, or is too large to be read, a sentence each.
    """

    fields: tuple[Field, ...]
    exif: Exif
    thumbnails: tuple[Thumbnail, ...] = ()
    maker: str = ""
    jfif: bool = False
    adobe: bool = False
    problems: tuple[str, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether the file says more of itself than how its pixels are stored."""
        return any(each.origin not in _OF_PIXELS for each in self.fields)

    def all(self, origin: str, name: str = "") -> list[str]:
        """Values of an origin, of a name where one is given."""
        return [each.value for each in self.fields if each.origin == origin and name in ("", each.name)]

    def get(self, origin: str, name: str) -> str:
        """The first value of a field; "" where it is not there."""
        return next(iter(self.all(origin, name)), "")


def read_metadata(data: bytes) -> Metadata:
    """The metadata of a picture file of any format, in bounded time and memory; never raises.

    Args:
        data: the whole file.
    """
    exif, blocks = read_exif(data), find_blocks(data)
    problems = [*exif.problems, *blocks.problems]
    fields: list[Field] = []
    for each in _fields(exif, blocks, problems):
        if len(fields) == MAX_FIELDS:
            problems.append(f"more than {MAX_FIELDS} fields")
            break
        fields.append(each._replace(value=_printable(each.value[:MAX_VALUE])))
    return Metadata(
        fields=tuple(fields),
        exif=exif,
        thumbnails=tuple(_thumbnails(exif, blocks)),
        maker=note_maker(exif),
        jfif=bool(blocks.jfif),
        adobe=blocks.adobe,
        problems=tuple(problems),
    )


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a JPEG, PNG, WebP or GIF has them; None where there is none."""
    if data[:2] == b"\xff\xd8":
        for marker, segment in islice(segments(data), MAX_SEGMENTS):
            if marker in FRAMES and len(segment) > 9:
                return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
    elif data.startswith(SIGNATURE) and data[12:16] == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif is_webp(data):
        return _webp_size(data[12:16], data[20:30])
    elif data[:4] == b"GIF8":
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return None


def _webp_size(kind: bytes, head: bytes) -> tuple[int, int] | None:
    """By the first chunk's name and first bytes (RFC 9649, 2.5 to 2.7)."""
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _fields(exif: Exif, blocks: Blocks, problems: list[str]) -> Iterator[Field]:
    yield from _exif_fields(exif)
    for packet in blocks.xmp[: 2 * MAX_PACKETS]:
        properties, problem = read_xmp(packet)
        problems += [problem] if problem else []
        yield from (Field("XMP", *each) for each in properties)
    yield from _photoshop_fields(blocks)
    yield from (Field("ICC", *each) for each in read_icc(blocks.icc))
    if blocks.jfif:
        yield from _jfif_fields(blocks.jfif)
    yield from (Field(*text) for text in blocks.texts)
    if blocks.modified:
        yield Field("PNG", "tIME", blocks.modified)
    yield from (Field("File", name, value or "present") for name, value in blocks.others)


def _exif_fields(exif: Exif) -> Iterator[Field]:
    names = {"gps": "GPS", "ifd1": "EXIF thumbnail"}
    for directory in _DIRECTORIES:
        for name, value in getattr(exif, directory).items():
            text = exif.user_comment if name == "UserComment" else _text(value)
            if text:
                yield Field(names.get(directory, "EXIF"), name, text)
    if exif.maker_note:
        maker = note_maker(exif) or "unknown maker"
        yield Field("EXIF", "MakerNote", f"{maker}, {exif.maker_note} bytes")
    if exif.thumbnail:
        yield Field("EXIF thumbnail", "JPEG", f"{len(exif.thumbnail)} bytes")


def _photoshop_fields(blocks: Blocks) -> Iterator[Field]:
    records = [blocks.iptc] if blocks.iptc else []
    numbers = []
    for number, content in resources(blocks.photoshop):
        records += [content] if number == IPTC else []
        numbers.append(f"{number:#06x}")
    for each in records:
        yield from (Field("IPTC", *record) for record in read_iptc(each))
    if numbers:
        yield Field("Photoshop", "resources", " ".join(numbers))


def _jfif_fields(jfif: bytes) -> Iterator[Field]:
    if len(jfif) < 7:
        return
    units = {0: "(an aspect)", 1: "per inch", 2: "per cm"}
    yield Field("JFIF", "version", f"{jfif[0]}.{jfif[1]:02}")
    across, down = int.from_bytes(jfif[3:5], "big"), int.from_bytes(jfif[5:7], "big")
    yield Field("JFIF", "density", f"{across} x {down} {units.get(jfif[2], f'of unit {jfif[2]}')}")


def _thumbnails(exif: Exif, blocks: Blocks) -> Iterator[Thumbnail]:
    if exif.thumbnail:
        yield Thumbnail("EXIF", exif.thumbnail)
    yield from (Thumbnail(origin, data, *size) for origin, *size, data in blocks.previews)
    for number, content in resources(blocks.photoshop):
        if number == PREVIEW and preview(content):
            yield Thumbnail("Photoshop", preview(content))


def _text(value: object) -> str:
    """A tag's value as a person reads it: a fraction as a decimal number, bytes as text where they are."""
    if isinstance(value, bytes):
        text = value.rstrip(b"\0 ")
        if len(value) == 1 and not _is_plain(value):
            return str(value[0])
        return text.decode("ascii") if text.isascii() and _is_plain(text) else f"{len(value)} bytes"
    if isinstance(value, tuple) and len(value) == 2 and all(type(part) is int for part in value):
        return f"{value[0] / value[1]:.10g}" if value[1] else f"{value[0]}/0"
    if isinstance(value, tuple):
        return " ".join(_text(part) for part in value[:64])
    return str(value).strip()


def _is_plain(text: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text)


def _printable(text: str) -> str:
    """Without control characters and marks of writing direction, by which a text could look like another."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text).strip()
