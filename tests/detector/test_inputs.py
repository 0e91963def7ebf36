"""What a detector can be shown: a file, its bytes, a Pillow image, pixels; anything else is refused in a line."""

import io

import numpy as np
import pytest
from PIL import Image

from dfd.detector.inputs import read_input
from dfd.inference import Predictor
from dfd.media.formats import Undecodable

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_all_kinds_of_a_picture_give_its_pixels(tmp_path):
    image = Image.fromarray(PIXELS)
    (tmp_path / "a.png").write_bytes(png(image))
    opened = Image.open(tmp_path / "a.png")
    data = png(image)
    for given in (
        PIXELS,
        image,
        opened,
        data,
        bytearray(data),
        memoryview(data),
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
    ):
        picture = read_input(given)
        assert np.array_equal(picture.pixels, PIXELS) and picture.opaque is None, type(given)


def test_a_pillow_image_is_read_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(Image.fromarray(PIXELS), exif=exif)
    turned = Image.open(io.BytesIO(data))
    assert np.array_equal(read_input(turned).pixels, read_input(data).pixels)
    alpha = np.dstack([PIXELS, np.full((40, 48), 255, np.uint8)])
    alpha[0, 0, 3] = 0
    data = png(Image.fromarray(alpha))
    seen, shown = read_input(Image.open(io.BytesIO(data))), read_input(data)
    assert np.array_equal(seen.opaque, shown.opaque) and not seen.opaque[0, 0]
    for mode in ("L", "P", "CMYK", "1", "RGBA", "LA"):
        assert read_input(Image.fromarray(PIXELS).convert(mode)).pixels.shape == (40, 48, 3), mode


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "a NoneType is no picture"),
        (3, "a int is no picture"),
        ([PIXELS], "a list is no picture"),
        (io.BytesIO(), "a BytesIO is no picture"),
        (PIXELS.astype(np.float32), r"type float32: give \(H, W, 3\) uint8"),
        (PIXELS[..., 0], r"shape \(40, 48\)"),
        (PIXELS[:0], r"shape \(0, 48, 3\)"),
        (PIXELS[None], r"shape \(1, 40, 48, 3\)"),
        (Image.new("I;16", (8, 8)), "mode 'I;16'"),
        (Image.new("F", (8, 8)), "mode 'F'"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_line(given, words):
    with pytest.raises(ValueError, match=words):
        read_input(given)


def test_bytes_and_images_that_cannot_be_read_are_unreadable():
    cut = png(Image.fromarray(PIXELS))[:-400]
    for given in (b"", b"text", cut, Image.open(io.BytesIO(cut))):
        with pytest.raises(Undecodable):
            read_input(given)


def test_a_predictor_scores_each_of_them_alike(checkpoint_file):
    predictor = Predictor(checkpoint_file)
    wanted = predictor.score(PIXELS, whole=True)
    for given in (Image.fromarray(PIXELS), png(Image.fromarray(PIXELS))):
        assert predictor.score(given, whole=True) == wanted
    both = list(predictor.score_all([PIXELS, Image.fromarray(PIXELS)], whole=True))
    # of a batch of two a logit differs in its last digit
    assert [score.logit for score in both] == pytest.approx(2 * [wanted[0].logit], abs=1e-6)
    (score,) = predictor.score(b"text", whole=True)
    assert score.status == "unreadable" and score.path == ""
    for nothing in (None, 3, predictor):
        with pytest.raises(ValueError, match="is no detector"):
            Predictor(nothing)


@pytest.fixture
def checkpoint_file(tmp_path):
    import torch

    from dfd.detector import Card
    from dfd.media.crops import View
    from dfd.models import SingleStream, SmallCNN, recipe

    net = SingleStream(SmallCNN(4))
    card = Card(recipe(net), view=dict(vars(View(size=32, crops=1, longest=64, margin=1.35)))).to_plain()
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": card, "state_dict": weights}, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"
