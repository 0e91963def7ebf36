"""Median filter: found through a whole picture, told from a blur, and silent on cameras and JPEG."""

import cv2
import numpy as np
import pytest
from camera_photos import untouched
from photos import jpeg
from scipy.ndimage import median_filter as scipy_median
from scipy.ndimage import uniform_filter

from dfd.forensics.pixels.median_filter import CELL, LEAST, MOST, changes, median_filter, median_strength
from dfd.media.decode import read_picture


@pytest.mark.parametrize("side", [7, 9])
def test_a_median_filter_is_found(side):
    for seed in (1, 2):
        assert median_filter(cv2.medianBlur(untouched(seed, 320), side)).status == "found"


def test_a_blur_is_not_called_a_median_filter():
    for sigma in (0.8, 1.5, 3.0):
        assert median_filter(cv2.GaussianBlur(untouched(2, 320), (0, 0), sigma)).answer != "median"


@pytest.mark.parametrize("quality", [None, 90, 70])
def test_a_photo_is_silent(quality):
    photo = untouched(3, 320)
    if quality:
        photo = read_picture(jpeg(photo, quality)).pixels
    assert median_filter(photo).status == "clear"


def test_what_filters_change_is_what_scipys_change():
    gray = untouched(4, 160)[:150, :, 1]
    counted = changes(gray)
    padded = np.pad(gray, 1, mode="edge").astype(int)
    nine = np.stack([padded[y : y + 150, x : x + 160] for y in range(3) for x in range(3)])
    span = nine.max(axis=0) - nine.min(axis=0)
    judged = (span >= LEAST) & (span <= MOST)
    inner = np.s_[CELL : 8 * CELL, CELL : 9 * CELL]  # away from the borders, which each extends in its way
    by_median = np.abs(gray.astype(int) - scipy_median(gray, 3)) * judged
    by_mean = np.abs(gray - np.rint(uniform_filter(gray.astype(float), 3))) * judged

    def summed(values):
        return values[inner].reshape(7, CELL, 8, CELL).sum(axis=(1, 3))

    assert counted.by_median.shape == (9, 10)
    assert np.array_equal(counted.by_median[1:8, 1:9], summed(by_median))
    assert np.allclose(counted.by_mean[1:8, 1:9], summed(by_mean), atol=2)
    assert np.array_equal(counted.judged[1:8, 1:9], summed(judged))
    step = np.abs(np.diff(gray.astype(int), axis=1))[judged[:, 1:]]
    assert counted.streaks == pytest.approx((step == 0).sum() / (step == 1).sum())
    assert counted.even == pytest.approx((span[1:-1, 1:-1] == 0).mean(), abs=0.005)


def test_flat_and_small_pictures_are_not_judged():
    assert median_filter(np.full((200, 200, 3), 9, np.uint8)).answer == "flat"
    assert median_filter(np.zeros((90, 400, 3), np.uint8)).answer == "too_small"
    assert median_strength(np.zeros((8, 8), np.uint8)) == 0


def test_drawings_are_not_judged():
    drawing = np.full((256, 256, 3), 90, np.uint8)
    for seed in range(60):
        x, y, gray = np.random.default_rng(seed).integers(0, 256, 3).tolist()
        cv2.circle(drawing, (x, y), 20, (gray,) * 3, -1, cv2.LINE_AA)
    finding = median_filter(drawing)
    assert (finding.status, finding.answer) == ("abstained", "drawn")


@pytest.mark.slow
def test_real_photos_are_silent_until_they_are_filtered(real_data):
    files = [*sorted((real_data / "casia1/real").iterdir()), *(real_data / "exif-samples").glob("*Sony*.jpg")]
    photos = [read_picture(file.read_bytes()).pixels for file in files]
    assert sum(median_filter(photo).status == "found" for photo in photos) == 0
    for side, quality, least in ((3, None, 0.9), (5, None, 0.75), (5, 90, 0.03)):
        filtered = [cv2.medianBlur(photo, side) for photo in photos]
        if quality:
            filtered = [read_picture(jpeg(photo, quality)).pixels for photo in filtered]
        findings = [median_filter(photo) for photo in filtered]
        assert np.mean([finding.status == "found" for finding in findings]) >= least
        if not quality:
            assert np.mean([finding.answer == "median" for finding in findings]) >= 0.75


@pytest.mark.slow
def test_one_real_picture_in_fifty_is_found_at_most(real_data):
    """Faces of the sets, many of them enlarged or smoothed before, and what exif-samples has, drawings too."""
    folders = ("exif-samples", "casia1/real", "real-and-fake-face-detection/real_and_fake_face/training_real",
               "140k-real-and-fake-faces/real_vs_fake/real-vs-fake/valid/real",
               "deepfake-and-real-images/Dataset/Test/Real")  # fmt: skip
    files = [file for folder in folders for file in sorted((real_data / folder).iterdir())[:100]]
    statuses = [median_filter(read_picture(file.read_bytes()).pixels).status for file in files]
    assert len(files) > 150 and statuses.count("found") <= len(files) / 50
