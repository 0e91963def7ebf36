"""Caps hold for every format: what is cut off is refused, and what claims much in few bytes costs nothing."""

import contextlib
import io
import struct
import time

import numpy as np
import pytest
from hostile_pictures import small_pictures
from peak_memory import MEASURES, Peak
from PIL import Image

from dfd.media import webp_chunks
from dfd.media.decode import Undecodable, image_info, read_picture

pytestmark = pytest.mark.skipif(not MEASURES, reason="memory is read from /proc")
STILL = [kind for kind in small_pictures() if not kind.startswith(("animated", "apng", "tiff of pages"))]
# of these the pixels end before the file does: what is cut off is metadata, or another picture
BEHIND = {"mpo": 0.6, "webp": 0.8, "heic of tiles": 0.8, "tiff": 0.8, "palette png": 0.99}


@pytest.mark.parametrize("kind", STILL)
def test_truncated_pictures_are_refused(kind):
    data = small_pictures()[kind]
    for share in (0.97, 0.9, 0.7, 0.5, 0.2):
        if share > BEHIND.get(kind, 1):
            continue
        with pytest.raises(Undecodable):
            read_picture(data[: int(share * len(data))])


def patched(kind: str, mark: bytes, offset: int, form: str, size: tuple[int, int]) -> bytes:
    """The small picture with another size in its header."""
    data = small_pictures().get(kind)
    if data is None:
        pytest.skip("dfd[heif] is not installed")
    at = data.rindex(mark) + offset if kind == "jpeg" else data.index(mark) + offset
    new = struct.pack(form, *size)
    return data[:at] + new + data[at + len(new) :]


HEADERS = {
    "jpeg": (b"\xff\xc0", 5, ">HH"),
    "gif": (b"GIF8", 6, "<HH"),
    "bmp": (b"BM", 18, "<ii"),
    "avif": (b"ispe", 8, ">II"),
    "heic": (b"ispe", 8, ">II"),
    "heic of tiles": (b"ispe", 8, ">II"),
    "jpeg 2000": (b"ihdr", 4, ">II"),
    "lossless webp": (b"VP8L", 9, "<HH"),
    "png": (b"IHDR", 4, ">II"),
}


@pytest.mark.parametrize("kind", ["lossless", "lossy", "extended"])
def test_a_webp_that_claims_too_much_is_refused_before_it_is_opened(kind, monkeypatch):
    extended = {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"} if kind == "extended" else {}
    with io.BytesIO() as file:
        noise = np.random.default_rng(0).integers(0, 256, (203, 301, 3), np.uint8)
        Image.fromarray(noise).save(file, "WEBP", lossless=kind == "lossless", **extended)
        data = file.getvalue()
    assert webp_chunks.claimed_size(data) == (301, 203) == Image.open(io.BytesIO(data)).size
    if kind == "extended":
        at, size = data.index(b"VP8X") + 12, b"\xff\x3e\0" * 2
    else:
        # 14 bits a side, at their largest
        at, size = (
            (data.index(b"VP8L") + 9, b"\xff" * 4)
            if kind == "lossless"
            else (data.index(b"VP8 ") + 14, b"\xff\x3f" * 2)
        )
    hostile = data[:at] + size + data[at + len(size) :]
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(Undecodable, match="pixels, more than the 64 million"):
        read_picture(hostile)


@pytest.mark.parametrize("size", [(65_000, 65_000), (8000, 8000), (60_000, 1000)])
@pytest.mark.parametrize("kind", HEADERS)
def test_a_size_that_only_the_header_says_costs_nothing(kind, size):
    if kind == "heic" and size == (60_000, 1000):
        size = (6000, 1000)
    data = patched(kind, *HEADERS[kind], size)
    peak = Peak()
    for read in (read_picture, image_info):
        peak.begin()
        start = time.thread_time()
        with contextlib.suppress(Undecodable):
            read(data)
        assert time.thread_time() - start < 0.5 and peak.megabytes() < 300


def test_an_avif_that_pillow_refuses_is_called_one():
    data = patched("avif", b"ispe", 8, ">II", (60_000, 60_000))
    with pytest.raises(Undecodable, match="AVIF"):
        read_picture(data)
