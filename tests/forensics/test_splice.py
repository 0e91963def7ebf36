"""Splice by noise: the features against a plain loop, foreign noise stands out, and nothing is ever accused."""

import cv2
import numpy as np
import pytest
from camera_photos import untouched
from photos import ellipse, jpeg
from pixel_auc import pixel_auc

from dfd.forensics.pixels.splice import CELL, STEP, _codes, _distances, _patches, histograms, splice
from dfd.media.decode import read_picture


@pytest.mark.slow
@pytest.mark.parametrize("quality", [None, 90])
def test_a_part_from_another_camera_stands_out(quality):
    mask, aucs = ellipse(400, (0.4, 0.6), 0.2), []
    for seed in range(3):
        photo, other = untouched(seed, 400), untouched(seed + 50, 400)
        # a soft lens and a noise reduction
        edited = np.where(mask[..., None], cv2.bilateralFilter(other, 5, 20, 2), photo)
        if quality:
            edited = read_picture(jpeg(edited, quality)).pixels
        finding = splice(edited)
        assert finding.status == "clear" and np.isfinite(finding.score)
        aucs.append(pixel_auc(finding.map, mask))
    assert np.mean(aucs) > 0.85


def test_the_histograms_are_those_of_a_plain_loop():
    gray = untouched(3, 64)[..., 1]
    counts = histograms(_patches(gray, CELL))
    assert counts.shape == (8, 8, 50) and (counts.sum(axis=2) == 4 * CELL * CELL).all()
    padded = np.pad(gray.astype(int), ((0, 14), (0, 14)), mode="reflect")
    across = np.diff(padded, n=3, axis=1)
    down = np.diff(padded, n=3, axis=0)
    sample = np.concatenate(
        [
            np.stack(
                [across[y : y + 14, x : x + 11] for y in range(0, 64, 8) for x in range(0, 64, 8)]
            ).ravel(),
            np.stack(
                [down[y : y + 11, x : x + 14] for y in range(0, 64, 8) for x in range(0, 64, 8)]
            ).ravel(),
        ]
    )
    step = STEP * (np.median(np.abs(sample)) + 0.25)

    def kind(value: int) -> int:
        return 1 + (value > step / 2) - (value < -step / 2)

    wanted = np.zeros(50)
    row, column = 3, 5
    for y in range(row * CELL, row * CELL + CELL):
        for x in range(column * CELL, column * CELL + CELL):
            for residual, (dy, dx) in ((across, (0, 1)), (down, (1, 0))):
                for direction, (sy, sx) in enumerate(((dy, dx), (dx, dy))):
                    four = [kind(residual[y + k * sy, x + k * sx]) for k in range(4)]
                    wanted[25 * direction + _codes()[four[0] * 27 + four[1] * 9 + four[2] * 3 + four[3]]] += 1
    assert np.array_equal(counts[row, column], wanted)


def test_there_are_25_kinds_of_sequences():
    codes = _codes()
    assert set(codes) == set(range(25))
    assert codes[0 * 27 + 1 * 9 + 2 * 3 + 2] == codes[2 * 27 + 2 * 9 + 1 * 3 + 0] == codes[2 * 27 + 1 * 9]


def test_outliers_of_a_gaussian_lie_far_and_it_is_not_widened_by_them():
    rng = np.random.default_rng(0)
    inliers = rng.standard_normal((3000, 12)) * np.linspace(3, 1, 12)
    outliers = rng.standard_normal((150, 12)) + 15
    distance = _distances(np.concatenate([inliers, outliers]))
    assert np.median(distance[:3000]) == pytest.approx(0.92, abs=0.15)  # of chi squared a degree, 8 degrees
    assert distance[3000:].min() > distance[:3000].max()


def test_flat_and_small_pictures_are_not_judged():
    assert splice(np.full((300, 300, 3), 128, np.uint8)).answer == "flat"
    assert splice(np.full((300, 300, 3), 255, np.uint8)).answer == "flat"
    assert splice(np.zeros((100, 300, 3), np.uint8)).answer == "too_small"


@pytest.mark.slow
def test_splices_of_camera_photos_stand_out_of_their_maps(real_data):
    files = sorted((real_data / "exif-samples").glob("*.jpg"))
    photos = [read_picture(file.read_bytes()).pixels for file in files]
    photos = [photo[:480, :640] for photo in photos if photo.shape[0] >= 480 and photo.shape[1] >= 640]
    assert len(photos) >= 10
    mask = np.zeros((480, 640), bool)
    mask[:, 80:560] = ellipse(480, (0.5, 0.45), 0.16)
    aucs = [
        pixel_auc(splice(np.where(mask[..., None], other, photo)).map, mask)
        for photo, other in zip(photos, photos[5:] + photos[:5], strict=True)
    ]
    assert np.mean(aucs) > 0.75 and np.median(aucs) > 0.8
