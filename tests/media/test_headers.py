"""Headers say what a file is without its pixels being read."""

import io
import time
import warnings

import numpy as np
import piexif
import pytest
from hostile_pictures import small_pictures
from PIL import Image
from profiles import DISPLAY_P3, rgb_profile

from dfd.media.decode import Undecodable, image_info
from dfd.media.headers import jpeg_settings, picture_header

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)


def jpeg(**options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", small_pictures())
def test_format_and_size_are_those_of_the_decoded_picture(kind):
    header = picture_header(small_pictures()[kind])
    assert header is not None
    try:
        info = image_info(small_pictures()[kind])
    except Undecodable:  # an animation has a header too
        return
    assert info.format == header.format.replace("MPO", "JPEG")
    assert sorted((info.width, info.height)) == sorted((header.width, header.height))


def test_metadata_are_seen_and_need_not_be_whole():
    exif = piexif.dump({"0th": {piexif.ImageIFD.Make: b"M"}})
    profile = rgb_profile(DISPLAY_P3, 2.2)
    for options in ({}, {"exif": exif}, {"icc_profile": profile}, {"exif": exif, "icc_profile": profile}):
        header = picture_header(jpeg(**options))
        assert header is not None and (header.exif, header.profile) == (
            "exif" in options,
            "icc_profile" in options,
        )
        assert picture_header(jpeg(**options)[:1500]) == header or len(jpeg(**options)) < 1500
    heic = small_pictures().get("heic")
    if heic is not None:
        header = picture_header(heic)
        assert header is not None and header.exif and header.profile


def test_settings_of_a_jpeg():
    settings = jpeg_settings(jpeg(quality=80, progressive=True, subsampling=2))
    assert settings is not None and settings.progressive and len(settings.tables) == 2
    assert settings.factors == ((2, 2), (1, 1), (1, 1)) and len(settings.tables[0]) == 64


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\2", b"\0\0\0\x18ftypheic"])
def test_what_has_no_header_has_none(data):
    assert picture_header(data) is None and jpeg_settings(data) is None


def test_a_million_parts_of_metadata_are_not_walked():
    segment = (
        b"\xff\xed" + (65_000 + 2).to_bytes(2, "big") + b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5415
    )
    data = jpeg(quality=80)
    hostile = data[:2] + segment[:65_004].ljust(65_004, b"\0") * 180 + data[2:]
    start = time.thread_time()
    assert jpeg_settings(hostile) == jpeg_settings(data) is not None
    assert time.thread_time() - start < 0.1


def test_settings_are_those_that_pillow_reads_of_the_whole_file(real_data):
    """Second opinion, on cameras' files."""
    for path in sorted((real_data / "exif-samples").glob("*.jpg")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path)
        settings = jpeg_settings(path.read_bytes())
        assert settings is not None
        assert settings.tables == tuple(tuple(table) for _, table in sorted(image.quantization.items()))
        assert settings.factors == tuple((part[1], part[2]) for part in image.layer)
        assert settings.progressive == bool(image.info.get("progressive"))
