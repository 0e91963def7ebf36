"""Cues: the same numbers of the same file, finite on any picture, each following what it is named after."""

import io
import time

import cv2
import numpy as np
import pytest
from camera_photos import scaled, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import jpeg, photo, png
from PIL import Image

from dfd.forensics.cues import CUES, CUES_VERSION, KINDS, describe, kinds
from dfd.media.formats import Undecodable

PHOTO = photo(1, 256)


def cue(data: bytes, name: str) -> float:
    return float(describe(data)[CUES.index(name)])


def test_names_are_in_a_fixed_order():
    """Whoever changes them raises CUES_VERSION: tables that were written keep their meaning by it."""
    assert CUES_VERSION == 1
    assert len(set(CUES)) == len(CUES) and all(name.partition(".")[0] in KINDS for name in CUES)
    # by kind, in the order of KINDS
    order = [KINDS.index(name.partition(".")[0]) for name in CUES]
    assert order == sorted(order)
    assert all(name.replace(".", "").replace("_", "").isalnum() and name.islower() for name in CUES)


def test_kinds_leave_out_the_facts_of_the_file():
    kept = [CUES[at] for at in kinds(CUES)]
    assert kept and not any(name.startswith("file.") for name in kept)
    assert len(kinds(CUES, ["file"])) + len(kept) == len(CUES)
    with pytest.raises(ValueError, match="no kind of cue"):
        kinds(CUES, ["files"])


@st.composite
def pictures(draw) -> bytes:
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "flat", "black", "white", "stripes", "photo"]))
    pixels = {
        "noise": lambda: rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "flat": lambda: np.full((height, width, 3), rng.integers(256), np.uint8),
        "black": lambda: np.zeros((height, width, 3), np.uint8),
        "white": lambda: np.full((height, width, 3), 255, np.uint8),
        "stripes": lambda: np.broadcast_to(
            (np.arange(width) % 2 * 255).astype(np.uint8)[None, :, None], (height, width, 3)
        ),
        "photo": lambda: PHOTO[:height, :width],
    }[kind]()
    mode, buffer = draw(st.sampled_from(["RGB", "L", "1", "P", "RGBA", "CMYK"])), io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    picture.save(buffer, {"RGBA": "PNG", "P": "GIF", "CMYK": "JPEG", "1": "BMP"}.get(mode, draw(FORMATS)))
    return buffer.getvalue()


FORMATS = st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"])


@pytest.mark.slow
@given(pictures())
@settings(max_examples=60, deadline=None)
def test_any_picture_has_finite_cues(data):
    found = describe(data)
    assert found.shape == (len(CUES),) and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.array_equal(found, describe(data))


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg(PHOTO)[:2000], b"\xff\xd8\xff\xd9"])
def test_what_cannot_be_decoded_is_refused_as_decode_does(data):
    with pytest.raises(Undecodable):
        describe(data)


def test_file_facts():
    data = jpeg(PHOTO, quality=83)
    assert cue(data, "file.quality") == 83 and cue(data, "file.standard_tables") == 1
    assert cue(data, "file.subsampling") == 1 and cue(jpeg(PHOTO, subsampling=0), "file.subsampling") == 0
    assert cue(data, "file.progressive") == 0 and cue(jpeg(PHOTO, progressive=True), "file.progressive") == 1
    assert cue(data, "file.jfif") == 1 and cue(data, "file.exif") == 0
    assert cue(jpeg(PHOTO, exif=b"Exif\0\0II*\0\10\0\0\0\0\0\0\0\0\0"), "file.exif") == 1
    assert cue(data, "file.trailing_bytes") == 0 and cue(data + bytes(1023), "file.trailing_bytes") == 10
    assert cue(data, "file.log_pixels") == 16 and cue(png(PHOTO), "file.png") == 1
    assert np.isclose(2 ** cue(data, "file.log_bits_per_pixel"), 8 * len(data) / 256**2, rtol=1e-4)


def test_pixel_cues_do_not_see_the_file():
    """Of one picture's pixels in two lossless files, all cues but the file's are the same."""
    first, second = describe(png(PHOTO)), describe(_saved(PHOTO, "TIFF"))
    kept = kinds(CUES)
    assert np.array_equal(first[kept], second[kept]) and not np.array_equal(first, second)


def test_the_grid_is_where_the_blocks_are():
    pixels = np.asarray(Image.open(io.BytesIO(jpeg(PHOTO, quality=50))))
    for shift in (0, 3, 5):
        cropped = describe(png(pixels[:, shift : shift + 192]))
        strength = [cropped[CUES.index(f"jpeg.grid_x{at}")] for at in range(8)]
        assert int(np.argmax(strength)) == (8 - shift) % 8
        down = describe(png(pixels[shift : shift + 192]))
        assert int(np.argmax([down[CUES.index(f"jpeg.grid_y{at}")] for at in range(8)])) == (8 - shift) % 8
    clean = [describe(png(PHOTO))[CUES.index(f"jpeg.grid_x{at}")] for at in range(8)]
    assert max(clean) < 0.3 * max(strength)


def test_compression_noise_and_blur_move_their_cues():
    again = jpeg(np.asarray(Image.open(io.BytesIO(jpeg(PHOTO, quality=60)))), quality=90)
    assert cue(again, "jpeg.periodicity") > cue(jpeg(PHOTO, quality=90), "jpeg.periodicity") + 0.3
    assert cue(jpeg(PHOTO, quality=40), "jpeg.zeros") > cue(jpeg(PHOTO, quality=95), "jpeg.zeros") + 0.2
    noisy = np.clip(PHOTO + np.random.default_rng(0).normal(0, 12, PHOTO.shape), 0, 255).astype(np.uint8)
    assert cue(png(noisy), "noise.level") > cue(png(PHOTO), "noise.level") + 0.5
    blurred = cv2.GaussianBlur(PHOTO, (0, 0), 2)
    assert cue(png(blurred), "spectrum.band_14") < cue(png(PHOTO), "spectrum.band_14") - 1
    assert cue(png(blurred), "pixels.sharpness") < cue(png(PHOTO), "pixels.sharpness") - 0.3
    gray = np.repeat(PHOTO[..., 1:2], 3, axis=2)
    assert cue(png(gray), "noise.red_green") > 0.999 and cue(png(gray), "pixels.saturation") == 0


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_lattice_of_its_period_stands_out(period):
    rng = np.random.default_rng(period)
    pattern = np.tile(rng.normal(0, 3, (period, period, 1)), (256 // period, 256 // period, 1))
    planted = np.clip(PHOTO + pattern, 0, 255).astype(np.uint8)
    name = f"spectrum.lattice_{period}"
    assert cue(png(planted), name) > cue(png(PHOTO), name) + 1


def test_bands_are_means_of_log_power():
    """A second implementation, ring by ring."""
    gray = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY).astype(np.float64)
    window = np.hanning(257)[:-1]
    window = np.outer(window, window) / (window**2).sum()
    log = np.log(np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2 + 0.05)
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    for band in (1, 7, 15):
        ring = (radius >= band / 32) & (radius < (band + 1) / 32)
        assert np.isclose(cue(png(PHOTO), f"spectrum.band_{band:02d}"), log[ring].mean(), atol=1e-3)


def test_a_large_picture_costs_little_more_than_its_decoding():
    pixels = np.tile(PHOTO, (8, 8, 1))
    data = jpeg(pixels)
    assert np.isfinite(describe(data)).all()
    start = time.thread_time()
    describe(data)
    assert time.thread_time() - start < 2  # 0.2 here; a walk over all pixels takes far longer


@pytest.mark.slow
def test_camera_originals_are_described(real_data):
    paths = sorted((real_data / "exif-samples").iterdir())
    num = 0
    for path in paths:
        try:
            found = describe(path.read_bytes())
        except Undecodable:
            continue
        num += 1
        assert np.isfinite(found).all() and np.abs(found).max() < 1000, path.name
    assert num >= 40


def test_scaled_pictures_and_mosaics_show():
    whole = untouched(2, 320)
    assert cue(png(scaled(whole, 1.5)), "pixels.resampling") > cue(png(whole), "pixels.resampling") + 2
    # a demosaiced picture, and one whose mosaic is gone
    small = cv2.resize(whole, (160, 160), interpolation=cv2.INTER_AREA)
    assert cue(png(whole), "pixels.cfa") > 1 > 3 * cue(png(small), "pixels.cfa")


def _saved(pixels: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()
