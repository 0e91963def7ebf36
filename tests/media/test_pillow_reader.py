"""Formats beside JPEG: transparency that means something and that means nothing, pages, other formats by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dfd.media.decode import Undecodable, decode, image_info, read_picture
from dfd.media.pillow_reader import _STRIP

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)


def encoded(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def refused(data: bytes, reason: str) -> None:
    for read in (decode, image_info):
        with pytest.raises(Undecodable, match=reason):
            read(data)


# alpha


def with_alpha(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([PIXELS, alpha.astype(np.uint8)]))


FORMATS_WITH_ALPHA = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}, "JPEG2000": {}}


@pytest.mark.parametrize("name", FORMATS_WITH_ALPHA)
def test_nearly_opaque_is_opaque(name):
    alpha = np.full((40, 56), 255)
    alpha[:, -1] = 254
    alpha[0] = 250
    data = encoded(with_alpha(alpha), name, **FORMATS_WITH_ALPHA[name])
    assert (decode(data) == PIXELS).all() and read_picture(data).opaque is None
    assert image_info(data) == (name, 56, 40)


@pytest.mark.parametrize("name", FORMATS_WITH_ALPHA)
def test_transparent_is_refused_and_read_picture_says_where(name):
    alpha = np.full((40, 56), 255)
    alpha[:4, :7] = 0
    alpha[30, 50] = 249
    data = encoded(with_alpha(alpha), name, **FORMATS_WITH_ALPHA[name])
    refused(data, r"transparent in parts \(1\.3% of it\)")
    picture = read_picture(data)
    assert (picture.pixels == PIXELS).all(), "as stored, nothing composed"
    assert (picture.opaque == (alpha >= 250)).all()


def test_where_it_is_transparent_is_turned_with_it():
    alpha = np.full((40, 56), 255)
    alpha[:4, :7] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(encoded(with_alpha(alpha), "PNG", exif=exif))
    assert picture.pixels.shape == (56, 40, 3) and (picture.opaque == np.rot90(alpha == 255, -1)).all()


def bmp(alpha: int, masks: bool) -> bytes:
    """32 bits a pixel; with masks a V5 header that names the fourth byte alpha."""
    rows = np.dstack([PIXELS[..., ::-1], np.full((40, 56), alpha, np.uint8)])[::-1].tobytes()
    size, compression = (124, 3) if masks else (40, 0)
    head = struct.pack("<IiiHHIIiiII", size, 56, 40, 1, 32, compression, len(rows), 0, 0, 0, 0)
    if masks:
        head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(64)
    assert len(head) == size
    return b"BM" + struct.pack("<IHHI", 14 + size + len(rows), 0, 0, 14 + size) + head + rows


@pytest.mark.parametrize("masks", [True, False])
def test_a_bmp_whose_alpha_is_zero_has_none(masks):
    for alpha in (0, 255):
        assert (decode(bmp(alpha, masks)) == PIXELS).all()
    if masks:
        refused(bmp(7, masks), "transparent")


def test_all_zero_means_transparent_elsewhere():
    refused(encoded(with_alpha(np.zeros((40, 56))), "PNG"), r"transparent in parts \(100\.0% of it\)")


# pages


def tiff(*kinds: dict[int, int]) -> bytes:
    """A page for each dict of tags; previews are smaller."""
    pages = []
    for tags in kinds:
        page = PHOTO.resize((7, 5)) if tags else PHOTO
        page.encoderinfo = {"tiffinfo": ImageFileDirectory_v2()}
        for tag, value in tags.items():
            page.encoderinfo["tiffinfo"][tag] = value
        pages.append(page)
    buffer = io.BytesIO()
    from PIL.TiffImagePlugin import AppendingTiffWriter

    with AppendingTiffWriter(buffer) as writer:
        for page in pages:
            page.save(writer, "TIFF", tiffinfo=page.encoderinfo["tiffinfo"])
            writer.newFrame()
    return buffer.getvalue()


PREVIEW, OLD_PREVIEW = {254: 1}, {255: 2}


@pytest.mark.parametrize(
    "pages", [({}, PREVIEW), (PREVIEW, {}), ({}, OLD_PREVIEW), (PREVIEW, {}, PREVIEW, OLD_PREVIEW), ({},)]
)
def test_previews_beside_a_picture_are_passed_over(pages):
    assert (decode(tiff(*pages)) == PIXELS).all()
    assert image_info(tiff(*pages)) == ("TIFF", 56, 40)


def test_several_pictures_and_previews_alone_are_refused():
    refused(tiff({}, {}), "TIFF with 2 frames, not one picture")
    refused(tiff({}, PREVIEW, {}), "TIFF with 2 frames, not one picture")
    refused(tiff(PREVIEW), "previews alone")
    refused(tiff({}, *[PREVIEW] * 20), "more than 16 frames")


@pytest.mark.parametrize("pointer", [5, 10**6, 2**32 - 1])
def test_a_broken_pointer_behind_the_last_page_refuses_none(pointer):
    data = encoded(PHOTO, "TIFF")
    page = int.from_bytes(data[4:8], "little")
    at = page + 2 + 12 * int.from_bytes(data[page : page + 2], "little")
    assert data[at : at + 4] == bytes(4)
    assert (decode(data[:at] + struct.pack("<I", pointer) + data[at + 4 :]) == PIXELS).all()


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_of_one_frame_is_a_picture(name):
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    flat = Image.new("RGB", (56, 40), (200, 100, 50))
    data = encoded(flat, name, save_all=True)
    assert np.abs(decode(data).astype(int) - (200, 100, 50)).max() <= 6
    refused(encoded(flat, name, save_all=True, append_images=[PHOTO]), "(2|several) frames, not one picture")


def test_a_picture_with_others_behind_it_is_the_first():
    data = encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO.rotate(180)])
    assert (decode(data) == decode(encoded(PHOTO, "JPEG"))).all() and image_info(data).format == "JPEG"


# others


def test_avif_is_read_upright():
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(PHOTO, "AVIF", exif=exif)).shape == (56, 40, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged|pip install 'dfd.heif.'"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "damaged|pip install 'dfd.heif.'"),
        (b"\0\0\0\x20ftypisom" + bytes(30), "a video: .*dfd prepare --frames"),
        (b"\x1aE\xdf\xa3" + bytes(30), "a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL: .*djxl"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04" + bytes(30), "a zip archive: unpack"),
        (b"%PDF-1.7", "a PDF: "),
        (b"<!DOCTYPE html><html>404", "a web page, not the file itself"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"II*\0", "damaged|not a picture"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_called_by_its_name(data, reason):
    refused(data, reason)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "1", "P"])
def test_a_tall_picture_is_copied_in_strips(mode):
    tall = Image.fromarray(np.random.default_rng(1).integers(0, 256, (2 * _STRIP + 9, 3, 3), np.uint8))
    image = tall.convert(mode)
    data = encoded(image, "TIFF")
    assert (decode(data) == np.asarray(image.convert("RGB"))).all()
