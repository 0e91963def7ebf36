"""EXIF of strangers' files: what is written is read, whatever the format; what attacks a reader costs nothing."""

import io
import resource
import struct
import time
import tracemalloc
import warnings

import numpy as np
import piexif
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dfd.media.exif import Exif, number, read_exif
from dfd.media.exif_block import Entry, read_block

TAGS = {
    "0th": {
        piexif.ImageIFD.Make: b"Nikon",
        piexif.ImageIFD.Orientation: 6,
        piexif.ImageIFD.XPTitle: tuple("Grüße".encode("utf-16-le")),
    },
    "Exif": {
        piexif.ExifIFD.DateTimeOriginal: b"2024:05:01 12:00:00",
        piexif.ExifIFD.FNumber: (28, 10),
        piexif.ExifIFD.MakerNote: b"\1\2\3\4\5\6\7",
        piexif.ExifIFD.UserComment: b"UNICODE\0" + "steps: 30, ü".encode("utf-16-be"),
        piexif.ExifIFD.ISOSpeedRatings: 200,
    },
    "GPS": {
        piexif.GPSIFD.GPSVersionID: (2, 3, 0, 0),
        piexif.GPSIFD.GPSLatitudeRef: b"N",
        piexif.GPSIFD.GPSLatitude: ((52, 1), (30, 1), (1234, 100)),
    },
    "Interop": {piexif.InteropIFD.InteroperabilityIndex: b"R98"},
    "1st": {piexif.ImageIFD.Compression: 6},
}
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)


def saved(format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format, **options)
    return buffer.getvalue()


def thumbnail() -> bytes:
    whole = saved("JPEG", quality=30)
    return whole[:2] + whole[20:]  # without JFIF, as piexif stores it


def block() -> bytes:
    return piexif.dump({**TAGS, "thumbnail": thumbnail()})


def in_jpeg(tiff: bytes) -> bytes:
    """A JPEG whose EXIF block is these bytes."""
    body = b"Exif\0\0" + tiff
    whole = saved("JPEG")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[2:]


def heif() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(buffer, exif=block())
    return buffer.getvalue()


FORMATS = {
    "JPEG": lambda: saved("JPEG", exif=block()),
    "PNG": lambda: saved("PNG", exif=block()),
    "WEBP": lambda: saved("WEBP", exif=block()),
    "HEIF": heif,
}


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_says_what_was_written(format):
    exif = read_exif(FORMATS[format]())
    assert exif.ifd0["Make"] == "Nikon" and exif.ifd0["XPTitle"] == "Grüße"
    assert exif.exif["DateTimeOriginal"] == "2024:05:01 12:00:00" and exif.exif["ISOSpeedRatings"] == 200
    assert exif.exif["FNumber"] == (28, 10) and number(exif.exif["FNumber"]) == 2.8
    assert exif.user_comment == "steps: 30, ü" and exif.maker_note == 7
    assert exif.gps == {
        "GPSVersionID": (2, 3, 0, 0), "GPSLatitudeRef": "N", "GPSLatitude": ((52, 1), (30, 1), (1234, 100)),
    }  # fmt: skip
    assert exif.interop == {"InteroperabilityIndex": "R98"} and exif.ifd1["Compression"] == 6
    assert exif.thumbnail == thumbnail() and not exif.problems
    assert exif.byte_order == "big" and exif.size >= len(block()) - 6


def test_avif_says_what_pillow_writes_into_it():
    exif = read_exif(saved("AVIF", exif=block()))
    assert exif.ifd0["Make"] == "Nikon" and exif.user_comment == "steps: 30, ü" and exif.maker_note == 7
    assert number(exif.exif["FNumber"]) == 2.8 and exif.gps["GPSLatitudeRef"] == "N"


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_tiff_is_its_own_block(order):
    exif = read_exif(tiff_file(order))
    assert exif.ifd0["Software"] == "dfd" and exif.exif["ExposureTime"] == (1, 60)
    assert exif.byte_order == order


def tiff_file(order: str) -> bytes:
    sign = "<" if order == "little" else ">"
    software = struct.pack(f"{sign}HHI4s", 0x131, 2, 4, b"dfd\0")
    pointer = struct.pack(f"{sign}HHII", 0x8769, 4, 1, 38)
    ifd0 = struct.pack(f"{sign}H", 2) + software + pointer + bytes(4)
    exif = struct.pack(f"{sign}HHHIII", 1, 0x829A, 5, 1, 56, 0) + struct.pack(f"{sign}II", 1, 60)
    return (b"II*\0" if order == "little" else b"MM\0*") + struct.pack(f"{sign}I", 8) + ifd0 + exif


def test_imagemagicks_hexadecimal_block_of_a_png_is_read():
    from PIL.PngImagePlugin import PngInfo

    body = block()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(body):8d}\n{body.hex()}\n", zip=True)
    assert read_exif(saved("PNG", pnginfo=info)).ifd0["Make"] == "Nikon"


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\xff\xd8", b"II*\0", saved("GIF"), saved("BMP"), saved("PNG")]
)
def test_a_file_without_exif_is_empty(data):
    exif = read_exif(data)
    assert not exif.ifd0 and not exif.exif and not exif.thumbnail


def entry(kind: int, count: int, value: int, tag: int = 0x011A) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def directory(*entries: bytes, following: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


HEAD = b"II*\0\x08\0\0\0"


def costs(data: bytes) -> tuple[Exif, float, float]:
    """What is read, CPU seconds and megabytes."""
    tracemalloc.start()
    start = time.thread_time()
    exif = read_exif(data)
    seconds = time.thread_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return exif, seconds, peak / 1e6


def test_piexif_attack_26_bytes_that_claim_gigabytes():
    tiff = HEAD + directory(entry(5, 0x0FFF_FFFF, 8))
    assert len(tiff) == 26
    exif, seconds, megabytes = costs(in_jpeg(tiff))
    assert not exif.ifd0 and "reaches out of the block" in exif.problems[0]
    assert seconds < 0.1 and megabytes < 5


@pytest.mark.parametrize("wrap", ["bare", "jpeg", "png"])
def test_piexif_attack_a_path_in_place_of_a_block(tmp_path, monkeypatch, wrap):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(FORMATS["JPEG"]())
    path = str(secret).encode()
    assert piexif.load(path)["0th"]  # the attack: bytes that are a path are opened

    opened = []
    monkeypatch.setattr("builtins.open", lambda *given, **options: opened.append(given))
    data = {"bare": path, "jpeg": in_jpeg(path), "png": saved("PNG", exif=path)}[wrap]
    assert not read_exif(data).ifd0
    assert not opened


@pytest.mark.parametrize("kind", range(1, 14))
def test_any_count_of_any_type_is_cheap(kind):
    many = [
        entry(kind, count, 8, tag=0x8000 + n)
        for n, count in enumerate((1, 3, 60_000, 2**31, 2**32 - 1) * 900)
    ]
    tiff = HEAD + directory(*many, entry(kind, 60_000, 8))
    exif, seconds, megabytes = costs(tiff + bytes(600_000))
    assert seconds < 0.3 and megabytes < 40, (seconds, megabytes)
    assert exif.problems


def test_directories_in_a_circle_are_read_once():
    tiff = HEAD + directory(entry(4, 1, 8, 0x8769), entry(4, 1, 8, 0x8825), following=8)
    exif, seconds, _ = costs(in_jpeg(tiff))
    assert seconds < 0.1 and len(exif.problems) == 3


def test_all_but_the_wrong_tag_is_read():
    wrong = entry(2, 900, 8, tag=0x010F)
    odd = entry(99, 1, 8, tag=0x0110)
    orientation = entry(3, 1, 6, tag=0x0112)
    signed = entry(8, 1, 3, tag=0x0128)  # on which piexif breaks
    exif = read_exif(in_jpeg(HEAD + directory(wrong, odd, orientation, signed)))
    assert exif.ifd0 == {"Orientation": 6, "ResolutionUnit": 3}
    assert len(exif.problems) == 2


def test_a_thumbnail_that_is_cut_off_is_kept_and_said():
    whole = saved("JPEG", exif=block())
    at = whole.index(thumbnail())
    tiff = whole[whole.index(b"Exif\0\0") + 6 : at + 100]
    exif = read_exif(in_jpeg(tiff))
    assert exif.thumbnail == thumbnail()[:100] and "thumbnail says" in exif.problems[0]


def test_pillow_reads_what_piexif_does_not(monkeypatch):
    wanted = read_exif(FORMATS["JPEG"]())

    def broken(*_):
        raise struct.error

    monkeypatch.setattr(piexif, "load", broken)
    exif = read_exif(FORMATS["JPEG"]())
    assert "piexif cannot read it" in exif.problems[0]
    assert (exif.ifd0, exif.exif, exif.interop) == (wanted.ifd0, wanted.exif, wanted.interop)
    assert exif.gps["GPSLatitude"] == wanted.gps["GPSLatitude"] and exif.thumbnail == wanted.thumbnail


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=6)), max_size=6))
@example([])
def test_a_mutated_block_is_read_in_bounds(changes):
    data = bytearray(block()[6:])
    for at, new in changes:
        data[at : at + len(new)] = new
    used = resource.getrusage(resource.RUSAGE_SELF)
    exif = read_exif(in_jpeg(bytes(data)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - used.ru_utime < 0.5
    assert not any("cannot read" in each for each in exif.problems), exif.problems


@settings(max_examples=100, deadline=None)
@given(st.sampled_from("<>"), st.data())
def test_what_is_written_anew_reads_as_before(order, draw):
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 11: 4, 12: 8}
    kinds = draw.draw(st.lists(st.sampled_from(sorted(sizes)), max_size=6))
    entries = []
    for tag, kind in enumerate(kinds):
        count = draw.draw(st.integers(5, 9))
        value = (
            bytes(draw.draw(st.binary(min_size=count * sizes[kind] - 1, max_size=count * sizes[kind] - 1)))
            + b"\0"
        )
        entries.append(Entry(0x9000 + tag, kind, count, value))
    first = read_block((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + bytes(6))
    assert first is not None
    first.directories = {"ifd0": entries, "exif": entries[:2], "interop": [], "ifd1": entries[1:]}
    again = read_block(first.written())
    assert again is not None and not again.problems
    assert [(e.tag, e.value) for e in again.directories["ifd0"][: len(entries)]] == [
        (e.tag, e.value) for e in entries
    ]
    assert [e.value for e in again.directories["ifd1"]] == [e.value for e in entries[1:]]


def test_tags_of_cameras_are_those_that_exifread_reads(real_data):
    """Second implementation, on photos of 30 cameras."""
    exifread = pytest.importorskip("exifread")
    compared = 0
    for path in sorted((real_data / "exif-samples").iterdir()):
        data = path.read_bytes()
        ours = read_exif(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = exifread.process_file(io.BytesIO(data), details=False, extract_thumbnail=False)
        for start, kind, mine in (
            ("Image", "0th", ours.ifd0),
            ("EXIF", "Exif", ours.exif),
            ("GPS", "GPS", ours.gps),
            ("Thumbnail", "1st", ours.ifd1),
        ):
            for name, tag in theirs.items():
                known = piexif.TAGS[kind].get(getattr(tag, "tag", -1))
                if (
                    not name.startswith(start + " ")
                    or known is None
                    or known["name"] not in mine
                    or not len(tag.values)
                ):
                    continue
                value = mine[known["name"]]
                if isinstance(value, str) and isinstance(tag.values, str):
                    assert value.strip("\0 ") == tag.values.strip("\0 "), (path.name, name)
                elif isinstance(value, int):
                    assert [value] == list(tag.values), (path.name, name)
                elif type(tag.values[0]).__name__ == "Ratio":
                    pairs = value if isinstance(value[0], tuple) else (value,)
                    for (over, under), wanted in zip(pairs, tag.values, strict=True):
                        assert over * wanted.denominator == under * wanted.numerator, (path.name, name)
                else:
                    continue
                compared += 1
    assert compared > 900
