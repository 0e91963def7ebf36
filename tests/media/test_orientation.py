"""Which way up a picture stands: every spelling of EXIF's orientation, with Pillow as the second opinion."""

import io
import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dfd.media.decode import decode, image_info

# Pillow, as the second opinion, warns of blocks that are odd on purpose
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PHOTO = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
)  # no symmetry, and blocks that JPEG keeps
# EXIF's types: BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, SSHORT, SLONG, SRATIONAL, FLOAT, DOUBLE
TYPES = {1: "B", 2: "c", 3: "H", 4: "L", 5: "LL", 6: "b", 7: "c", 8: "h", 9: "l", 10: "ll", 11: "f", 12: "d"}


def exif(order: str, kind: int, value: int, count: int = 1) -> bytes:
    """A block with one tag, whose value is the number in a type, `count` times."""
    code = TYPES[kind]
    numbers = {"c": [str(value).encode()], "LL": [value, 1], "ll": [value, 1]}.get(code, [value])
    packed = struct.pack(order + code, *numbers) * count
    sign = b"MM\0*" if order == ">" else b"II*\0"
    head = sign + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, count)
    if len(packed) <= 4:
        return b"Exif\0\0" + head + packed.ljust(4, b"\0") + bytes(4)
    return b"Exif\0\0" + head + struct.pack(order + "L", 26) + bytes(4) + packed


def encoded(name: str, **options) -> bytes:
    buffer = io.BytesIO()
    PHOTO.save(buffer, name, **options)
    return buffer.getvalue()


def as_pillow_turns(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_and_byte_order_is_read_as_pillow_reads_it(name, kind):
    options = {"lossless": True} if name == "WEBP" else {}
    for order, value, count in itertools.product("<>", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2)):
        data = encoded(name, exif=exif(order, kind, value, count), **options)
        wanted = as_pillow_turns(data)
        assert np.abs(decode(data) - wanted).max() <= 3, (order, value, count)
        assert image_info(data) == (name, wanted.shape[1], wanted.shape[0])


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tags_of_tiffs_in_their_types(kind, orientation):
    tags = ImageFileDirectory_v2()
    tags.tagtype[0x0112], tags[0x0112] = kind, orientation
    data = encoded("TIFF", tiffinfo=tags)
    assert (decode(data) == as_pillow_turns(data)).all()
    assert decode(data).shape == ((32, 48, 3) if orientation >= 5 else (48, 32, 3))


@pytest.mark.parametrize("order", "<>")
def test_a_phone_that_writes_long_turns_as_one_that_writes_short(order):
    short, long = (encoded("JPEG", exif=exif(order, kind, 6)) for kind in (3, 4))
    assert decode(short).shape == (32, 48, 3) and (decode(short) == decode(long)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("form", ['tiff:Orientation="{}"', "<tiff:Orientation>{}</tiff:Orientation>"])
def test_xmp_counts_where_exif_says_nothing(name, orientation, form):
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{form.format(orientation)}</x:xmpmeta>".encode()
    if name == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encoded(name, pnginfo=info)
    elif name == "TIFF":
        data = encoded(name, tiffinfo={700: xmp})
    else:
        data = encoded(name, xmp=xmp, **({"lossless": True} if name == "WEBP" else {}))
    assert np.abs(decode(data) - as_pillow_turns(data)).max() <= 3
    assert decode(data).shape == ((32, 48, 3) if orientation >= 5 else (48, 32, 3))


def test_exif_goes_before_xmp():
    data = encoded("JPEG", exif=exif("<", 3, 6), xmp=b'tiff:Orientation="3"')
    assert decode(data).shape == (32, 48, 3)


@given(
    order=st.sampled_from("<>"), hits=st.lists(st.tuples(st.integers(6, 33), st.integers(0, 255)), max_size=3)
)
@settings(max_examples=200, deadline=None)
def test_a_broken_block_turns_a_picture_no_other_way_than_pillow(order, hits):
    block = bytearray(exif(order, 3, 6))
    for at, value in hits:
        block[at % len(block)] = value
    data = encoded("JPEG", exif=bytes(block))
    try:
        wanted = as_pillow_turns(data).shape
    except Exception:  # where Pillow gives up, the block says nothing
        wanted = (48, 32, 3)
    assert decode(data).shape == wanted
