"""What every transform that forges promises."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.augment import Augment, FaceBlend, Fingerprint
from dfd.batch import FAKE, REAL

FORGING = [FaceBlend(p=1), Fingerprint(p=1)]


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
    if forged["label"] == REAL:  # so small that nothing lies in the outline, or next to nothing changed
        assert forged["image"] is image
        return
    mask = forged["mask"]
    assert mask.dtype == np.uint8 and mask.shape == (height, width) and mask.any()
    assert (forged["image"] != image).any()
    if isinstance(stage, Fingerprint):  # a blend may change what is around it instead
        np.testing.assert_array_equal(forged["image"][mask == 0], image[mask == 0])


def test_a_pixel_that_rounding_gives_back_is_no_fake():
    pixel, stage = photo(1, 1), Fingerprint(p=1)
    outcomes = [forge(stage, seed, pixel) for seed in range(400)]
    same = [each for each in outcomes if (each["image"] == pixel).all()]
    assert same and len(same) < len(outcomes)
    assert all(each["label"] == REAL for each in same)


@pytest.mark.parametrize("stage", FORGING, ids=repr)
def test_fakes_and_the_other_share_pass_untouched(stage):
    for seed in range(8):
        sample = {"image": photo(), "label": FAKE, "row": 3}
        assert stage(sample, np.random.default_rng(seed)) is sample
        sample["label"] = REAL
        assert type(stage)(p=0)(sample, np.random.default_rng(seed)) is sample
    half = type(stage)(p=0.5)
    assert half.fake_share == 0.5
    assert 60 < sum(forge(half, seed, photo(32, 32))["label"] for seed in range(200)) < 130


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


@pytest.mark.parametrize("wrong", [{"p": -0.1}, {"p": 1.5}, {"weak": 2}, {"margin": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaceBlend(**wrong)
