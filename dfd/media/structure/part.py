"""Part: a stretch of a file; and how what lies behind a picture is named."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

# picture: the pixels. metadata: what describes them. preview: a smaller copy. further picture: of an MPO.
# video: of a motion photo. padding: nothing but zeros, or but 0xFF. slack: what a device had in memory.
# trailer: of a known maker or program. gap: bytes between parts that belong to none. appended: what nothing
# accounts for.
Kind = Literal[
    "picture",
    "metadata",
    "preview",
    "further picture",
    "video",
    "padding",
    "slack",
    "trailer",
    "gap",
    "appended",
]

_MARKS = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"7z\xbc\xaf'\x1c", "7z"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"%PDF-", "pdf"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x7fELF", "program"),
    (0, b"MZ\x90\0", "program"),
    (0, b"\xca\xfe\xba\xbe", "program"),
    (0, b"#!/", "script"),
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
)
_MARKUP = re.compile(rb"<(\?php|script|html|!doctype html|svg)", re.IGNORECASE)
_FILLING = re.compile(rb"\0+|\xff+|[\r\n]+")
_MAX_PARTS = 1000  # of one file
# what any picture has
ORDINARY = ("metadata", "picture")
_LOOKED_AT = 4096  # bytes by which a text is known
# a device that writes whole blocks pads with zeros, and then leaves what was in memory
_PAD_BEFORE_SLACK, _DISK_BLOCK = 128, 512


@dataclass(frozen=True)
class Part:
    """A stretch of a file.

    Args:
        kind: one of Kind.
        start: its first byte.
        length: in bytes.
        what: its name: a segment's, a maker's, a format's.
    """

    kind: Kind
    start: int
    length: int
    what: str = ""

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass
class Layout:
    """What a reader of one format found."""

    end: int
    pictures: int = 1
    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, kind: Kind, start: int, end: int, what: str = "") -> None:
        # what is strange is never left out: a thousand comments would hide it
        if kind not in ORDINARY or len(self.parts) < _MAX_PARTS:
            self.parts.append(Part(kind, start, end - start, what))

    def add_rest(self, data: bytes, start: int) -> None:
        """What lies behind the last part that the format knows, to the end of the file."""
        self.parts += unexplained(data, start)


def looks_like(data: bytes, start: int = 0) -> str:
    """What bytes are by their beginning: zip, jpeg, mp4, html, script, program...; text, or data."""
    head = data[start : start + _LOOKED_AT]
    for at, mark, name in _MARKS:
        if head[at : at + len(mark)] == mark:
            return name
    if found := _MARKUP.search(head):
        word = found[1].lower()
        return "php" if word == b"?php" else "svg" if word == b"svg" else "html"
    printable = sum(9 <= byte < 127 and (byte > 31 or byte in (9, 10, 13)) for byte in head)
    return "text" if head and printable >= 0.97 * len(head) else "data"


def unexplained(data: bytes, start: int) -> list[Part]:
    """Parts of what lies behind a picture: filling, then what nothing accounts for."""
    if start >= len(data):
        return []
    filling = _FILLING.match(data, start)
    begin = _behind(data, start, filling.end()) if filling else start
    parts = [Part("padding", start, begin - start)] if begin > start else []
    if begin == len(data):
        return parts
    what = looks_like(data, begin)
    if what in ("data", "text") and (name := known_trailer(data)):
        return [*parts, Part("trailer", begin, len(data) - begin, name)]
    is_slack = what == "data" and begin - start >= _PAD_BEFORE_SLACK and len(data) % _DISK_BLOCK == 0
    return [*parts, Part("slack" if is_slack else "appended", begin, len(data) - begin, what)]


def _behind(data: bytes, start: int, end: int) -> int:
    """The end of filling whose last bytes may be the first ones of a JPEG (0xFF) or of a film (zeros)."""
    begins = (end - back for back in (3, 2, 1) if end - back >= start)
    return next((at for at in begins if looks_like(data, at) in ("jpeg", "mp4")), end)


def known_trailer(data: bytes) -> str:
    """Who wrote the end of a file, of those who mark it; "" of others."""
    tail = data[-128:]
    for name, is_theirs in _TRAILERS:
        if is_theirs(tail):
            return name
    return ""


_TRAILERS = (
    ("Samsung", lambda tail: tail.endswith(b"SEFT")),
    ("Canon VRD", lambda tail: tail[-64:].startswith(b"CANON OPTIONAL DATA\0")),
    ("Photo Mechanic", lambda tail: tail.endswith(b"cbipcbbl")),
    ("FotoStation", lambda tail: tail.endswith(b"\xa1\xb2\xc3\xd4")),
    ("AFCP", lambda tail: tail[-12:-8] in (b"AXS!", b"AXS*")),
    ("Insta360", lambda tail: tail.endswith(b"8db42d694ccc418790edff439fe026bf")),
    ("MIE", lambda tail: b"~\0\4\0zmie~\0\0" in tail[-24:]),
)
