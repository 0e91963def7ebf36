import math

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFace, DrawnMesh, portrait, warped
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.forensics.face import FaceFinder
from dfd.forensics.face.boundary import (
    THRESHOLD,
    colour_seam,
    depth_inside,
    detail_map,
    face_boundary,
    measure,
    missing_detail,
    noise_difference,
    softness,
)
from dfd.media.decode import decode
from dfd.media.face_mesh import FaceMesh
from dfd.media.faces import FaceDetector

DRAWN = FaceFinder(DrawnFace(), DrawnMesh())
SIDES = np.arange(200) < 100
LEFT = np.broadcast_to(SIDES, (200, 200))


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 60, (200, 200)).astype(np.float32)
    return 120 + cv2.GaussianBlur(noise, (0, 0), 1.0)


@pytest.mark.slow
def test_the_softer_the_inner_face_the_higher_the_score():
    picture = portrait(1).picture
    scores = [measure(warped(picture, factor), DRAWN(picture)[0]).detail for factor in (1.0, 1.5, 2.0, 3.0)]
    assert scores == sorted(scores) and scores[0] < THRESHOLD < scores[-1]


def test_the_map_lights_up_where_the_face_was_made_softer_and_nowhere_else():
    picture = portrait(1).picture
    (face,) = DRAWN(picture)
    calm, lit = (detail_map(pixels, face) for pixels in (picture, warped(picture)))
    depth = depth_inside(picture.shape, face)
    assert lit.shape == picture.shape[:2]
    assert np.mean(calm > THRESHOLD) < 0.02
    assert np.mean(lit[depth > 0.5] > THRESHOLD) > 0.5 and not lit[depth < -0.05].any()
    large = cv2.resize(warped(picture), (1536, 1536), interpolation=cv2.INTER_CUBIC)
    assert detail_map(large, DRAWN(large)[0]).shape == (512, 512)


def test_five_points_do_where_there_is_no_mesh():
    plain = FaceFinder(DrawnFace())
    clean, edited = (
        face_boundary(pixels, plain) for pixels in (portrait(3).picture, warped(portrait(3).picture))
    )
    assert clean.status == "clear" and edited.status == "found"


@pytest.mark.parametrize("turn", [np.fliplr, lambda pixels: pixels // 2 + 60])
def test_mirroring_and_contrast_change_little(turn):
    picture = portrait(2).picture
    before = measure(picture, DRAWN(picture)[0])
    after = measure(np.ascontiguousarray(turn(picture)), DRAWN(picture)[0])
    assert after.detail == pytest.approx(before.detail, abs=1.0)


@settings(max_examples=10)
@given(st.integers(0, 99), st.floats(1.0, 2.5))
def test_blurred_edges_are_softer_and_the_two_sides_change_places(seed, sigma):
    sharp = texture(seed)
    half = np.where(LEFT, cv2.GaussianBlur(sharp, (0, 0), sigma), sharp)
    half = 128 + 2 * (half - half.mean())
    softer = softness(half, LEFT, ~LEFT)

    assert softness(half, ~LEFT, LEFT) == pytest.approx(-softer)
    assert abs(softness(sharp, LEFT, ~LEFT)) < 0.25 < softer


@settings(max_examples=10)
@given(st.integers(0, 99), st.floats(1.5, 4.0))
def test_noise_is_told_by_its_deviation(seed, ratio):
    rng = np.random.default_rng(seed)
    deviation = np.where(LEFT, 2.0, 2.0 * ratio)
    gray = (120 + rng.normal(0, 1, (200, 200)) * deviation).astype(np.float32)
    assert noise_difference(gray, LEFT, ~LEFT) == pytest.approx(math.log(ratio), abs=0.2)


def test_sides_of_no_common_brightness_have_no_noise_to_compare():
    gray = np.where(LEFT, 60, 200) + np.random.default_rng(0).normal(0, 1, (200, 200))
    assert math.isnan(noise_difference(gray.astype(np.float32), LEFT, ~LEFT))


def test_a_ring_of_another_colour_is_a_seam():
    picture = portrait(4).picture
    (face,) = DRAWN(picture)
    depth = depth_inside(picture.shape, face)
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    center = face.outline("face").mean(0)
    pasted = lab.copy()
    pasted[..., 1][depth > 0.36] += 8
    assert colour_seam(pasted, depth, center) > 2 * colour_seam(lab, depth, center)


def test_a_flat_picture_has_nothing_to_compare():
    gray = np.full((200, 200), 90, np.float32)
    assert math.isnan(missing_detail(gray, np.where(LEFT, 0.1, 0.6)))
    assert math.isnan(softness(gray, LEFT, ~LEFT))
    assert face_boundary(np.full((512, 512, 3), 90, np.uint8), DRAWN).answer == "flat"


def test_a_small_face_is_not_judged():
    finding = face_boundary(portrait(size=128).picture, DRAWN)
    assert (finding.status, finding.answer) == ("abstained", "near")


def test_a_picture_that_is_soft_as_a_whole_is_not_judged():
    picture = cv2.GaussianBlur(portrait(2).picture, (0, 0), 2.0)
    finding = face_boundary(picture, DRAWN)
    assert (finding.status, finding.answer) == ("abstained", "flat")


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["140k-real-and-fake-faces", "deepfake-and-real-images", "deepfake-faces"])
def test_real_faces_stay_silent_and_warped_ones_are_found(real_data, real_weights, folder):
    """Pictures that no threshold was set on."""
    finder = FaceFinder(
        FaceDetector(real_weights / "yunet_n_640_640.onnx"),
        FaceMesh(real_weights / "mediapipe_face_landmark_468.tflite"),
    )
    rows = (real_data / "manifest.csv").read_text().splitlines()[1:]
    paths = [row.split(",")[0] for row in rows if row.startswith(folder) and ",real," in row]
    alarms, hits, judged = 0, 0, 0
    for path in paths[3 :: len(paths) // 80]:
        pixels = decode((real_data / path).read_bytes())
        found = finder(pixels)
        if not found or found[0].unit < 40:
            continue
        face = found[0]
        weight = np.clip((depth_inside(pixels.shape, face) - 0.1) / 0.15, 0, 1)[..., None]
        small = cv2.resize(pixels, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA)
        soft = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        edited = (soft * weight + pixels * (1 - weight)).round().astype(np.uint8)
        judged += 1
        alarms += measure(pixels, face).detail > THRESHOLD
        hits += measure(edited, face).detail > THRESHOLD
    assert judged >= 40
    assert alarms <= 0.1 * judged
    assert hits >= 0.5 * judged
