import io
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dfd.media import picture
from dfd.media.decode import MAX_PIXELS, Undecodable, decode, image_info, image_info_and_luma, read_picture

MODULE = sys.modules["dfd.media.decode"]  # dfd.media.decode is the function too


def photo(height: int = 48, width: int = 64) -> Image.Image:
    """Smooth in colour, so that JPEG keeps it, and without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([2 * y + 40, 3 * x + 20, x + y + (x > 40) * 60], -1).clip(0, 255).astype(np.uint8)
    )


def encoded(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def as_rgb(data: bytes) -> np.ndarray:
    """The second opinion: Pillow, turned by its own reading of EXIF."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), name, exif=exif)
    image = decode(data)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    assert np.abs(image.astype(int) - as_rgb(data)).max() <= 3
    assert image_info(data) == (name, image.shape[1], image.shape[0])
    assert image.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))


def test_big_endian_exif_counts_too():
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    assert decode(encoded(photo(), "JPEG", exif=block)).shape == (64, 48, 3)


@pytest.mark.parametrize("tail", [b"", b"MM", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"])
def test_a_broken_exif_block_leaves_the_picture_as_it_is(tail):
    assert decode(encoded(photo(), "JPEG", exif=b"Exif\0\0" + tail)).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (photo().convert("L"), "JPEG"),
        (photo().convert("CMYK"), "JPEG"),
        (photo().convert("L"), "PNG"),
        (photo().convert("1"), "PNG"),
        (photo().convert("P"), "PNG"),
        (photo().convert("RGBA"), "PNG"),
        (photo().convert("LA"), "PNG"),
        (photo().convert("P"), "GIF"),
        (photo(), "BMP"),
        (photo(), "PPM"),
        (photo().convert("CMYK"), "TIFF"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_what_has_a_clear_meaning_is_converted(image, name):
    data = encoded(image, name)
    assert np.abs(decode(data).astype(int) - as_rgb(data)).max() <= 3
    assert image_info(data) == (name, 64, 48)


def test_progressive_and_odd_subsampling_jpegs():
    for options in ({"progressive": True}, {"subsampling": 0}, {"subsampling": 1}):
        data = encoded(photo(), "JPEG", **options)
        assert np.abs(decode(data).astype(int) - as_rgb(data)).max() <= 3


def test_16_bit_gray_keeps_its_high_byte():
    gray = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    image = decode(encoded(Image.fromarray(gray), "PNG"))
    assert (image == (gray >> 8)[..., None]).all()


def test_16_bit_colour():
    rows = b"".join(b"\0" + bytes([200, 7, 100, 9, 50, 255]) * 5 for _ in range(4))
    image = decode(png(5, 4, 16, 2, rows))
    assert image.shape == (4, 5, 3) and (image == [200, 100, 50]).all()


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def transparent() -> Image.Image:
    image = photo().convert("RGBA")
    image.putpixel((3, 3), (1, 2, 3, 0))
    return image


def frames(name: str) -> bytes:
    return encoded(photo(), name, save_all=True, append_images=[ImageOps.mirror(photo())])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all, but a text", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\xff\xd8\xff", "damaged|not a picture"),
        (frames("GIF"), "frames"),
        (frames("WEBP"), "frames"),
        (frames("PNG"), "frames"),
        (frames("TIFF"), "frames"),
        (encoded(transparent(), "PNG"), "transparent"),
        (encoded(transparent(), "WEBP", lossless=True), "transparent"),
        (encoded(photo().convert("F"), "TIFF"), "type F"),
        (
            png(60_000, 50_000, 8, 2, b"\0"),
            "60000 x 50000 pixels, more than the 64 million .* Save it smaller",
        ),
        (png(MAX_PIXELS // 4, 5, 1, 0, b"\0"), "million"),
    ],
    ids=[
        "empty",
        "text",
        "eps",
        "start",
        "gif",
        "webp",
        "apng",
        "tiff",
        "alpha",
        "webp-alpha",
        "float",
        "bomb",
        "large",
    ],
)
def test_what_has_none_is_refused_with_a_reason(data, reason):
    with pytest.raises(Undecodable, match=reason):
        decode(data)
    with pytest.raises(Undecodable, match=reason):
        image_info(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_truncated_files_are_refused(name, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8))
    data = encoded(noise, name)
    with pytest.raises(Undecodable):
        decode(data[: int(len(data) * kept)])


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm():
    """Phones put videos and depth maps there."""
    assert (decode(encoded(photo(), "JPEG") + b"MotionPhoto" * 50) == decode(encoded(photo(), "JPEG"))).all()


WHOLE = {name: encoded(photo(), name) for name in ("JPEG", "PNG", "WEBP")} | {
    f"JPEG {options}": encoded(
        photo(200, 290), "JPEG", **options
    )  # large enough to be glanced at in a quarter of its size
    for options in (
        {"quality": 90},
        {"progressive": True},
        {"subsampling": "4:4:4"},
        {"restart_marker_blocks": 5},
    )
}


@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_probe_refuses_exactly_what_decode_refuses(name, hits, kept):
    data = bytearray(WHOLE[name])
    for at, value in hits:
        data[int(at * (len(data) - 1))] = value
    cut = bytes(data[: int(len(data) * kept)] if kept < 0.5 else data)

    def outcome(function):
        try:
            seen = function(cut)
        except Undecodable:
            return None
        return (seen.width, seen.height) if function is image_info else seen.shape[1::-1]

    assert outcome(image_info) == outcome(decode)


@pytest.mark.parametrize("width", [130, 224, 257, 300, 511])
def test_a_glance_shows_the_picture_alone(width):
    """Scaled down by eighths, libjpeg's last column reaches beyond a picture of most widths."""
    ramp = np.tile(np.linspace(0, 255, width), (width + 3, 1)).round().astype(np.uint8)
    facts, luma = image_info_and_luma(encoded(Image.fromarray(ramp), "JPEG", quality=95))
    assert (facts.width, facts.height) == (width, width + 3) and min(luma.shape) >= 64
    wanted = 255 * (np.arange(luma.shape[1]) + 0.5) / luma.shape[1]
    assert np.abs(luma.mean(axis=0) - wanted)[2:-2].max() < 1.2


@pytest.mark.parametrize("size", [(120, 90), (121, 93), (90, 120), (200, 200)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_of_too_many_pixels_is_read_at_a_part_of_its_size(size, orientation, monkeypatch):
    """With limits as small as the pictures: at the largest of a half, a quarter and an eighth that fits."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo(200, 200).resize(size)
    data = encoded(image, "JPEG", exif=exif, quality=95)
    for limit in (size[0] * size[1], size[0] * size[1] - 1, size[0] * size[1] // 5, size[0] * size[1] // 17):
        monkeypatch.setattr(MODULE, "MAX_PIXELS", limit)
        pixels, info = decode(data), image_info(data)
        assert (info.height, info.width) == pixels.shape[:2] and info.height * info.width <= limit
        scale = read_picture(data).scale
        wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
        wanted = np.asarray(Image.fromarray(wanted).resize(pixels.shape[1::-1], Image.Resampling.BOX))
        assert (scale == 1) == (limit == size[0] * size[1])
        assert np.abs(pixels.astype(int) - wanted).mean() < 4


def test_what_would_be_held_as_a_whole_keeps_the_limit(monkeypatch):
    for module in (MODULE, picture):
        monkeypatch.setattr(module, "MAX_PIXELS", 2000)
    for data in (
        encoded(photo(), "JPEG", progressive=True),
        *(encoded(photo(), name) for name in ("PNG", "WEBP")),
    ):
        for read in (decode, image_info):
            with pytest.raises(Undecodable, match=r"64 x 48 pixels, more than .*Save it smaller"):
                read(data)
    monkeypatch.setattr(MODULE, "MAX_JPEG_PIXELS", 3000)
    with pytest.raises(Undecodable, match="64 x 48 pixels, more than"):
        decode(encoded(photo(), "JPEG"))


@pytest.mark.slow
def test_a_photograph_of_108_megapixels():
    data = encoded(Image.new("RGB", (12000, 9000), (90, 110, 130)), "JPEG", quality=40)
    assert decode(data).shape == (4500, 6000, 3) and image_info(data) == ("JPEG", 6000, 4500)
