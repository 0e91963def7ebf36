"""File structure: what lies where in a picture file, and what does not belong there.

Nothing is unpacked, run or decoded. What is found is named by its first bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dfd.media import boxes, png_chunks, webp_chunks
from dfd.media.formats import Undecodable
from dfd.media.structure import boxed, chunked, jpeg, polyglot, raster, tiff
from dfd.media.structure.part import ORDINARY, Layout, Part

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif", ".heics"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
MAX_PARTS = 200  # that are listed


@dataclass(frozen=True)
class FileStructure:
    """What lies where in a file.

    Args:
        format: as in `dfd.media.formats.FORMATS`; "" of a file that is no picture.
        size: bytes of the file.
        end: bytes up to the end of its first picture, as its format counts them.
        pictures: whole pictures in it: pages, frames, those of an MPO. A preview is none.
        parts: in their order, MAX_PARTS at most, of which what is strange comes before what any picture has.
        also: other formats that the file is at the same time: zip, jar, pdf, html, php, rar, 7z.
        suffix: of the file's name, where that belongs to another format; else "".
        problems: what kept the file from being read to its end.
    """

    format: str
    size: int
    end: int
    pictures: int = 1
    parts: tuple[Part, ...] = ()
    also: tuple[str, ...] = ()
    suffix: str = ""
    problems: tuple[str, ...] = ()

    @property
    def appended(self) -> tuple[Part, ...]:
        """What lies behind the picture, and nothing in the file accounts for."""
        return tuple(part for part in self.parts if part.kind == "appended")


def structure(data: bytes, name: str = "") -> FileStructure:
    """What lies where in a picture file. Never raises: what cannot be read is among the problems.

    Args:
        data: the whole file.
        name: of the file, whose suffix is compared with what it is.
    """
    format = picture_format(data)
    if not format:
        return FileStructure("", len(data), 0, 0, also=polyglot.others(data))
    try:
        layout = _READERS[format](data)
    except Undecodable as error:
        layout = Layout(len(data), problems=[str(error)])
    strange_first = sorted(layout.parts, key=lambda part: part.kind in ORDINARY)
    parts = sorted(strange_first[:MAX_PARTS], key=lambda part: (part.start, -part.length))
    suffix = os.path.splitext(name)[1].lower()
    known = any(suffix in suffixes for suffixes in _SUFFIXES.values())
    return FileStructure(
        format,
        len(data),
        layout.end,
        layout.pictures,
        tuple(parts),
        polyglot.others(data),
        suffix if known and suffix not in _SUFFIXES[format] else "",
        tuple(layout.problems),
    )


def picture_format(data: bytes) -> str:
    """The format by the first bytes, as in `dfd.media.formats.FORMATS`; "" of what is no picture."""
    if data[:2] == b"\xff\xd8":
        return "JPEG"
    if data.startswith(png_chunks.SIGNATURE):
        return "PNG"
    if webp_chunks.is_webp(data):
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if boxes.is_boxed(data):
        if boxes.is_heif(data):
            return "HEIF"
        return "AVIF" if boxes.AVIF_BRANDS & set(boxes.brands(data)) else ""
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return "JPEG2000"
    if data[:2] == b"BM":
        return "BMP"
    return "PPM" if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace() else ""


_READERS: dict[str, Callable[[bytes], Layout]] = {
    "JPEG": jpeg.read,
    "PNG": chunked.read_png,
    "WEBP": chunked.read_webp,
    "GIF": chunked.read_gif,
    "TIFF": tiff.read,
    "AVIF": boxed.read,
    "HEIF": boxed.read,
    "JPEG2000": boxed.read,
    "BMP": raster.read_bmp,
    "PPM": raster.read_ppm,
}
