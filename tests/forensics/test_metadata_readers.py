"""Readers of metadata: each block in each kind of file, against second implementations, and from hostile files."""

import io
import itertools
import logging
import struct
import time
import warnings
import zlib

import exifread
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metadata_files import (
    camera_file,
    exif_block,
    icc_profile,
    iptc_segment,
    png_chunk,
    png_with_texts,
    saved,
    scene,
    segment,
    thumbnail_of,
    with_segments,
    xmp_packet,
    xmp_segment,
)
from photos import jpeg, png
from PIL import Image, ImageCms

from dfd.forensics.metadata import metadata, read_metadata
from dfd.forensics.metadata.containers import find_blocks
from dfd.forensics.metadata.icc import read_icc
from dfd.forensics.metadata.photoshop import read_iptc
from dfd.forensics.metadata.read import stored_size
from dfd.forensics.metadata.xmp import read_xmp
from dfd.media.exif import number

SMALL = scene(width=96, height=80)
TOOL = 'xmp:CreatorTool="Tool 1.0"'


def in_jpeg(packet: bytes) -> bytes:
    return with_segments(jpeg(SMALL), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def in_png(packet: bytes) -> bytes:
    plain = png(SMALL)
    return plain[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) + plain[33:]


def in_packed_png(packet: bytes) -> bytes:
    plain = png(SMALL)
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))
    return plain[:33] + chunk + plain[33:]


def in_old_png(packet: bytes) -> bytes:
    """As ImageMagick has it: hexadecimal, packed."""
    text = f"\nxmp\n{len(packet):8}\n{packet.hex()}".encode()
    chunk = png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text))
    plain = png(SMALL)
    return plain[:33] + chunk + plain[33:]


def in_webp(packet: bytes) -> bytes:
    return saved(Image.fromarray(SMALL), "WEBP", xmp=packet)


def in_tiff(packet: bytes) -> bytes:
    return saved(Image.fromarray(SMALL), "TIFF", tiffinfo={700: packet})


def in_gif(packet: bytes) -> bytes:
    plain = saved(Image.fromarray(SMALL).convert("P"), "GIF")
    extension = b"\x21\xff\x0bXMP DataXMP" + packet + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return plain[:-1] + extension + plain[-1:]


def in_avif(packet: bytes) -> bytes:
    return saved(Image.fromarray(SMALL), "AVIF", xmp=packet)


def in_heic(packet: bytes) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(SMALL)).save(buffer, xmp=packet)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "holder",
    [in_jpeg, in_png, in_packed_png, in_old_png, in_webp, in_tiff, in_gif, in_avif, in_heic],
    ids=lambda each: each.__name__,
)
def test_xmp_is_found_in_every_kind_of_file(holder):
    read = read_metadata(holder(xmp_packet(TOOL)))
    assert read.get("XMP", "xmp:CreatorTool") == "Tool 1.0" and not read.problems


def test_xmp_is_read_as_attributes_and_as_elements():
    packet = xmp_packet(
        'xmp:ModifyDate="2020-01-01"',
        "<xmp:CreatorTool>A</xmp:CreatorTool>"
        "<dc:subject><rdf:Bag><rdf:li>one</rdf:li><rdf:li>two</rdf:li></rdf:Bag></dc:subject>"
        "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>T</rdf:li></rdf:Alt></dc:title>"
        "<xmpMM:DerivedFrom rdf:parseType='Resource'><stEvt:action>saved</stEvt:action></xmpMM:DerivedFrom>"
        "<xmpMM:History><rdf:Seq><rdf:li stEvt:action='created'/><rdf:li rdf:parseType='Resource'>"
        "<stEvt:action>saved</stEvt:action></rdf:li></rdf:Seq></xmpMM:History>"
        "<xmp:BaseURL rdf:resource='http://a/b'/>",
    )
    found, problem = read_xmp(packet)
    assert not problem
    assert found == [
        ("xmp:ModifyDate", "2020-01-01"),
        ("xmp:CreatorTool", "A"),
        ("dc:subject", "one"),
        ("dc:subject", "two"),
        ("dc:title", "T"),
        ("xmpMM:DerivedFrom/stEvt:action", "saved"),
        ("xmpMM:History/stEvt:action", "created"),
        ("xmpMM:History/stEvt:action", "saved"),
        ("xmp:BaseURL", "http://a/b"),
    ]


def test_xmp_is_told_apart_by_uri_and_not_by_prefix():
    packet = xmp_packet().replace(b"xmlns:xmp=", b'zz:CreatorTool="A" xmlns:zz=')
    assert read_xmp(packet)[0] == [("xmp:CreatorTool", "A")]
    other = xmp_packet('xmlns:xmp2="http://example.org/xmp/" xmp2:CreatorTool="B"')
    assert read_xmp(other)[0] == [("xmp:CreatorTool", "B")] or read_xmp(other)[0][0].name != "CreatorTool"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_xmp_is_read_in_its_encodings(encoding):
    packet = xmp_packet('xmp:CreatorTool="Größe"').decode().replace("\ufeff", "").encode(encoding)
    assert read_xmp(packet + b"\0\0 ")[0] == [("xmp:CreatorTool", "Größe")]


def test_extended_xmp_is_put_together():
    packet = xmp_packet(elements="<dc:description>" + "word " * 20_000 + "</dc:description>")
    guid, size = b"A" * 32, 60_000
    parts = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + guid
            + struct.pack(">II", len(packet), at)
            + packet[at : at + size],
        )
        for at in range(0, len(packet), size)
    ]
    read = read_metadata(with_segments(jpeg(SMALL), xmp_segment(TOOL), *reversed(parts)))
    assert read.get("XMP", "xmp:CreatorTool") == "Tool 1.0"
    assert read.get("XMP", "dc:description").startswith("word word")


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]><x>&c;</x>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><x/>',
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF",
        b"<a>" * 200_000,
        b"<a " + b"b='' " * 100_000 + b"/>",
        b"\xff\xfe\0\0\xff",
        b'<?xml version="1.0" encoding="no-such"?><x/>',
        b"<x>" + b"y" * 3_000_000 + b"</x>",
    ],
    ids=["entities", "external", "cut", "deep", "attributes", "bytes", "encoding", "long"],
)
def test_hostile_xmp_is_a_problem_and_no_error(packet):
    start = time.perf_counter()
    found, problem = read_xmp(packet)
    assert not found and problem.startswith("XMP")
    assert time.perf_counter() - start < 0.5


def test_deep_xmp_ends():
    deep = "<dc:a>" * 400 + "x" + "</dc:a>" * 400
    assert read_xmp(xmp_packet(elements=deep))[1] == ""
    many = "<dc:a>x</dc:a>" * 5_000
    found, problem = read_xmp(xmp_packet(elements=many))
    assert len(found) == 1_000 and "more than" in problem


def test_iptc_is_read_from_jpeg_and_tiff():
    records = {5: b"Title", 25: "größe".encode("latin-1"), 55: b"20190530", 110: b"Agency"}
    read = read_metadata(with_segments(jpeg(SMALL), iptc_segment(records)))
    assert read.get("IPTC", "ObjectName") == "Title" and read.get("IPTC", "Keywords") == "größe"
    assert read.get("IPTC", "Credit") == "Agency"
    block = bytes((0x1C, 2, 5)) + b"\0\5Title"
    tiff = saved(Image.fromarray(SMALL), "TIFF", tiffinfo={33723: block})
    assert read_metadata(tiff).get("IPTC", "ObjectName") == "Title"


def test_iptc_in_utf8_says_so():
    block = b"\x1c\x01\x5a\x00\x03\x1b%G" + b"\x1c\x02\x78\x00\x07" + "größe".encode()
    assert read_iptc(block) == [("Caption-Abstract", "größe")]


def test_iptc_agrees_with_pillow():
    from PIL import IptcImagePlugin

    data = with_segments(jpeg(SMALL), iptc_segment({5: b"Title", 40: b"FBMD01", 110: b"Agency"}))
    with Image.open(io.BytesIO(data)) as image:
        theirs = IptcImagePlugin.getiptcinfo(image)
    ours = {each.name: each.value for each in read_metadata(data).fields if each.origin == "IPTC"}
    assert sorted(ours.values()) == sorted(
        value.decode() for (record, _), value in theirs.items() if record == 2
    )


def test_icc_agrees_with_littlecms():
    profile = icc_profile()
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    for data in (
        saved(Image.fromarray(SMALL), kind, icc_profile=profile)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
    ):
        read = read_metadata(data)
        assert read.get("ICC", "Description") == theirs.profile_description
        assert read.get("ICC", "Colour space") == theirs.xcolor_space.strip()
        assert read.get("ICC", "Copyright") == theirs.copyright
        assert read.get("ICC", "Date") == f"{theirs.creation_date:%Y:%m:%d %H:%M:%S}"


@pytest.mark.parametrize("profile", [b"", b"x" * 127, b"\0" * 200, b"\0" * 36 + b"acsp" + b"\xff" * 500])
def test_a_broken_profile_says_little_and_raises_nothing(profile):
    assert len(read_icc(profile)) < 10


def test_comments_and_texts_are_read():
    data = with_segments(jpeg(SMALL, dpi=(300, 300)), segment(0xFE, "Grüße".encode("latin-1") + b"\0"))
    read = read_metadata(data)
    assert read.all("COM") == ["Grüße"] and read.get("JFIF", "density") == "300 x 300 per inch" and read.jfif
    for kind in (b"tEXt", b"zTXt", b"iTXt"):
        assert read_metadata(png_with_texts({"Author": "me"}, kind=kind)).get(kind.decode(), "Author") == "me"
    gif = saved(Image.fromarray(SMALL).convert("P"), "GIF", comment=b"by me")
    assert read_metadata(gif).all("GIF") == ["by me"]


def test_values_lose_control_characters():
    read = read_metadata(png_with_texts({"Author": "me\x1b[31m\u202e"}, kind=b"iTXt"))
    assert read.get("iTXt", "Author") == "me [31m"


def test_a_packed_text_is_unpacked_up_to_a_bound():
    bomb = png_chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"a" * 20_000_000))
    plain = png(SMALL)
    start = time.perf_counter()
    read = read_metadata(plain[:33] + bomb * 300 + plain[33:])
    assert any("packed texts" in problem for problem in read.problems)
    assert len(read.get("zTXt", "Author")) == 20_000 and time.perf_counter() - start < 1


def test_previews_are_found_wherever_they_lie():
    preview, plain = thumbnail_of(SMALL), jpeg(SMALL)
    resource = (
        b"8BIM\x04\x0c\0\0"
        + struct.pack(">I", 28 + len(preview))
        + bytes(28)
        + preview
        + b"\0" * (len(preview) % 2)
    )
    rgb = bytes((40, 30)) + np.ascontiguousarray(SMALL[::2, ::2][:30, :40]).tobytes()
    data = with_segments(
        plain,
        segment(0xE0, b"JFXX\0\x10" + preview),
        segment(0xE0, b"JFXX\0\x13" + rgb),
        segment(0xE1, exif_block(thumbnail=preview)),
        segment(0xED, b"Photoshop 3.0\0" + resource),
    )
    found = read_metadata(data).thumbnails
    assert [(each.origin, each.width, each.height) for each in found] == [
        ("EXIF", 0, 0), ("JFXX", 0, 0), ("JFXX", 40, 30), ("Photoshop", 0, 0)
    ]  # fmt: skip
    assert found[1].data == found[3].data[: len(preview)] == preview and found[2].data == rgb[2:]
    assert found[0].data[:2] == b"\xff\xd8"  # piexif leaves out its JFIF


def test_a_maker_note_is_told_by_its_first_letters():
    read = read_metadata(camera_file({"MakerNote": b"Nikon\0\2\x10\0\0" + bytes(90)}))
    assert read.maker == "Nikon" and read.get("EXIF", "MakerNote") == "Nikon, 100 bytes"
    assert read_metadata(camera_file({"MakerNote": b"\x2a\0\1\0"})).maker == ""


def test_exif_of_a_planted_file():
    read = read_metadata(camera_file({"UserComment": b"UNICODE\0" + "Größe".encode("utf-16-be")}))
    assert read.get("EXIF", "UserComment") == "Größe"
    assert read.get("GPS", "GPSLatitude") == "48 51 29.64" and read.get("EXIF", "FNumber") == "7.1"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"xmp": b"<x/>"}], ids=str)
def test_sizes_are_read_from_headers(kind, options):
    image = Image.fromarray(scene(width=301, height=77))
    assert stored_size(saved(image.convert("P") if kind == "GIF" else image, kind, **options)) == (301, 77)


def test_a_file_without_anything_is_empty():
    for data in (
        b"",
        b"\xff\xd8",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0",
        b"\x89PNG\r\n\x1a\n",
        b"text" * 99,
        b"\0\0\0\x20ftypheic",
    ):
        assert read_metadata(data).fields == () and metadata(data).status == "absent"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + segment(0xE0, b"JFXX\0\x10") * 60_000,
        b"GIF89a" + bytes(7) + b"\x21\xfe\1a\0" * 400_000,
        b"GIF89a" + bytes(7) + b"\x2c" + bytes(10) + b"\1a" * 2_000_000,
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"a\0b") * 90_000,
        b"\xff\xd8" + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000) * 200,
        b"\xff\xd8" + xmp_segment('xmp:CreatorTool="' + "a " * 20_000 + '"') * 200,
        png_with_texts({"parameters": "Steps: 1" * 20_000}),
        png_with_texts({"Comment": '"uc":' * 30_000}),
    ],
    ids=["segments", "comments", "frames", "chunks", "resources", "packets", "steps", "keys"],
)  # fmt: skip
def test_many_small_parts_take_no_long_time(data):
    start = time.perf_counter()
    assert metadata(data).status in ("found", "clear", "absent")
    assert time.perf_counter() - start < 1.5  # a quarter of it on an idle machine


def whole_files() -> list[bytes]:
    camera = camera_file(extra=xmp_segment(TOOL) + iptc_segment({5: b"Title", 110: b"Agency"}), pixels=SMALL)
    image = Image.fromarray(SMALL)
    options = {"exif": exif_block(), "icc_profile": icc_profile(), "xmp": xmp_packet(TOOL)}
    return [
        camera,
        saved(image, "WEBP", **options),
        saved(image, "AVIF", **options),
        saved(
            image,
            "TIFF",
            tiffinfo={700: xmp_packet(TOOL), 33723: b"\x1c\2\5\0\5Title"},
            icc_profile=icc_profile(),
        ),
        png_with_texts({"parameters": "Steps: 20, Sampler: a", "Author": "b" * 40}, SMALL),
        saved(image.convert("P"), "GIF", comment=b"by me"),
    ]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, doubled or cut out, mostly near the beginning, where metadata lie."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        at = int(min(len(changed) - 1, rng.exponential(len(changed) / 4)))
        match rng.integers(4):
            case 0:
                changed[at] = rng.integers(256)
            case 1:
                changed[at : at + 4] = bytes(rng.choice([0, 255, 127, 128], 4).astype(np.uint8))
            case 2:
                del changed[at : at + int(rng.integers(1, 30))]
            case 3:
                changed[at:at] = changed[at : at + int(rng.integers(1, 30))]
        if len(changed) < 4:
            break
    return bytes(changed)


def examine_many(files: list[bytes], num: int) -> None:
    for seed in range(num):
        data = mutated(files[seed % len(files)], np.random.default_rng(seed))
        start = time.perf_counter()
        assert metadata(data).status in ("found", "clear", "absent"), seed
        assert time.perf_counter() - start < 1.0, seed


def test_mutated_files_are_answered():
    examine_many(whole_files(), 150)


@pytest.mark.slow
def test_many_mutated_photographs_are_answered(real_data):
    files = [path.read_bytes() for path in sorted((real_data / "exif-samples").iterdir())]
    small = [data for data in files if len(data) < 100_000]
    examine_many(small + whole_files(), 6_000)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xFE]))
def test_any_bytes_in_a_segment_are_answered(content, marker):
    heads = (b"", b"JFIF\0", b"JFXX\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0",
             b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\x008BIM\x04\x04\0\0")  # fmt: skip
    data = b"\xff\xd8" + b"".join(segment(marker, head + content) for head in heads)
    find_blocks(data)
    read_metadata(data)


# of exifread's names, ours where they differ
RENAMED = {
    "ExifImageWidth": "PixelXDimension",
    "ExifImageLength": "PixelYDimension",
    "GPSDate": "GPSDateStamp",
}
DIRECTORIES = {"Image": "ifd0", "EXIF": "exif", "GPS": "gps"}


def test_exif_agrees_with_exifread(real_data):
    """On every tag of 41 JPEG and TIFF files whose value is one text or one number."""
    logging.disable(logging.CRITICAL)
    compared, files = 0, 0
    for path in sorted((real_data / "exif-samples").iterdir()):
        data = path.read_bytes()
        try:
            theirs = exifread.process_file(io.BytesIO(data), details=False)
        except Exception:  # it breaks on some
            continue
        ours, files = read_metadata(data).exif, files + 1
        for key, tag in theirs.items():
            directory, _, name = key.partition(" ")
            known = getattr(ours, DIRECTORIES[directory]) if directory in DIRECTORIES else {}
            mine = known.get(RENAMED.get(name, name))
            if mine is None or (len(tag.values) != 1 and not isinstance(tag.values, str)):
                continue
            if isinstance(tag.values, str):
                mine = mine.decode("ascii") if isinstance(mine, bytes) else mine  # as ExifVersion
                assert isinstance(mine, str) and mine.strip("\0 ") == tag.values.strip("\0 "), (
                    path.name,
                    key,
                )
            elif not isinstance(mine, (bytes, str)):
                value = tag.values[0]
                if getattr(value, "denominator", 1) == 0 or getattr(value, "den", 1) == 0:
                    continue
                assert number(mine) == pytest.approx(float(value)), (path.name, key)
            compared += 1
    logging.disable(logging.NOTSET)
    assert files > 30 and compared > 400


def test_xmp_agrees_with_pillow(real_data):
    """On every plain property of the samples: Pillow keeps names without their prefix."""
    compared = 0
    for path in itertools.chain(
        (real_data / "exif-samples").iterdir(), (real_data / "c2pa-samples").iterdir()
    ):
        data = path.read_bytes()
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
                warnings.simplefilter("ignore")
                theirs = image.getxmp()
        except Exception:
            continue
        descriptions = theirs.get("xmpmeta", {}).get("RDF", {}).get("Description", [])
        ours = [each for each in read_metadata(data).fields if each.origin == "XMP"]
        values = {(each.name.rpartition(":")[2], " ".join(each.value.split())) for each in ours}
        for description in descriptions if isinstance(descriptions, list) else [descriptions]:
            for name, value in description.items() if isinstance(description, dict) else ():
                if isinstance(value, str) and value.strip() and name != "about":
                    assert (name, " ".join(value.split())) in values, (path.name, name)
                    compared += 1
    assert compared > 100
