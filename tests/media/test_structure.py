"""What lies where in a file: all that is planted behind or inside a picture is named, and nothing else is."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hostile_pictures import zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfd.media.structure import FileStructure, picture_format, structure

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (40, 56, 3), dtype=np.uint8)


def saved(format: str, pixels: np.ndarray = PIXELS, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def heif(**options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(buffer, **options)
    return buffer.getvalue()


FORMATS = {
    name: lambda name=name: saved(name)
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
} | {"HEIF": heif}


PAYLOADS = {
    "zip": zipped(),
    "jpeg": saved("JPEG", PIXELS[::-1, ::-1]),
    "png": saved("PNG"),
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x10mdat" + bytes(8),
    "html": b"<!DOCTYPE html><html><body>a page</body></html>",
    "php": b"<?php system($_GET['c']); ?>" * 3,
    "script": b"#!/bin/sh\nrm -r x\n",
    "program": b"\x7fELF" + bytes(60),
    "pdf": b"%PDF-1.7\n1 0 obj\nendobj\nstartxref\n0\n%%EOF",
    "text": b"a note of some length that somebody put here",
    "data": bytes(RNG.integers(1, 255, 300, dtype=np.uint8)),
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_file_has_nothing_behind_it(format):
    data = FORMATS[format]()
    file = structure(data)
    assert (file.format, file.size, file.end, file.pictures) == (format, len(data), len(data), 1)
    assert not file.appended and not file.also and not file.problems
    assert format == "JPEG2000" or any(part.kind == "picture" for part in file.parts)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_appended_is_named(format, payload):
    data, more = FORMATS[format](), PAYLOADS[payload]
    file = structure(data + more)
    assert file.end == len(data)
    (part,) = file.appended
    assert (part.start, part.length, part.what) == (len(data), len(more), payload)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_filling_is_no_find_and_hides_none(format):
    data = FORMATS[format]()
    assert [part.kind for part in structure(data + bytes(700)).parts][-1] == "padding"
    assert not structure(data + bytes(700)).appended
    (part,) = structure(data + bytes(700) + zipped()).appended
    assert part.what == "zip" and part.start == len(data) + 700


def test_leftover_memory_of_whole_blocks_is_slack():
    data = saved("JPEG")
    pad = 200 + -(len(data) + 200 + 300) % 512
    file = structure(data + bytes(pad) + PAYLOADS["data"])
    assert file.size % 512 == 0 and file.parts[-1].kind == "slack" and not file.appended
    assert structure(data + bytes(pad + 1) + PAYLOADS["data"]).appended


@pytest.mark.parametrize(
    ("data", "also"),
    [
        (saved("JPEG") + zipped(), ("zip",)),
        (saved("PNG") + zipped("META-INF/MANIFEST.MF"), ("jar",)),
        (saved("JPEG", comment=b"<?php echo 1; ?>"), ("php",)),
        (saved("JPEG", comment=b"<html><SCRIPT>alert(1)</script></html>"), ("html",)),
        (saved("JPEG", comment=PAYLOADS["pdf"]), ("pdf",)),
        (saved("GIF") + b"Rar!\x1a\x07\0" + bytes(30), ("rar",)),
        (saved("JPEG") + b"PK\5\6" + bytes(18), ()),  # an end of no directory
    ],
)
def test_polyglots(data, also):
    assert structure(data).also == also


def test_markup_across_a_strip_is_found():
    for shift in range(-8, 1):
        data = b"\xff\xd8" + bytes((1 << 20) - 2 + shift) + b"<script>"
        assert structure(data).also == ("html",)


def test_an_mpo_is_several_pictures():
    data = saved("MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    file = structure(data)
    assert file.format == "JPEG" and file.pictures == 2 and not file.appended
    assert file.parts[-1].kind == "further picture" and file.parts[-1].end == len(data)
    assert structure(data + zipped()).appended[0].what == "zip"


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_xmp(xmp: bytes) -> bytes:
    data = saved("JPEG")
    return data[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + data[2:]


def test_a_motion_photo_is_a_picture_with_a_film():
    film = PAYLOADS["mp4"]
    file = structure(with_xmp(b'<x GCamera:MotionPhoto="1"/>') + film)
    assert file.parts[-1].kind == "video" and not file.appended
    assert structure(with_xmp(b"<x/>") + film).appended[0].what == "mp4"
    assert structure(with_xmp(b'<x GCamera:MotionPhoto="1"/>') + film + zipped()).appended[0].what == "zip"


def test_a_gain_map_that_xmp_lists_is_a_further_picture():
    more = PAYLOADS["jpeg"]
    file = structure(with_xmp(f'<i Item:Semantic="GainMap" Item:Length="{len(more)}"/>'.encode()) + more)
    assert file.pictures == 2 and not file.appended


def test_a_samsung_trailer_is_called_by_its_name_and_hides_no_zip():
    trailer = b"\0\0\1\x0aImage_UTC_Data1400000000000SEFH" + bytes(20) + b"SEFT"
    file = structure(saved("JPEG") + trailer)
    assert (file.parts[-1].kind, file.parts[-1].what) == ("trailer", "Samsung") and not file.appended
    assert structure(saved("JPEG") + zipped() + trailer).appended


def test_the_rest_of_an_older_png_is_known():
    small, large = saved("PNG"), saved("PNG", RNG.integers(0, 255, (90, 90, 3), dtype=np.uint8))
    file = structure(small + large[len(small) :])
    assert file.appended[0].what == "rest of a PNG"


def test_bytes_between_segments_are_a_gap():
    data = saved("JPEG")
    (gap,) = [part for part in structure(data[:20] + PAYLOADS["php"] + data[20:]).parts if part.kind == "gap"]
    assert gap.what == "php" and gap.length == len(PAYLOADS["php"])


def test_previews_are_found_where_they_lie():
    import piexif

    small = saved("JPEG", PIXELS[::4, ::4])
    data = saved("JPEG", exif=piexif.dump({"1st": {}, "thumbnail": small}))
    (part,) = [part for part in structure(data).parts if part.kind == "preview"]
    assert data[part.start : part.start + 2] == b"\xff\xd8" and data[part.end - 2 : part.end] == b"\xff\xd9"


@pytest.mark.parametrize(("format", "frames"), [("GIF", 3), ("PNG", 3), ("WEBP", 3), ("TIFF", 3)])
def test_frames_are_counted(format, frames):
    others = [Image.fromarray(PIXELS[::-1]), Image.fromarray(PIXELS[:, ::-1])]
    file = structure(saved(format, save_all=True, append_images=others))
    assert file.pictures == frames and not file.appended


def test_a_heif_of_two_pictures():
    pillow_heif = pytest.importorskip("pillow_heif")
    both = pillow_heif.from_pillow(Image.fromarray(PIXELS))
    both.add_from_pillow(Image.fromarray(PIXELS[::-1]))
    buffer = io.BytesIO()
    both.save(buffer)
    assert structure(buffer.getvalue()).pictures == 2
    large = Image.fromarray(np.tile(PIXELS, (8, 8, 1)))
    buffer = io.BytesIO()
    pillow_heif.from_pillow(large).save(buffer, thumbnails=[64], tile_size=128)
    file = structure(buffer.getvalue())
    assert file.pictures == 1 and [part.what for part in file.parts if part.kind == "preview"] == [
        "thumbnail"
    ]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jpg", ""), ("a.JPEG", ""), ("a.png", ".png"), ("a.heic", ".heic"), ("a", ""), ("a.dat", "")],
)
def test_a_name_that_says_another_format(name, suffix):
    assert structure(saved("JPEG"), name).suffix == suffix


@pytest.mark.parametrize(
    "data", [b"", b"text", b"PK\3\4", b"%PDF-1.7", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"]
)
def test_what_is_no_picture_has_no_format(data):
    assert picture_format(data) == "" and isinstance(structure(data), FileStructure)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=5),
    st.floats(0, 1),
)
def test_no_file_breaks_it_and_parts_lie_inside(format, changes, cut):
    data = bytearray(FORMATS[format]())
    for place, new in changes:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    data = bytes(data[: max(8, int(len(data) * max(cut, 0.3)))])
    file = structure(data)
    assert 0 <= file.end <= file.size == len(data)
    assert all(part.start >= 0 and part.end <= len(data) for part in file.parts)


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


LONG = {
    "short scans": b"\xff\xd8" + b"\xff\xda\0\2\1" * 200_000,
    "segments of EXIF": b"\xff\xd8"
    + segment(0xE1, b"Exif\0\0II*\0\10\0\0\0\xff\xff" + bytes(12 * 2000)) * 50,
    "sub-blocks": saved("GIF")[:-1] + b"!\xfe" + b"\1\1" * 1_000_000 + b"\0;",
    "chunks": png_of(*[(b"tEXt", b"a")] * 90_000, (b"IEND", b"")),
    "0xFF": b"\xff\xd8" + b"\xff" * 3_000_000,
    "boxes": b"\0\0\0\x0cftypheic" + b"\0\0\0\x08free" * 300_000,
    "directories": b"II*\0\10\0\0\0" + struct.pack("<HHHII", 500, 330, 4, 100_000, 30) + bytes(500_000),
    "jpegs": saved("JPEG") * 3000,
}


@pytest.mark.parametrize("kind", LONG)
def test_long_files_are_walked_in_bounds(kind):
    start = time.thread_time()
    structure(LONG[kind])
    assert time.thread_time() - start < 0.5


def test_twelve_megapixels_take_less_than_a_tenth_of_a_second():
    from dfd.media.exif import read_exif

    noise = RNG.integers(0, 255, (3000, 4000), dtype=np.uint8)
    data = saved("JPEG", noise, quality=75, exif=b"Exif\0\0II*\0\10\0\0\0\0\0\0\0\0\0")
    assert len(data) > 6_000_000
    start = time.thread_time()
    structure(data)
    read_exif(data)
    assert time.thread_time() - start < 0.1
