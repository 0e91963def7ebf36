"""What every transform that forges promises, and what a blend is."""

import pickle
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.augment import Augment, Fingerprint, SelfBlend
from dfd.augment.blend import MEAN_FACE
from dfd.batch import FAKE, REAL

FORGING = [SelfBlend(p=1), Fingerprint(p=1)]


def photo(height=160, width=192, seed=0):
    """Smooth shapes and fine grain, as a camera gives them."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(30, 226, (12, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def forge(stage, seed=0, image=None, label=REAL):
    return stage(
        {"image": photo() if image is None else image, "label": label, "row": 7}, np.random.default_rng(seed)
    )


@pytest.mark.parametrize("stage", FORGING, ids=repr)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_any_real_picture_becomes_a_fake_of_its_size_with_its_mask(stage, height, width, seed):
    image = photo(height, width)
    before = image.copy()
    forged = forge(stage, seed, image)
    assert forged["image"].dtype == np.uint8 and forged["image"].shape == (height, width, 3)
    assert forged["image"].flags.c_contiguous and forged["row"] == 7
    np.testing.assert_array_equal(image, before)  # whoever holds the original still has it
    if forged["label"] == REAL:  # so small that no pixel lies in the outline
        assert forged["image"] is image
        return
    mask = forged["mask"]
    assert (
        mask.dtype == np.uint8
        and mask.shape == (height, width)
        and mask.any()
        and set(np.unique(mask)) <= {0, 255}
    )
    np.testing.assert_array_equal(forged["image"][mask == 0], image[mask == 0])


@pytest.mark.parametrize("stage", FORGING, ids=repr)
def test_fakes_and_the_other_share_pass_untouched(stage):
    for seed in range(8):
        sample = {"image": photo(), "label": FAKE, "row": 3}
        assert stage(sample, np.random.default_rng(seed)) is sample
        sample["label"] = REAL
        assert type(stage)(p=0)(sample, np.random.default_rng(seed)) is sample
    half = type(stage)(p=0.5)
    assert half.fake_share == 0.5
    assert 70 < sum(forge(half, seed, photo(32, 32))["label"] for seed in range(200)) < 130


@pytest.mark.parametrize("stage", FORGING, ids=repr)
def test_a_forgery_depends_on_its_generator_alone(stage):
    first = [forge(stage, seed) for seed in range(12)]
    np.random.seed(1)
    cv2.setRNGSeed(1)
    again = [forge(pickle.loads(pickle.dumps(stage)), seed) for seed in reversed(range(12))][::-1]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
        np.testing.assert_array_equal(one["mask"], two["mask"])
    assert len({one["image"].tobytes() for one in first}) == 12


@pytest.mark.parametrize("stage", FORGING, ids=repr)
def test_a_forgery_goes_on_through_the_stages_that_degrade(stage):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        delivered = Augment("delivery", p=1)(forge(stage, seed, photo(256, 200)), rng)
        assert delivered["label"] == FAKE and delivered["mask"].shape == delivered["image"].shape[:2]


@pytest.mark.parametrize("wrong", [{"p": -0.1}, {"p": 1.5}, {"margin": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SelfBlend(**wrong)


def finder(*faces):
    """Finds the same faces, given as (x, y of the centre, side, degrees to the right), in every picture."""
    found = []
    for x, y, side, degrees in faces:
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        found.append(
            SimpleNamespace(side=side, landmarks=MEAN_FACE @ [[cos, sin], [-sin, cos]] * side + (x, y))
        )
    return SimpleNamespace(find=lambda image: found)


def masks(stage, num=40, shape=(200, 200)):
    """(H, W) how often a pixel was forged, from 0 to 255."""
    image = np.full((*shape, 3), 90, np.uint8)
    return np.mean([forge(stage, seed, image)["mask"] for seed in range(num)], 0)


def test_the_blend_lies_on_the_largest_face_found():
    often = masks(SelfBlend(p=1, faces=finder((30, 30, 20, 0), (140, 120, 70, 0))))
    y, x = np.indices(often.shape)
    assert np.average(x, weights=often) == pytest.approx(140, abs=4)
    assert np.average(y, weights=often) == pytest.approx(124, abs=4)
    assert not often[:60, :60].any() and often[124, 140] == 255


def test_the_outline_turns_with_the_face():
    upright, lying = (masks(SelfBlend(p=1, faces=finder((100, 100, 80, degrees)))) for degrees in (0, 90))
    assert np.abs(np.rot90(upright, -1) - lying).mean() < np.abs(upright - lying).mean() / 2


def test_without_a_face_found_it_is_taken_to_be_in_the_middle():
    np.testing.assert_array_equal(masks(SelfBlend(p=1, faces=finder())), masks(SelfBlend(p=1)))
    tight, wide = masks(SelfBlend(p=1, margin=1.0)), masks(SelfBlend(p=1, margin=2.0))
    assert wide[105, 100] == 255 and not wide[:, 0].any() and wide.mean() < tight.mean() / 2


def test_a_face_outside_of_the_picture_leaves_it_real():
    assert forge(SelfBlend(p=1, faces=finder((900, 900, 50, 0))))["label"] == REAL


def test_a_blend_is_subtle_and_yet_there():
    change = []
    for seed in range(40):
        image = photo(seed=seed)
        forged = forge(SelfBlend(p=1), seed, image)
        change.append(np.abs(forged["image"].astype(int) - image)[forged["mask"] > 0].mean())
    assert min(change) > 0.3 and 3 < np.median(change) < 20
