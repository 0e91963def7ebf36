"""ICC profiles: description, colour space, date and creator (ICC.1:2022, 7.2)."""

from __future__ import annotations

import struct

_HEADER = 128
_MAX_TAGS = 100
_TEXTS = {b"desc": "Description", b"cprt": "Copyright", b"dmnd": "Manufacturer", b"dmdd": "Model"}


def read_icc(profile: bytes) -> list[tuple[str, str]]:
    """Name and value of what a profile says of itself; [] where the bytes are no profile."""
    if len(profile) < _HEADER or profile[36:40] != b"acsp":
        return []
    found = [(_TEXTS[tag], text) for tag, body in _tags(profile) if tag in _TEXTS and (text := _text(body))]
    found.append(("Colour space", _code(profile[16:20])))
    found.append(("Class", _code(profile[12:16])))
    found.append(("Version", f"{profile[8]}.{profile[9] >> 4}"))
    year, month, day, hour, minute, second = struct.unpack(">6H", profile[24:36])
    if year:
        found.append(("Date", f"{year:04}:{month:02}:{day:02} {hour:02}:{minute:02}:{second:02}"))
    codes = (("Creator", profile[80:84]), ("Device maker", profile[48:52]), ("Platform", profile[40:44]))
    found += [(name, _code(code)) for name, code in codes if _code(code)]
    return found


def _tags(profile: bytes):
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    for at in range(_HEADER + 4, _HEADER + 4 + 12 * min(count, _MAX_TAGS), 12):
        entry = profile[at : at + 12]
        if len(entry) < 12:
            return
        start, size = struct.unpack(">II", entry[4:])
        yield entry[:4], profile[start : start + min(size, 4000)]


def _text(body: bytes) -> str:
    """Of a tag of type desc, text or mluc; of the latter in its first language."""
    if body[:4] == b"desc":
        size = int.from_bytes(body[8:12], "big")
        return body[12 : 12 + size].split(b"\0")[0].decode("latin-1").strip()
    if body[:4] == b"text":
        return body[8:].split(b"\0")[0].decode("latin-1").strip()
    if body[:4] == b"mluc" and len(body) >= 28:
        size, start = struct.unpack(">II", body[20:28])
        return body[start : start + size].decode("utf-16-be", "replace").strip("\0 ")
    return ""


def _code(code: bytes) -> str:
    return code.decode("latin-1").strip("\0 ") if any(code) else ""
