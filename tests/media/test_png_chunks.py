"""PNGs: what surrounds the pixels refuses no picture, what the pixels need is checked."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dfd.media.decode import Undecodable, decode, image_info, read_picture
from dfd.media.png_chunks import SIGNATURE

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def png(pixels: np.ndarray = PIXELS, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def behind_header(more: bytes, data: bytes | None = None) -> bytes:
    data = data or png()
    return data[:33] + more + data[33:]


def before_end(more: bytes) -> bytes:
    return png()[:-12] + more + png()[-12:]


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def built(*compressed: bytes) -> bytes:
    """Of pieces of the compressed rows."""
    return png()[:33] + b"".join(chunk(b"IDAT", piece) for piece in compressed) + png()[-12:]


LARGE = zlib.compress(bytes(100 << 20))  # 100 KB that unpack to 100 MB
XMP = b"XML:com.adobe.xmp\0"
HARMLESS = {
    "a large text": behind_header(chunk(b"tEXt", b"workflow\0" + b"a" * (3 << 20))),
    "a packed text": behind_header(chunk(b"zTXt", b"workflow\0\0" + LARGE)),
    "a packed international text": behind_header(chunk(b"iTXt", b"workflow\0\1\0\0\0" + LARGE)),
    "a packed text behind the pixels": before_end(chunk(b"zTXt", b"workflow\0\0" + LARGE)),
    "many texts": behind_header(chunk(b"tEXt", b"workflow\0" + b"a" * 900_000) * 80),
    "a large XMP": behind_header(chunk(b"iTXt", XMP + b"\0\0\0\0" + b"a" * (3 << 20))),
    "a packed XMP": behind_header(chunk(b"iTXt", XMP + b"\1\0\0\0" + LARGE)),
    "a broken XMP": behind_header(chunk(b"iTXt", XMP + b"\1\0\0\0no zlib")),
    "packed EXIF in a text": behind_header(chunk(b"zTXt", b"Raw profile type exif\0\0" + LARGE)),
    "broken EXIF in a text": behind_header(chunk(b"tEXt", b"Raw profile type exif\0\n\nexif\n 9\nxyz")),
    "a large profile": behind_header(chunk(b"iCCP", b"display\0\0" + LARGE)),
    "a profile of another compression": behind_header(chunk(b"iCCP", b"display\0\7abc")),
    "a broken profile": behind_header(chunk(b"iCCP", b"display\0\0no zlib")),
    "short colour chunks": behind_header(
        b"".join(
            chunk(kind, b"\0") for kind in (b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"sBIT", b"bKGD", b"tIME")
        )
    ),
    "unknown chunks": behind_header(chunk(b"prVt", bytes(99)) + chunk(b"zzZz", b"")),
    "a wrong checksum of a text": behind_header(chunk(b"tEXt", b"Software\0made", wrong=1)),
    "a wrong checksum of a profile": behind_header(chunk(b"iCCP", b"display\0\0abc", wrong=1)),
    "a wrong checksum of EXIF": behind_header(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", wrong=1)),
    "a broken EXIF": behind_header(chunk(b"eXIf", b"no exif")),
    "an animation of one frame": behind_header(
        chunk(b"acTL", struct.pack(">II", 1, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 56, 40, 0, 0, 1, 1, 0, 0))
    ),
    "a palette that it does not use": behind_header(chunk(b"PLTE", bytes(6))),
    "a broken palette that it does not use": behind_header(chunk(b"PLTE", bytes(7), wrong=1)),
    "transparency of no length": behind_header(chunk(b"tRNS", b"")),
    "transparency of another length": behind_header(chunk(b"tRNS", bytes(2))),
    "transparency behind the pixels": before_end(chunk(b"tRNS", bytes(6))),
    "rows too many": built(zlib.compress(ROWS + bytes(500))),
    "bytes behind the compressed ones": built(zlib.compress(ROWS) + b"abc" * 9),
    "no checksum of the compressed bytes": built(zlib.compress(ROWS)[:-4]),
    "pixels in chunks of no length": built(b"", zlib.compress(ROWS)[:99], b"", zlib.compress(ROWS)[99:], b""),
    "an end with content and a wrong checksum": png()[:-12] + chunk(b"IEND", b"abc", wrong=1),
    "bytes behind its end": png() + b"trailer" * 1000,
    "no end": png()[:-12],
    "half an end": png()[:-5],
}


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_surrounds_the_pixels_refuses_none(fault):
    assert (decode(HARMLESS[fault]) == PIXELS).all()
    assert image_info(HARMLESS[fault]) == ("PNG", 56, 40)


def spoiled(kind: bytes, data: bytes) -> bytes:
    """With a wrong checksum of its first chunk of a kind."""
    at = data.index(kind)
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:end] + bytes((data[end] ^ 1,)) + data[end + 1 :]


PALETTE = Image.fromarray(PIXELS).convert("P")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (spoiled(b"IHDR", png()), "checksum of a chunk IHDR"),
        (spoiled(b"IDAT", png()), "checksum of a chunk IDAT"),
        (png()[: len(png()) // 2], "ends in a chunk IDAT"),
        (png()[:20], "ends in a chunk IHDR"),
        (SIGNATURE, "damaged|not a picture"),
        (png().replace(b"IDAT", b"teXt"), "damaged"),
        (built(zlib.compress(ROWS)[:-3] + b"\0\0\0"), "damaged"),
        (built(zlib.compress(ROWS[:-9])), "damaged"),
        (behind_header(png()[8:33]), "two headers"),
        (png()[:8] + png()[33:], "no header"),
        (behind_header(chunk(b"CgBI", bytes(4))), "a chunk CgBI, which changes its pixels"),
    ],
    ids=[
        "header",
        "pixels",
        "cut",
        "cut at its header",
        "signature",
        "no pixels",
        "wrong sum",
        "rows too few",
        "two headers",
        "no header",
        "unknown and critical",
    ],
)
def test_what_the_pixels_need_is_checked(data, reason):
    for read in (decode, image_info):
        with pytest.raises(Undecodable, match=reason):
            read(data)


def test_a_palette_is_checked_and_an_opaque_one_is_no_transparency():
    buffer = io.BytesIO()
    PALETTE.save(buffer, "PNG", transparency=bytes([255] * 256))
    data = buffer.getvalue()
    assert (decode(data) == np.asarray(PALETTE.convert("RGB"))).all()
    for kind in (b"PLTE", b"tRNS"):
        with pytest.raises(Undecodable, match=f"checksum of a chunk {kind.decode()}"):
            decode(spoiled(kind, data))


def test_a_palette_that_is_missing_or_transparency_longer_than_it():
    buffer = io.BytesIO()
    PALETTE.save(buffer, "PNG")
    data, pixels = buffer.getvalue(), np.asarray(PALETTE.convert("RGB"))
    at = data.index(b"PLTE") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    with pytest.raises(Undecodable, match="no palette"):
        decode(data[:at] + data[end:])
    for place, length in ((at, 1), (end, 300)):
        more = chunk(b"tRNS", bytes(length))
        assert (decode(data[:place] + more + data[place:]) == pixels).all(), "as libpng, which passes over it"


def test_the_orientation_of_texts_is_kept():
    """Behind a text that is left out, in each of the three kinds of text."""
    raw = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    profile = f"\nexif\n{len(raw):8}\n{(b'Exif' + bytes(2) + raw).hex()}\n".encode()
    texts = [
        chunk(b"iTXt", XMP + b"\0\0\0\0" + b'<a tiff:Orientation="6"/>'),
        chunk(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(b'<a tiff:Orientation="6"/>')),
        chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        chunk(b"eXIf", raw),
    ]
    for text in texts:
        turned = decode(behind_header(chunk(b"zTXt", b"workflow\0\0" + LARGE) + text))
        assert (turned == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize("kind", [0, 2])
def test_the_colour_that_means_transparent_has_16_bits_in_a_deep_one(kind):
    pixels = np.array([[1000, 20_000], [7, 65_535]], ">u2")
    stored = pixels if kind == 0 else np.stack([pixels] * 3, -1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    for key, wanted in ((1000, [[0, 1], [1, 1]]), (7, [[1, 1], [0, 1]]), (40_000, None)):
        data = (
            SIGNATURE
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, kind, 0, 0, 0))
            + chunk(b"tRNS", struct.pack(">H", key) * (1 if kind == 0 else 3))
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
        picture = read_picture(data)
        assert (picture.pixels == (pixels >> 8)[..., None]).all()
        assert picture.opaque is None if wanted is None else (picture.opaque == wanted).all()


def test_a_file_of_many_chunks_costs_no_time():
    start = time.perf_counter()
    with pytest.raises(Undecodable, match="chunks"):
        decode(behind_header(chunk(b"tEXt", b"") * 2_000_000))
    assert time.perf_counter() - start < 2


def test_interlaced_and_deep_pngs_are_read(tmp_path):
    import cv2

    deep = PIXELS.astype(np.uint16) << 8 | 7
    assert (decode(cv2.imencode(".png", deep[..., ::-1])[1].tobytes()) == PIXELS).all()
    info = PngInfo()
    info.add_text("Software", "made")
    assert (decode(png(pnginfo=info)) == PIXELS).all()
