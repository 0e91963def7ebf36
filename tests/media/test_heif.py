"""HEIC pictures, with the extra and without it, within the limits of every other format."""

import io
import struct
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from dfd.media import picture
from dfd.media.decode import Undecodable, decode, image_info, read_picture

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (120, 200, 3), dtype=np.uint8), (0, 0), 4)


def heic(pixels: np.ndarray = PIXELS, **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="dfd[heif] is not installed")
    buffer = io.BytesIO()
    file = pillow_heif.from_pillow(Image.fromarray(pixels))
    file.info.update(options.pop("info", {}))
    file.save(buffer, quality=90, **options)
    return buffer.getvalue()


def turned(data: bytes, quarters: int) -> bytes:
    """The file with a rotation (irot) of so many quarters against the clock for its picture."""
    at = data.index(b"ipco") - 4
    room = struct.unpack_from(">I", data, at)[0]
    boxes = data[at + 8 : at + room] + struct.pack(">I4sB", 9, b"irot", quarters)
    number = boxes.count(b"irot") and _boxes(boxes)
    changed = data[:at] + struct.pack(">I4s", room + 9, b"ipco") + boxes + data[at + room :]
    ipma = changed.index(b"ipma") - 4
    size = struct.unpack_from(">I", changed, ipma)[0]
    count_at = ipma + 12 + 4 + 2
    changed = (
        changed[:ipma] + struct.pack(">I", size + 1) + changed[ipma + 4 : count_at]
        + bytes((changed[count_at] + 1,)) + changed[count_at + 1 : ipma + size] + bytes((0x80 | number,))
        + changed[ipma + size :]
    )  # fmt: skip
    for name in (b"iprp", b"meta"):
        place = changed.index(name) - 4
        grown = struct.unpack_from(">I", changed, place)[0] + 10
        changed = changed[:place] + struct.pack(">I", grown) + changed[place + 4 :]
    return _with_moved_data(changed, 10)


def _boxes(content: bytes) -> int:
    at, count = 0, 0
    while at < len(content):
        at += struct.unpack_from(">I", content, at)[0]
        count += 1
    return count


def _with_moved_data(data: bytes, by: int) -> bytes:
    """The offset of the only item's only extent, moved."""
    from dfd.media import boxes

    (item,) = boxes.items(data)
    old = struct.pack(">I", item.extents[0][0])
    at = data.index(old, data.index(b"iloc"))
    return data[:at] + struct.pack(">I", item.extents[0][0] + by) + data[at + 4 :]


def test_a_heic_is_read():
    data = heic()
    assert image_info(data) == ("HEIF", 200, 120)
    assert np.abs(decode(data).astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_it_stands_upright_as_the_file_says(quarters):
    image = decode(turned(heic(), quarters))
    assert np.abs(image.astype(int) - np.rot90(PIXELS, quarters)).mean() < 3


def test_the_primary_picture_is_read_of_several():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(Image.fromarray(PIXELS[::-1].copy()))
    file.add_from_pillow(Image.fromarray(PIXELS))
    buffer = io.BytesIO()
    file.save(buffer, quality=90, primary_index=1)
    assert np.abs(decode(buffer.getvalue()).astype(int) - PIXELS).mean() < 3


def test_gray_deep_and_transparent_ones():
    gray = np.ascontiguousarray(PIXELS[..., 0])
    assert np.abs(decode(heic(gray)).astype(int) - gray[..., None]).mean() < 3
    deep = gray.astype(np.uint16) << 8
    assert np.abs(decode(heic(deep)).astype(int) - gray[..., None]).mean() < 3
    alpha = np.full(gray.shape, 255, np.uint8)
    assert read_picture(heic(np.dstack([PIXELS, alpha]))).opaque is None
    alpha[:40, :40] = 0
    with pytest.raises(Undecodable, match="transparent in parts"):
        decode(heic(np.dstack([PIXELS, alpha])))


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
def test_a_truncated_one_is_refused(share):
    data = heic()
    with pytest.raises(Undecodable, match="damaged or truncated"):
        decode(data[: int(share * len(data))])


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    data = heic()
    monkeypatch.setattr(picture, "MAX_PIXELS", 10_000)
    with pytest.raises(Undecodable, match="200 x 120 pixels"):
        decode(data)


def test_a_size_that_the_header_alone_says_is_no_bomb():
    data = heic()
    at = data.index(b"ispe") + 8
    with pytest.raises(Undecodable):
        decode(data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :])


def test_a_sequence_is_refused():
    data = heic()
    with pytest.raises(Undecodable, match="several frames"):
        decode(data + b"\0\0\0\x08moov")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Undecodable, match=r"pip install 'dfd\[heif\]'"):
        decode(data)


def test_its_profile_is_applied():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decode(heic(info={"icc_profile": profile})) == decode(heic())).all()
