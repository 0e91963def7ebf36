"""Face blends: outlines by landmarks, graded strength, and pictures that stay as they were."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.augment import FaceBlend
from dfd.augment.face_blend import FLOOR
from dfd.augment.face_outline import HULLS, soft_mask
from dfd.batch import FAKE, REAL
from dfd.media.face_topology import PARTS
from dfd.media.mean_face import mean_face


def photo(height=160, width=160, seed=0):
    """Smooth shapes and fine grain, as a camera gives them."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(30, 226, (12, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def blend(seed=0, image=None, landmarks=None, **options):
    image = photo() if image is None else image
    if landmarks is None:
        landmarks = mean_face(image.shape, 1.35).astype(np.float32)
    sample = {"image": image, "label": REAL, "row": 7, "landmarks": landmarks}
    return FaceBlend(**options)(sample, np.random.default_rng(seed))


def changes(**options):
    """Mean change inside the mask, in gray levels, of 40 blends."""
    found = []
    for seed in range(40):
        image = photo(seed=seed)
        made = blend(seed, image, **options)
        if made["label"] == FAKE:
            found.append(np.abs(made["image"].astype(int) - image)[made["mask"] > 0].mean())
    return np.array(found)


def test_half_of_the_blends_are_weak_and_none_is_nothing():
    weak, strong = changes(weak=1), changes(weak=0)
    assert len(weak) > 25 and len(strong) > 35
    assert weak.min() >= FLOOR * 0.99
    assert np.median(weak) < 6 < np.median(strong) < 25
    assert np.quantile(weak, 0.25) < 4


def test_outside_of_the_mask_the_picture_is_as_it_was_unless_it_is_what_was_changed():
    image = photo()
    untouched = 0
    for seed in range(40):
        made = blend(seed, image)
        if made["label"] == FAKE:
            outside = made["mask"] == 0
            untouched += (made["image"][outside] == image[outside]).all()
    assert 10 < untouched < 32  # about half


def test_an_outline_follows_the_landmarks():
    image = photo(200, 300)
    face = mean_face((100, 100), 1.35).astype(np.float32)
    for place in ((0, 0), (200, 0), (190, 95)):
        often = sum(
            (made["mask"] > 127).astype(int)
            for seed in range(20)
            if (made := blend(seed, image, face + np.float32(place)))["label"]
        )
        y, x = np.indices(often.shape)
        middle = face.mean(0) + place
        assert np.average(x, weights=often) == pytest.approx(middle[0], abs=8)
        assert np.average(y, weights=often) == pytest.approx(middle[1], abs=12)


def test_there_are_four_kinds_of_outlines(monkeypatch):
    landmarks, shares = mean_face((256, 256), 1.35), {}
    left, right = (landmarks[list(PARTS[eye])].mean(0) for eye in ("left_eye", "right_eye"))
    between, chin = np.rint((left + right) / 2).astype(int), np.rint(landmarks[152]).astype(int)
    for kind in HULLS:
        monkeypatch.setattr("dfd.augment.face_outline.HULLS", (kind,))
        masks = np.mean(
            [soft_mask(landmarks, (256, 256), np.random.default_rng(seed))[0] > 127 for seed in range(20)], 0
        )
        shares[kind] = masks.mean()
        assert (masks[between[1], between[0]] > 0.5) == (kind in ("face", "brows_to_chin"))
        assert (masks[chin[1] - 12, chin[0]] > 0.5) == (kind != "parts")
    assert shares["face"] > shares["brows_to_chin"] > shares["lower_face"] > shares["parts"] > 0.02


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**32),
    place=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    size=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e7]),
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_any_landmarks_give_a_sample(height, width, seed, place, size):
    image = photo(height, width)
    before = image.copy()
    made = blend(seed, image, (mean_face((1, 1), 1.0) * size + place).astype(np.float32))
    np.testing.assert_array_equal(image, before)
    assert made["image"].shape == image.shape and made["image"].dtype == np.uint8
    if made["label"] == FAKE:
        assert made["mask"].shape == (height, width) and made["mask"].dtype == np.uint8
        assert made["mask"].any()
    else:
        assert made["image"] is image and "mask" not in made


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_no_face_was_found_the_picture_stays_real(value):
    landmarks = mean_face((160, 160), 1.35).astype(np.float32)
    landmarks[17, 1] = value
    assert blend(0, None, landmarks)["label"] == REAL


def test_without_landmarks_the_face_is_where_face_pictures_have_one():
    sample = {"image": photo(), "label": REAL}
    for margin in (1.2, 1.6):
        known = blend(3, None, mean_face((160, 160), margin))
        made = FaceBlend(margin=margin)(sample, np.random.default_rng(3))
        np.testing.assert_array_equal(made["image"], known["image"])
        assert made["label"] == FAKE


def test_one_draw_gives_one_blend():
    one = [blend(seed) for seed in range(8)]
    cv2.setRNGSeed(3)
    np.random.seed(3)
    maker = pickle.loads(pickle.dumps(FaceBlend()))
    for seed in reversed(range(8)):
        sample = {
            "image": photo(),
            "label": REAL,
            "landmarks": mean_face((160, 160), 1.35).astype(np.float32),
        }
        two = maker(sample, np.random.default_rng(seed))
        np.testing.assert_array_equal(one[seed]["image"], two["image"])
    assert len({made["image"].tobytes() for made in one}) == 8
