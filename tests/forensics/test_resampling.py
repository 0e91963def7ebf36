"""Resampling: found after scaling and turning, in a part as in the whole, and silent on cameras and JPEG."""

import cv2
import numpy as np
import pytest
from camera_photos import pasted, scaled, untouched
from photos import ellipse, jpeg
from pixel_auc import pixel_auc

from dfd.forensics import Catalogue
from dfd.forensics.pixels import resampling as module
from dfd.forensics.pixels.resampling import TILE, resampling, resampling_strength
from dfd.media.decode import read_picture


@pytest.mark.parametrize("scale", [1.1, 1.3, 1.6, 0.9])
def test_scaling_is_found_and_its_factor_is_among_those_named(scale):
    finding = resampling(scaled(untouched(3, 400), scale))
    assert (finding.status, finding.answer) == ("found", "whole")
    assert finding.facts["p"] < 1e-6


def test_the_factor_of_an_enlargement_is_among_those_named():
    finding = resampling(scaled(untouched(3, 400), 1.5))
    assert any(row[0] == pytest.approx(1.5, rel=0.02) and abs(row[1]) < 2 for row in finding.table.rows)
    # one of several possible ones: the sentence names none
    assert len(finding.table.rows) > 1 and "scale" not in finding.facts
    assert Catalogue().answer(finding) == "The whole picture was probably scaled or turned."


def test_turning_is_found():
    photo = untouched(4, 400)
    turn = cv2.getRotationMatrix2D((200, 200), 7, 1)
    assert (
        resampling(cv2.warpAffine(photo, turn, (400, 400), borderMode=cv2.BORDER_REFLECT)).status == "found"
    )


@pytest.mark.slow
def test_a_scaled_part_is_found_where_it_is():
    finding = resampling(pasted(untouched(6, 640), 1.4, center=(0.35, 0.6)))
    assert (finding.status, finding.answer) == ("found", "part")
    assert pixel_auc(finding.map, ellipse(640, (0.35, 0.6), 0.2)) > 0.9
    x, y, wide, high = finding.regions[0].box
    assert x < 0.35 * 640 < x + wide and y < 0.6 * 640 < y + high


@pytest.mark.parametrize("quality", [60, 80, 95])
def test_the_grid_of_jpeg_and_the_mosaic_of_a_camera_are_no_resampling(quality):
    photo = untouched(7, 400)
    assert resampling(photo).status == "clear"
    assert resampling(read_picture(jpeg(photo, quality)).pixels).status == "clear"


def test_noise_has_a_probability_that_chance_explains():
    rng = np.random.default_rng(0)
    strengths = [
        resampling(np.repeat(rng.integers(0, 256, (256, 256, 1), np.uint8), 3, axis=2)).facts["p"]
        for _ in range(10)
    ]
    assert min(strengths) > 0.01


def test_the_spectra_are_those_of_a_plain_loop():
    gray = untouched(8, 256)[..., 1]
    excess, textured = module._excess(gray)
    assert excess.shape[:2] == (3, 3) and textured.all()
    tile = np.pad(gray[64 : 64 + TILE, 128 : 128 + TILE].astype(float), 1, mode="symmetric")
    weights = np.array([[-0.25, 0.5, -0.25], [0.5, -1, 0.5], [-0.25, 0.5, -0.25]])
    error = sum(weights[y, x] * tile[y : y + TILE, x : x + TILE] for y in range(3) for x in range(3))
    probable = np.exp(-abs(error) / 2)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TILE) / TILE)
    log = np.log(abs(np.fft.fft2((probable - probable.mean()) * np.outer(hann, hann))) ** 2 + 1e-9)
    eighth = abs(np.fft.fftfreq(TILE) * 8 - np.round(np.fft.fftfreq(TILE) * 8)) / 8 < 3.5 / TILE
    kept = ~np.outer(eighth, eighth)
    row, column = 45, 37  # far from the borders of the half spectrum
    around = np.s_[row - 4 : row + 5, column - 4 : column + 5]
    wanted = log[row, column] - log[around][kept[around]].mean()
    at = list(module._bins()).index(row * (TILE // 2 + 1) + column)
    assert excess[1, 2, at] == pytest.approx(wanted, abs=1e-3)


def test_small_and_flat_pictures_are_not_judged():
    assert resampling(np.zeros((100, 400, 3), np.uint8)).answer == "too_small"
    assert resampling(np.full((300, 300, 3), 77, np.uint8)).answer == "flat"
    assert resampling_strength(np.zeros((40, 40), np.uint8)) == 0


@pytest.mark.slow
def test_photos_of_cameras_are_silent_and_found_after_scaling(real_data):
    photos = [
        read_picture(file.read_bytes()).pixels for file in sorted((real_data / "casia1/real").iterdir())
    ]
    assert np.mean([resampling(photo).status == "found" for photo in photos]) <= 0.05
    for scale, least in ((1.2, 0.9), (1.5, 0.9), (0.9, 0.35)):
        assert np.mean([resampling(scaled(photo, scale)).status == "found" for photo in photos]) >= least
