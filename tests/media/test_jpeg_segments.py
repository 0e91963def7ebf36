import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dfd.media.jpeg_segments import END, EXIF, HEAD, HUFFMAN, METADATA, SCAN, segments


def jpeg(**options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "Camera"
    return tags


WAYS = {
    "plain": {},
    "metadata": {"exif": exif(), "comment": b"from a camera", "dpi": (72, 72)},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_they_are_the_file_up_to_its_first_scan(way):
    data = jpeg(**WAYS[way])
    found = list(segments(data))
    head = data[:2] + b"".join(whole for _, whole in found)
    assert data.startswith(head) and data[len(head) : len(head) + 2] == bytes([0xFF, SCAN])
    for marker, whole in found:
        assert whole[:2] == bytes([0xFF, marker])
        assert int.from_bytes(whole[2:HEAD], "big") == len(whole) - 2


def test_metadata_is_what_pillow_finds():
    data = jpeg(**WAYS["metadata"])
    with Image.open(io.BytesIO(data)) as image:
        wanted = [content for _, content in image.applist]
    found = list(segments(data))
    assert [whole[HEAD:] for marker, whole in found if marker in METADATA] == wanted
    assert sum(marker == EXIF for marker, _ in found) == 1 and any(marker == HUFFMAN for marker, _ in found)


def test_filling_between_segments_is_passed_over():
    data = jpeg(exif=exif())
    assert list(segments(data[:2] + b"\xff\xff" + data[2:])) == list(segments(data))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"GIF89a, no JPEG", bytes(100)])
def test_what_is_no_jpeg_has_none(data):
    assert list(segments(data)) == []


@given(content=st.binary(max_size=300), cut=st.integers(0, 400))
def test_no_bytes_are_read_twice_or_past_the_end(content, cut):
    for data in (b"\xff\xd8" + content, jpeg(exif=exif())[:cut], b"\xff\xd8\xff\xe1" + content):
        length = sum(len(whole) for _, whole in segments(data))
        assert length <= len(data)
        assert not any(marker in (SCAN, END) for marker, _ in segments(data))
