import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from dfd.forensics import jpeg_facts
from dfd.forensics.imitate import JpegStyle, _huffman
from dfd.media.jpeg_segments import segments


def face(side: int = 64, seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(rough).resize((side, side + 8), Image.Resampling.BICUBIC))


def jpeg(image: np.ndarray | Image.Image, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "JPEG", **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "Camera"
    return tags


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WAYS = {
    "plain": {"quality": 90},
    "coarse": {"quality": 30, "subsampling": 0},
    "half": {"quality": 75, "subsampling": 1},
    "optimized": {"quality": 85, "optimize": True},
    "progressive": {"quality": 95, "progressive": True},
    "own tables": {"qtables": [[3 + at // 9 for at in range(64)], [9] * 64]},
    "one table": {"qtables": [[5] * 64]},
    "metadata": {
        "quality": 80,
        "exif": exif(1),
        "icc_profile": PROFILE,
        "comment": b"from a camera",
        "dpi": (72, 72),
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_another_picture_says_what_the_model_says(way):
    model = jpeg(face(seed=1), **WAYS[way])
    made = JpegStyle.of(model).encode(face(seed=2))
    assert jpeg_facts(made) == jpeg_facts(model)
    kinds = [[marker for marker, _ in segments(data)] for data in (model, made)]
    assert kinds[0] == kinds[1], "the same segments in the same order"
    with Image.open(io.BytesIO(model)) as one, Image.open(io.BytesIO(made)) as two:
        assert {name: one.info[name] for name in one.info} == {name: two.info[name] for name in two.info}
    if way not in ("optimized", "progressive"):
        assert _huffman(model) == _huffman(made)


@pytest.mark.parametrize("way", WAYS)
def test_the_model_itself_comes_out_as_it_was(way):
    image = face()
    model = jpeg(image, **WAYS[way])
    assert JpegStyle.of(model).encode(image) == model


def test_gray_stays_gray():
    model = jpeg(Image.fromarray(face()).convert("L"), quality=80)
    made = JpegStyle.of(model).encode(face(seed=2))
    assert jpeg_facts(made) == jpeg_facts(model)
    assert Image.open(io.BytesIO(made)).mode == "L"


def test_what_cannot_be_imitated_has_no_style():
    png = io.BytesIO()
    Image.fromarray(face()).save(png, "PNG")
    turned, cmyk = jpeg(face(), exif=exif(6)), jpeg(Image.fromarray(face()).convert("CMYK"))
    as_rgb = jpeg(face(), keep_rgb=True)  # whoever reads its Adobe marker takes our luma for red
    for data in (b"", b"\xff\xd8\xff", png.getvalue(), turned, cmyk, as_rgb):
        assert JpegStyle.of(data) is None
