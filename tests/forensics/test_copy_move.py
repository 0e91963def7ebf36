"""Copy-move: copies are found by blocks, turned and scaled ones by keypoints; what nature repeats is not."""

import cv2
import numpy as np
import pytest
from camera_photos import copied, copied_mask, untouched
from photos import ellipse, jpeg
from pixel_auc import pixel_auc
from scipy.fft import dctn

from dfd.forensics.pixels.copy_move_blocks import (
    BLOCK,
    NEAREST,
    coefficients,
    copy_move_blocks,
    most_alike,
)
from dfd.forensics.pixels.copy_move_keypoints import copy_move_keypoints, nearest
from dfd.forensics.pixels.duplicates import WINDOW, refined, similarity, working
from dfd.media.decode import read_picture


def test_both_ends_of_a_copy_are_outlined_by_blocks():
    finding = copy_move_blocks(copied(untouched(3, 320)))
    assert finding.status == "found" and pixel_auc(finding.map, copied_mask(320)) > 0.85
    middles = {(x + wide / 2, y + high / 2) for (x, y, wide, high) in (each.box for each in finding.regions)}
    for x, y in ((0.3, 0.35), (0.7, 0.62)):
        assert any(abs(a - x * 320) < 16 and abs(b - y * 320) < 16 for a, b in middles)
    assert {region.group for region in finding.regions} == {1}


@pytest.mark.slow
def test_a_copy_is_found_after_jpeg():
    edited = read_picture(jpeg(copied(untouched(5, 512)), 85)).pixels
    assert copy_move_blocks(edited).status == "found"
    assert copy_move_keypoints(edited).status == "found"


@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (25, 1), (90, 1), (0, 1.3), (-40, 0.9)])
def test_a_turned_or_scaled_copy_is_found_by_keypoints(angle, scale):
    finding = copy_move_keypoints(copied(untouched(6, 400), angle, scale))
    assert finding.status == "found" and len(finding.regions) >= 2
    assert pixel_auc(finding.map, ellipse(400, (0.3, 0.35), 0.16) | ellipse(400, (0.7, 0.62), 0.16)) > 0.8


@pytest.mark.slow
def test_a_large_photo_is_searched_at_a_smaller_size_and_outlined_at_its_own():
    large = cv2.resize(untouched(7, 400), (1800, 1800), interpolation=cv2.INTER_CUBIC)
    finding = copy_move_blocks(copied(large))
    assert finding.status == "found"
    assert any(
        abs(x + wide / 2 - 0.7 * 1800) < 100 for x, _, wide, _ in (each.box for each in finding.regions)
    )


@pytest.mark.parametrize("find", [copy_move_blocks, copy_move_keypoints])
def test_flat_areas_lines_and_gradients_are_no_copies(find):
    ramp = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], 260, axis=0).repeat(3, axis=2)
    stripes = np.where(np.arange(300) // 9 % 2, 200, 40).astype(np.uint8)[None, :, None].repeat(260, axis=0)
    for picture in (np.full((260, 300, 3), 90, np.uint8), ramp, stripes.repeat(3, axis=2), untouched(8, 300)):
        assert find(picture).status == "clear"


def test_the_coefficients_are_those_of_scipys_dct():
    gray = untouched(9, 64)[..., 1]
    found = coefficients(gray)
    assert found.shape == (64 - BLOCK + 1, 64 - BLOCK + 1, 9)
    plain = dctn(gray[20 : 20 + BLOCK, 31 : 31 + BLOCK].astype(float), norm="ortho")
    order = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0)]
    assert np.allclose(found[20, 31], [plain[at] for at in order], atol=0.02)


def test_the_search_finds_what_a_search_of_all_pairs_finds():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1500, 9)).astype(np.float32) * 30
    vectors[1000:1200] = vectors[:200] + rng.standard_normal((200, 9)).astype(np.float32)
    places = np.stack(np.divmod(np.arange(1500), 40), axis=1) * 3
    match, distance = most_alike(vectors, places)
    everything = ((vectors[:200, None] - vectors[None]) ** 2).sum(axis=2)
    everything[np.abs(places[:200, None] - places[None]).max(axis=2) < NEAREST] = np.inf
    assert np.mean(match[:200] == everything.argmin(axis=1)) > 0.9
    assert np.allclose(distance[:200], ((vectors[:200] - vectors[match[:200]]) ** 2).sum(axis=1), rtol=1e-4)


def test_the_ratio_of_keypoints_is_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 300, (60, 2)).astype(np.float32)
    descriptors = rng.uniform(0, 1, (60, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    best, ratio = nearest(places, descriptors)
    for k in range(60):
        distance = np.linalg.norm(descriptors - descriptors[k], axis=1)
        distance[np.abs(places - places[k]).max(axis=1) < 24] = np.inf
        first = distance.argmin()
        nearest_distance = distance[first]
        distance[np.abs(places - places[first]).max(axis=1) < 24] = np.inf
        assert best[k] == first and ratio[k] == pytest.approx(nearest_distance / distance.min(), rel=1e-3)


def test_the_similarity_is_the_correlation_of_two_windows():
    picture = working(copied(untouched(3, 320)), 10**6)
    shift = np.array([[1, 0, -128.0], [0, 1, -86.0]])  # from the end to the start
    found = similarity(picture, shift)
    half = WINDOW // 2
    y, x = round(0.62 * 320), round(0.7 * 320)
    for down, across in ((0, 0), (10, -12), (-70, 20)):
        here = picture.detail[y + down - half :, x + across - half :][:WINDOW, :WINDOW]
        there = picture.detail[y + down - 86 - half :, x + across - 128 - half :][:WINDOW, :WINDOW]
        wanted = np.corrcoef(here.ravel(), there.ravel())[0, 1]
        if found[y + down, x + across]:
            assert found[y + down, x + across] == pytest.approx(wanted, abs=0.02)


def test_a_shift_by_part_of_a_pixel_is_corrected():
    photo = untouched(3, 320)
    moved = cv2.warpAffine(photo, np.float64([[1, 0, 100.4], [0, 1, 0.3]]), (320, 320), flags=cv2.INTER_CUBIC)
    mask = np.zeros((320, 320, 1), bool)
    mask[60:260, 120:300] = True
    picture = working(np.where(mask, moved, photo), 10**6)
    matrix = refined(picture, np.float32([[1, 0, -101], [0, 1, 0]]))
    assert matrix[:, 2] == pytest.approx([-100.4, -0.3], abs=0.15)


@pytest.mark.slow
def test_real_photos_are_silent_and_casia_copies_are_not(real_data):
    def found(folder: str, pattern: str, find) -> list[bool]:
        files = sorted((real_data / folder).glob(pattern))
        return [find(read_picture(file.read_bytes()).pixels).status == "found" for file in files]

    for find, least in ((copy_move_blocks, 4), (copy_move_keypoints, 9)):
        assert sum(found("casia1/real", "*", find)) <= 1
        assert sum(found("exif-samples", "*Sony*.jpg", find)) + sum(found("exif-samples", "*gps*", find)) == 0
        # of 21 whose names say that both parts come from one picture
        assert sum(found("casia1/fake", "Sp_S_*", find)) >= least


@pytest.mark.parametrize("find", [copy_move_blocks, copy_move_keypoints])
@pytest.mark.parametrize("noise", [0, 3])
def test_rows_of_windows_are_a_pattern_and_no_copies(find, noise):
    rng = np.random.default_rng(0)
    house = np.full((480, 640), 150.0)
    for y in range(20, 440, 60):
        for x in range(20, 610, 48):
            house[y : y + 36, x : x + 26] = 60 + rng.normal(0, 6)  # each room as light as it is
            house[y + 16 : y + 19, x : x + 26] = house[y : y + 36, x + 12 : x + 14] = 190
    house = cv2.GaussianBlur(house, (0, 0), 0.8) + rng.normal(0, noise, house.shape)
    assert find(np.clip(house, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)).status == "clear"


@pytest.mark.slow
@pytest.mark.parametrize("find", [copy_move_blocks, copy_move_keypoints])
def test_a_page_of_letters_is_a_pattern(find):
    rng = np.random.default_rng(0)
    page = np.full((600, 800, 3), 250, np.uint8)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    for y in range(40, 600, 40):
        cv2.putText(page, " ".join(rng.choice(words, 12)), (10, y), 0, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    assert find(page).status == "clear"
