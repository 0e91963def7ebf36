"""Photoshop's image resources, and the IPTC IIM records and the preview that lie in them.

Adobe Photoshop File Formats Specification ("Image Resource Blocks"); IPTC Information Interchange Model 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

IPTC, QUALITY, PREVIEW, VERSION = 0x0404, 0x0406, 0x040C, 0x0421
_MAX_RESOURCES = 500
_MAX_RECORDS = 500
_UTF8 = b"\x1b%G"
_PREVIEW_HEAD = 28
# of record 2; the others are told by their number
_NAMES = {
    5: "ObjectName",
    10: "Urgency",
    12: "SubjectReference",
    15: "Category",
    20: "SupplementalCategories",
    22: "FixtureIdentifier",
    25: "Keywords",
    30: "ReleaseDate",
    35: "ReleaseTime",
    40: "SpecialInstructions",
    55: "DateCreated",
    60: "TimeCreated",
    62: "DigitalCreationDate",
    63: "DigitalCreationTime",
    65: "OriginatingProgram",
    70: "ProgramVersion",
    80: "By-line",
    85: "By-lineTitle",
    90: "City",
    92: "Sub-location",
    95: "Province-State",
    100: "Country-PrimaryLocationCode",
    101: "Country-PrimaryLocationName",
    103: "OriginalTransmissionReference",
    105: "Headline",
    110: "Credit",
    115: "Source",
    116: "CopyrightNotice",
    118: "Contact",
    120: "Caption-Abstract",
    122: "Writer-Editor",
}


def resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each image resource; ends where the bytes are none."""
    at = 0
    for _ in range(_MAX_RESOURCES):
        if block[at : at + 4] not in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
            return
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        named = 1 + (block[at + 6] if at + 6 < len(block) else 0)
        start = at + 6 + named + named % 2
        size = int.from_bytes(block[start : start + 4], "big")
        content = block[start + 4 : start + 4 + size]
        if len(content) < size or start + 4 > len(block):
            return
        yield number, content
        at = start + 4 + size + size % 2


def read_iptc(records: bytes) -> list[tuple[str, str]]:
    """Name and value of each IIM record, the envelope's left out."""
    encoding, found, at = "utf-8", [], 0
    for _ in range(_MAX_RECORDS):
        if at + 5 > len(records) or records[at] != 0x1C:
            break
        record, dataset = records[at + 1], records[at + 2]
        size, start = int.from_bytes(records[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # an extended size: of so many bytes
            wide = size & 0x7FFF
            if wide > 4:
                break
            size, start = int.from_bytes(records[start : start + wide], "big"), start + wide
        value, at = records[start : start + size], start + size
        if record == 1 and dataset == 90:
            encoding = "utf-8" if value == _UTF8 else "latin-1"
        if record == 2 and dataset:
            found.append((_NAMES.get(dataset, f"2:{dataset:03}"), _decoded(value, encoding)))
    return found


def preview(content: bytes) -> bytes:
    """The JPEG of a preview resource; b"" where it is not one."""
    return content[_PREVIEW_HEAD:] if content[_PREVIEW_HEAD : _PREVIEW_HEAD + 2] == b"\xff\xd8" else b""


def _decoded(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return value.decode("latin-1")
