"""EXIF of any picture file, in bounded time and memory: its five directories by tag name (CIPA DC-008).

`dfd.media.exif_block` finds the block and checks it; piexif names and reads what is left of it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from dfd.media.exif_block import (
    EXIF_POINTER,
    GPS_POINTER,
    INTEROP_POINTER,
    PREFIX,
    Block,
    find_block,
    read_block,
)

# a whole number, a fraction as (numerator, denominator), a decimal, a text, bytes, or several numbers
Value = int | float | str | bytes | tuple[int, int] | tuple[Any, ...]

_CHARSETS = {b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "iso2022_jp", bytes(8): "utf-8"}
_UNICODE = b"UNICODE\0"
_PIEXIF = {"ifd0": "0th", "exif": "Exif", "gps": "GPS", "interop": "Interop", "ifd1": "1st"}
_PILLOW = {"exif": EXIF_POINTER, "gps": GPS_POINTER, "interop": INTEROP_POINTER, "ifd1": 1}
_POINTERS = frozenset((EXIF_POINTER, GPS_POINTER, INTEROP_POINTER))
_ASCII = 2


@dataclass(frozen=True)
class Exif:
    """What the EXIF block of a file says. Every word in it is a stranger's.

    Texts lose the zero bytes at their end. Fractions are (numerator, denominator), as stored: `number` makes
    one number of them. Tags that the standard does not name are left out.

    Args:
        ifd0: of the picture: Make, Model, Software, DateTime, Orientation.
        exif: of the exposure: DateTimeOriginal, FNumber, PixelXDimension, UserComment.
        gps: of the place: GPSLatitude, GPSLatitudeRef, GPSDateStamp.
        interop: of compatibility: InteroperabilityIndex.
        ifd1: of the thumbnail, or of a TIFF's second page.
        thumbnail: the embedded preview as stored, a JPEG file as a rule; b"" where there is none.
        maker_note: bytes of the maker's own part; 0 where there is none.
        maker_note_head: its first 64 bytes, in which most makers name themselves.
        size: bytes of the whole block; of a TIFF, of the file. 0 where the file has no EXIF.
        byte_order: "little", "big"; "" where the file has no EXIF.
        problems: what breaks the standard, a sentence each.
    """

    ifd0: dict[str, Value] = field(default_factory=dict)
    exif: dict[str, Value] = field(default_factory=dict)
    gps: dict[str, Value] = field(default_factory=dict)
    interop: dict[str, Value] = field(default_factory=dict)
    ifd1: dict[str, Value] = field(default_factory=dict)
    thumbnail: bytes = b""
    maker_note: int = 0
    maker_note_head: bytes = b""
    size: int = 0
    byte_order: str = ""
    problems: tuple[str, ...] = ()

    @property
    def user_comment(self) -> str:
        """UserComment as text; "" where there is none. Image generators write their parameters there."""
        value = self.exif.get("UserComment", b"")
        if not isinstance(value, bytes):
            return value if isinstance(value, str) else ""
        charset, text = value[:8], value[8:]
        if (
            charset == _UNICODE
        ):  # of either byte order, which is not said: letters of most texts are below 256
            order = "le" if text[1::2].count(0) > text[::2].count(0) else "be"
            return text.decode(f"utf-16-{order}", "replace").strip("\0 ")
        encoding = _CHARSETS.get(charset)
        return (text if encoding else value).decode(encoding or "utf-8", "replace").strip("\0 ")


def read_exif(data: bytes) -> Exif:
    """The EXIF of a picture file: JPEG, TIFF, PNG, WebP, HEIC, AVIF. Empty of any other; never raises.

    Args:
        data: the whole file.
    """
    tiff, problems = find_block(data)
    if not tiff:
        return Exif(problems=tuple(problems))
    block = read_block(tiff)
    if block is None:
        return Exif(size=len(tiff), problems=(*problems, "the block does not begin as EXIF does"))
    problems += block.problems
    directories = _read(block, problems)
    return Exif(
        **directories,
        thumbnail=block.thumbnail,
        maker_note=block.maker_note,
        maker_note_head=block.maker_note_head,
        size=len(tiff),
        byte_order="little" if block.order == "<" else "big",
        problems=tuple(problems),
    )


def number(value: Value | None) -> float | None:
    """One number of a tag's value; None of a text, of several numbers, and of a fraction over zero."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int) for part in value):
        return value[0] / value[1] if value[1] else None
    return None


def _read(block: Block, problems: list[str]) -> dict[str, dict[str, Value]]:
    """The directories by piexif; by Pillow where that breaks."""
    written = block.written()
    for read in (_by_piexif, _by_pillow):
        try:
            return read(written)
        except Exception as error:  # a reader of a stranger's bytes may raise anything
            problems.append(f"{read.__name__[4:]} cannot read it: {type(error).__name__}")
    return {}


def _by_piexif(tiff: bytes) -> dict[str, dict[str, Value]]:
    import piexif

    # bytes that begin in no way that piexif knows, it takes for the path of a file, and opens that
    loaded = piexif.load(PREFIX + tiff)
    return {name: _named(name, loaded[theirs]) for name, theirs in _PIEXIF.items()}


def _by_pillow(tiff: bytes) -> dict[str, dict[str, Value]]:
    from PIL import Image

    tags = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags.load(PREFIX + tiff)
        named = {name: _named(name, dict(tags.get_ifd(pointer))) for name, pointer in _PILLOW.items()}
        return {"ifd0": _named("ifd0", dict(tags)), **named}


def _named(directory: str, tags: dict[int, Any]) -> dict[str, Value]:
    import piexif

    known = piexif.TAGS[_PIEXIF[directory]]
    return {
        known[tag]["name"]: _value(known[tag]["name"], known[tag]["type"], value)
        for tag, value in tags.items()
        if tag in known and tag not in _POINTERS
    }


def _value(name: str, kind: int, value: Any) -> Value:
    """As a reader gives it, in plain types.

    Args:
        kind: the type that the standard has for the tag.
    """
    if isinstance(value, bytes) and name.startswith("XP"):  # Windows writes its own in UTF-16
        return value.decode("utf-16-le", "replace").rstrip("\0")
    if isinstance(value, bytes) and kind == _ASCII:
        try:
            return value.decode("utf-8").rstrip("\0")
        except UnicodeDecodeError:
            return value.decode("latin-1").rstrip("\0")
    if isinstance(value, str):
        return value.rstrip("\0")
    if isinstance(value, (int, float, bytes)):
        return value
    if isinstance(value, tuple):
        return tuple(_value(name, kind, each) for each in value)
    return (int(value.numerator), int(value.denominator))  # Pillow's fraction
