import numpy as np
import pytest
import pywt
from photos import ellipse, jpeg, noisy, photo

from dfd.forensics import Catalogue
from dfd.forensics.noise import level, noise_level
from dfd.forensics.noise.level import block_levels, deviations
from dfd.media.decode import decode

MASK = ellipse(512)


@pytest.mark.parametrize("sigma", [1.0, 3.0, 10.0])
def test_the_noise_of_an_even_picture_is_known(sigma):
    gray = np.random.default_rng(0).normal(120, sigma, (320, 400)).astype(np.float32)
    light, noise, texture = block_levels(gray)
    assert light.shape == noise.shape == texture.shape == (20, 25)
    assert np.median(noise) == pytest.approx(sigma, rel=0.05)
    assert np.median(texture) == pytest.approx(sigma, rel=0.05)
    np.testing.assert_allclose(light, gray.reshape(20, 16, 25, 16).mean(axis=(1, 3)), rtol=1e-4)


def test_a_block_s_noise_is_the_median_of_its_coefficients():
    gray = np.random.default_rng(1).normal(120, 5, (160, 176)).astype(np.float32)
    diagonal = pywt.wavedec2(gray.astype(np.float64), "db4", mode="symmetric", level=1)[1][2][1:, 1:]
    wanted = np.median(np.abs(diagonal[8:16, 24:32])) / 0.6745
    assert block_levels(gray)[1][1, 3] == pytest.approx(wanted, rel=1e-3)


def test_strips_change_little(monkeypatch):
    gray = np.random.default_rng(2).normal(120, 4, (480, 320)).astype(np.float32)
    whole = block_levels(gray)[1]
    monkeypatch.setattr(level, "_STRIP", 160)
    strips = block_levels(gray)[1]
    assert strips.shape == whole.shape
    inner = np.arange(30) % 10
    inner = (inner > 0) & (inner < 9)
    np.testing.assert_allclose(strips[inner], whole[inner], rtol=1e-3)


def test_light_and_texture_are_taken_out():
    """Noise that grows with light, and with texture, is usual."""
    rng = np.random.default_rng(0)
    light, texture = rng.uniform(20, 230, (30, 40)), np.exp(rng.normal(0, 1, (30, 40)))
    noise = (texture + 0.5) ** 0.4 * 2 ** (light / 128) - 0.5
    usable = np.ones_like(light, bool)
    left = deviations(light, noise, texture, usable)
    assert np.abs(left).max() < 0.1
    noise[10:14, 10:14] = 2 * (noise[10:14, 10:14] + 0.5) - 0.5
    left = deviations(light, noise, texture, usable)
    np.testing.assert_allclose(left[10:14, 10:14], 1, atol=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_a_noisier_region_is_found_where_it_is(seed):
    finding = noise_level(decode(jpeg(noisy(photo(seed), MASK))))
    assert (finding.status, finding.answer) == ("found", "noisier")
    inside = MASK[8::16, 8::16]
    values = finding.map.values
    assert np.median(values[inside]) > np.median(values[~inside]) + 1
    x, y, width, height = next(region.box for region in finding.regions if region.name == "noisier_here")
    assert x < 256 < x + width and y < 256 < y + height


@pytest.mark.parametrize("seed", range(2))
def test_a_clean_region_in_a_noisy_photo_is_found(seed):
    finding = noise_level(decode(jpeg(noisy(photo(seed), ~MASK, 10.0))))
    assert (finding.status, finding.answer) == ("found", "smoother")


@pytest.mark.parametrize("quality", [None, 92, 75])
def test_untouched_photos_are_silent_and_calm(quality):
    for seed in range(2):
        finding = noise_level(photo(seed) if quality is None else decode(jpeg(photo(seed), quality)))
        assert finding.status == "clear", finding
        assert np.mean(finding.map.values > 1) < 0.05


def test_what_holds_no_noise_is_not_judged():
    assert noise_level(np.zeros((200, 200, 3), np.uint8)).answer == "flat"
    assert noise_level(np.full((200, 200, 3), 128, np.uint8)).answer == "noiseless"
    assert noise_level(np.zeros((159, 900, 3), np.uint8)).answer == "too_small"


def test_one_noisy_place_of_a_drawing_is_no_trace():
    """As in a drawing saved without loss, whose letters alone have any detail."""
    drawing = noisy(np.full((512, 512, 3), 128, np.uint8), MASK)
    finding = noise_level(drawing)
    assert (finding.status, finding.answer) == ("abstained", "noiseless")
    assert "(less than 0.01 grey levels in the median)" in Catalogue().answer(finding)
    # noise of one grey level all over is enough to compare
    grain = np.random.default_rng(1).normal(0, 1, (512, 512, 1))
    finding = noise_level(np.clip(drawing + grain + 0.5, 0, 255).astype(np.uint8))
    assert finding.status != "abstained" and finding.facts["level"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "name",
    [
        "exif-samples/Piexif__tests__images__large.jpg",  # a roof
        "exif-samples/exif-samples__tiff__Picoawards.tiff",  # a drawing
        "casia1/real/Au_pla_0043.jpg",  # dark leaves
    ],
)
def test_real_pictures_that_were_taken_for_edited_are_silent(real_data, name):
    assert noise_level(decode((real_data / name).read_bytes())).status != "found"


@pytest.mark.slow
def test_few_real_pictures_are_found(real_data):
    """Of pictures that nobody edited: at most one in twenty."""
    folders = ("casia1/real", "real-and-fake-face-detection/real_and_fake_face/training_real",
               "140k-real-and-fake-faces/real_vs_fake/real-vs-fake/valid/real",
               "deepfake-and-real-images/Dataset/Test/Real")  # fmt: skip
    files = [file for folder in folders for file in sorted((real_data / folder).glob("*.jp*g"))]
    said = [noise_level(decode(file.read_bytes())).status for file in files]
    assert len(said) > 300 and said.count("found") <= len(said) / 20
