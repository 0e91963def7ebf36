"""Profiles: pixels come as sRGB whatever the file's colours are, and as stored where those are sRGB already."""

import io
import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import ADOBE_RGB, DISPLAY_P3, SRGB, cmyk_profile, gray_profile, rgb_profile

from dfd.media.colour import MAX_PROFILE, to_srgb
from dfd.media.decode import decode

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8), (0, 0), 5)
PIXELS = np.clip(3.0 * PIXELS.astype(int) - 255, 0, 255).astype(np.uint8)
P3, ADOBE = rgb_profile(DISPLAY_P3, 2.2), rgb_profile(ADOBE_RGB, 2.19921875)
OURS = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(format: str, pixels: np.ndarray = PIXELS, mode: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, format, **options)
    return buffer.getvalue()


def by_numpy(pixels: np.ndarray, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """Second implementation: light by the profile's power, primaries by matrices, sRGB's curve (IEC 61966-2-1)."""
    light = (pixels / 255.0) ** gamma @ (np.linalg.inv(SRGB) @ primaries).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize(
    ("profile", "primaries", "gamma"), [(P3, DISPLAY_P3, 2.2), (ADOBE, ADOBE_RGB, 2.19921875)]
)
def test_other_primaries_become_srgb(format, profile, primaries, gamma):
    image = decode(saved(format, icc_profile=profile, **LOSSLESS[format]))
    assert np.abs(image - by_numpy(PIXELS, primaries, gamma)).max() <= 2.5
    assert np.abs(image.astype(int) - PIXELS).mean() > 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 1}])
def test_a_jpeg_becomes_srgb(options):
    stored = decode(saved("JPEG", quality=95, **options))
    image = decode(saved("JPEG", quality=95, icc_profile=P3, **options))
    assert np.abs(image - by_numpy(stored, DISPLAY_P3, 2.2)).max() <= 2.5


def test_avif_and_heic_become_srgb():
    wanted = by_numpy(PIXELS, DISPLAY_P3, 2.2)
    assert np.abs(decode(saved("AVIF", quality=95, icc_profile=P3)) - wanted).mean() < 2
    pillow_heif = pytest.importorskip("pillow_heif")
    file, buffer = pillow_heif.from_pillow(Image.fromarray(PIXELS)), io.BytesIO()
    file.info["icc_profile"] = P3
    file.save(buffer, quality=95)
    assert np.abs(decode(buffer.getvalue()) - wanted).mean() < 3


@pytest.mark.parametrize("format", ["JPEG", *LOSSLESS])
def test_srgb_stays_as_it_is_to_the_bit(format):
    data = saved(format, icc_profile=OURS, **LOSSLESS.get(format, {}))
    assert (decode(data) == decode(saved(format, **LOSSLESS.get(format, {})))).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_gray_profiles(format):
    gray = PIXELS[..., 0]
    stored = decode(saved(format, gray))
    image = decode(saved(format, gray, icc_profile=gray_profile(1.8)))
    wanted = by_numpy(stored, SRGB, 1.8)
    assert np.abs(image - wanted).max() <= 2.5 and (image[..., 0] == image[..., 2]).all()
    # a profile of colours does not say what gray levels are
    assert (decode(saved(format, gray, icc_profile=P3)) == stored).all()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_cmyk_picture_by_its_press(format):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:, 3] = 128
    image = Image.fromarray(inks, "CMYK")
    buffer = io.BytesIO()
    image.save(buffer, format, icc_profile=cmyk_profile())
    left, right = (int(decode(buffer.getvalue())[8, at].mean()) for at in (2, 13))
    # half of an ink that takes 0.9 of the lightness away leaves L* 55
    assert left >= 253 and abs(right - 132) < 6, (left, right)
    buffer = io.BytesIO()
    image.save(buffer, format)
    assert abs(int(decode(buffer.getvalue())[8, 13].mean()) - 127) < 4


def broken(profile: bytes, at: int, new: bytes) -> bytes:
    return profile[:at] + new + profile[at + len(new) :]


HOSTILE = {
    "empty": b"",
    "short": P3[:60],
    "cut off": P3[:300],
    "noise": bytes(np.random.default_rng(1).integers(0, 255, 5000, dtype=np.uint8)),
    "its tags beyond its end": broken(P3, 132, b"\xff" * 60),
    "many tags": broken(P3, 128, b"\xff\xff\xff\xff"),
    "between devices": broken(P3, 12, b"link"),
    "of a press": cmyk_profile(),
    "of gray": gray_profile(1.8),
    "too large": P3 + bytes(MAX_PROFILE),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_profile_leaves_the_pixels_as_they_are(kind):
    pixels = PIXELS.copy()
    start = time.thread_time()
    assert (to_srgb(pixels, HOSTILE[kind]) == PIXELS).all()
    assert time.thread_time() - start < 0.3
    for format in ("JPEG", "PNG") if len(HOSTILE[kind]) < 60_000 else ():
        with_it = saved(format, icc_profile=HOSTILE[kind] or b"\0")
        assert (decode(with_it) == decode(saved(format))).all()


def test_a_packed_profile_of_a_png_unpacks_in_bounds():
    data = saved("PNG", icc_profile=b"\0" * 60_000_000)
    assert len(data) < 200_000
    start = time.thread_time()
    assert (decode(data) == PIXELS).all()
    assert time.thread_time() - start < 0.2


def test_a_profile_in_several_segments_and_one_that_lacks_a_part():
    long = P3 + bytes(100_000)
    data = saved("JPEG", icc_profile=long)
    assert data.count(b"ICC_PROFILE\0") == 2
    assert (decode(data) == decode(saved("JPEG", icc_profile=P3))).all()
    at = data.index(b"ICC_PROFILE\0") + 12
    assert (decode(data[:at] + b"\5" + data[at + 1 :]) == decode(saved("JPEG"))).all()


def test_large_pictures_are_converted_in_place():
    large = np.tile(PIXELS, (20, 1, 1))
    pixels = large.copy()
    assert to_srgb(pixels, P3) is pixels
    assert (pixels[: len(PIXELS)] == to_srgb(PIXELS.copy(), P3)).all()
    assert (pixels[-len(PIXELS) :] == pixels[: len(PIXELS)]).all()
