"""WebPs: what surrounds the pixels refuses no picture, lost pixels do."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from dfd.media.decode import Undecodable, decode, image_info

PIXELS = np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8)


def webp(**options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "WEBP", lossless=True, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def resized(data: bytes, by: int) -> bytes:
    """Of another size, by what its container says."""
    return data[:4] + struct.pack("<I", struct.unpack("<I", data[4:8])[0] + by) + data[8:]


def appended(data: bytes, more: bytes) -> bytes:
    return resized(data + more, len(more))


PLAIN = webp()
FULL = webp(exif=b"Exif\0\0II*\0broken", xmp=b"<broken", icc_profile=b"broken")
HARMLESS = {
    "broken metadata": FULL,
    "a large XMP": webp(xmp=b"a" * (9 << 20)),
    "an unknown chunk": appended(PLAIN, chunk(b"JUNK", b"abc")),
    "an unknown chunk beside metadata": appended(FULL, chunk(b"JUNK", b"abc")),
    "metadata cut off": FULL[:-4],
    "metadata twice": appended(FULL, chunk(b"EXIF", b"broken too")),
    "too large by its head": resized(PLAIN, 100),
    "a little too large by its head": resized(PLAIN, 2),
    "too small by its head": resized(PLAIN, -2),
    "no size": resized(PLAIN, 8 - len(PLAIN)),
    "bytes behind it": PLAIN + b"trailer" * 99,
    "a picture behind it": PLAIN + PLAIN,
}


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_surrounds_the_pixels_refuses_none(fault):
    assert (decode(HARMLESS[fault]) == PIXELS).all()
    assert image_info(HARMLESS[fault]) == ("WEBP", 57, 41)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PLAIN[: len(PLAIN) // 2], "ends in a chunk VP8L"),
        (PLAIN[:-9], "ends in a chunk VP8L"),
        (PLAIN[:12], "damaged|not a picture"),
        (PLAIN[:12] + chunk(b"JUNK", b"") * 20_000, "chunks"),
    ],
)
def test_lost_pixels_refuse_one(data, reason):
    for read in (decode, image_info):
        with pytest.raises(Undecodable, match=reason):
            read(data)


def test_the_orientation_is_kept():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(PIXELS, -1)
    for data in (webp(exif=exif), appended(webp(exif=exif, icc_profile=b"broken"), chunk(b"JUNK", b""))):
        assert (decode(data) == turned).all() and image_info(data) == ("WEBP", 41, 57)
