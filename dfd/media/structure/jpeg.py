"""Structure of JPEG files: segments, previews, and what follows: pictures (MPO), a film (motion photo)."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from dfd.media import boxes
from dfd.media.exif_block import PREFIX, read_block
from dfd.media.formats import Undecodable
from dfd.media.jpeg_segments import END, EXIF, METADATA, Place, places
from dfd.media.structure.part import Layout, looks_like, unexplained

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MPF, _PHOTOSHOP = b"MPF\0", b"Photoshop 3.0\0"
_NAMES = (
    (0xE0, b"JFIF\0", "JFIF"),
    (0xE0, b"JFXX\0", "JFIF extension"),
    (0xE1, PREFIX, "EXIF"),
    (0xE1, _XMP, "XMP"),
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0", "XMP extension"),
    (0xE2, b"ICC_PROFILE\0", "ICC profile"),
    (0xE2, _MPF, "list of pictures (MPF)"),
    (0xE2, b"urn:iso:std:iso:ts:21496", "gain map"),
    (0xEB, b"JP", "C2PA (JUMBF)"),
    (0xED, _PHOTOSHOP, "Photoshop, IPTC"),
    (0xEE, b"Adobe", "Adobe"),
    (0xFE, b"", "comment"),
)
_THUMBNAIL = re.compile(rb"8BIM\x04[\x09\x0c]..(?:.){4}", re.DOTALL)
_THUMBNAIL_HEAD = 28  # bytes before the JPEG in Photoshop's thumbnail resource
_MAX_PICTURES = 100
_MAX_LOOKED_INTO = 50  # segments of metadata in which previews and lists are looked for
_MAX_PIECES = 20  # behind the first picture
# what programs write into XMP of a file with a film, or with further pictures, behind the picture
_FILM = re.compile(rb"MotionPhoto|MicroVideo|MotionPhoto_Data", re.IGNORECASE)
_LENGTH = re.compile(rb"Item:Length=[\"'](\d{1,10})[\"']")


class _Named(NamedTuple):
    """What the metadata say lies behind the picture."""

    pictures: frozenset[int]  # where MPF says that one begins
    lengths: frozenset[int]  # bytes of each item, as XMP says
    film: bool


def read(data: bytes) -> Layout:
    """The segments of the first picture, and what follows it."""
    layout = Layout(len(data))
    body, last, looked_into = 0, 2, 0
    found: list[Place] = []
    try:
        for place in places(data):
            found.append(place)
            gap = data[last : place.start]
            if gap.strip(gap[:1]):
                layout.add("gap", last, place.start, looks_like(gap))
            if place.marker in METADATA:
                layout.add("metadata", place.start, place.end, _name(data, place))
                looked_into += 1
                if looked_into <= _MAX_LOOKED_INTO:
                    _add_previews(layout, data, place)
            elif place.marker != END:
                body = body or place.start
            last = place.end
    except Undecodable as error:
        layout.problems.append(str(error))
    if body:
        layout.add("picture", body, last)
    if not found or found[-1].marker != END:
        layout.problems.append("it has no end marker")
        return layout
    layout.end = last
    _add_rest(layout, data, _named(data, found))
    return layout


def _name(data: bytes, place: Place) -> str:
    for marker, start, name in _NAMES:
        if marker == place.marker and data.startswith(start, place.content):
            return name
    return f"APP{place.marker - 0xE0}"


def _add_previews(layout: Layout, data: bytes, place: Place) -> None:
    """Thumbnails inside EXIF, JFXX and Photoshop's segment."""
    content = data[place.content : place.end]
    if place.marker == EXIF and content.startswith(PREFIX):
        block = read_block(content[len(PREFIX) :])
        at = content.find(block.thumbnail) if block is not None and block.thumbnail else -1
        if block is not None and at >= 0:
            start = place.content + at
            layout.add("preview", start, start + len(block.thumbnail), "EXIF thumbnail")
    elif content.startswith(b"JFXX\0\x10"):
        layout.add("preview", place.content + 6, place.end, "JFIF thumbnail")
    elif content.startswith(_PHOTOSHOP) and (found := _THUMBNAIL.search(content)):
        length = int.from_bytes(content[found.end() - 4 : found.end()], "big")
        start = place.content + found.end() + _THUMBNAIL_HEAD
        end = min(start + length - _THUMBNAIL_HEAD, place.end)
        if end > start:
            layout.add("preview", start, end, "Photoshop thumbnail")


def _named(data: bytes, found: list[Place]) -> _Named:
    pictures: set[int] = set()
    lengths: set[int] = set()
    film = False
    for place in [place for place in found if place.marker in METADATA][:_MAX_LOOKED_INTO]:
        content = data[place.content : place.end]
        if content.startswith(_MPF):
            pictures |= _mpf_pictures(content[len(_MPF) :], place.content + len(_MPF))
        elif content.startswith(_XMP):
            lengths |= {int(each) for each in _LENGTH.findall(content)}
            film = film or bool(_FILM.search(content))
    return _Named(frozenset(pictures), frozenset(lengths), film)


def _mpf_pictures(tiff: bytes, start: int) -> set[int]:
    """Where the further pictures begin that an MPF segment lists (CIPA DC-007).

    Args:
        start: of the segment's TIFF header in the file, from which it counts.
    """
    block = read_block(tiff)
    entries = block.directories.get("ifd0", []) if block is not None else []
    listing = next((entry.value for entry in entries if entry.tag == 0xB002), b"")
    order = block.order if block is not None else "<"
    count = min(len(listing) // 16, _MAX_PICTURES)
    offsets = (struct.unpack_from(f"{order}4xII4x", listing, 16 * number)[1] for number in range(count))
    return {start + offset for offset in offsets if offset}


def _add_rest(layout: Layout, data: bytes, named: _Named) -> None:
    """What lies behind the end marker: listed pictures, a film, filling; and what nothing accounts for."""
    at = layout.end
    film = named.film or b"MotionPhoto_Data" in data[-1_000_000:] or data.find(b"MotionPhoto_Data", at) >= 0
    for _ in range(_MAX_PIECES):
        rest = unexplained(data, at)
        layout.parts += [part for part in rest if part.kind == "padding"]
        if not rest or rest[-1].kind == "padding":
            return
        last = rest[-1]
        if last.what == "jpeg":
            end = _end_of(data, last.start)
            is_listed = last.start in named.pictures or end - last.start in named.lengths
            layout.pictures += is_listed
            layout.add("further picture" if is_listed else "appended", last.start, end, "jpeg")
        elif last.what == "mp4" and film:
            *_, box = boxes.boxes(data, last.start)
            end = box.end
            layout.add("video", last.start, end, "motion photo")
        else:
            layout.parts.append(last)
            return
        at = end
    layout.add("appended", at, len(data), looks_like(data, at))


def _end_of(data: bytes, start: int) -> int:
    """Where a JPEG inside the file ends."""
    try:
        *_, last = places(data[start:])
    except (Undecodable, ValueError):
        return len(data)
    return start + last.end if last.marker == END else len(data)
