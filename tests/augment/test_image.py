import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfd.augment import CORRUPTIONS, Albumentations, Augment, Corruption, FaceBlend, Fingerprint, corrupt
from dfd.batch import FAKE, REAL

PRESETS = ["none", "light", "strong", "delivery"]
DAMAGE = [Corruption(name, kind.severities[-1]) for name, kind in CORRUPTIONS.items()]
PIPELINE = [{"name": "Affine", "rotate": [-20, 20]}, {"name": "GaussNoise"}, {"name": "Transpose"}]
MORE = [FaceBlend(p=0.5), Fingerprint(), Albumentations(PIPELINE)]
STAGES = [Augment(preset) for preset in PRESETS] + DAMAGE + MORE


def photo(height=160, width=192, seed=0):
    """Smooth shapes and fine grain, as a camera gives them."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def change(stage, seed, label=FAKE):
    return stage({"image": photo(), "label": label, "row": 7}, np.random.default_rng((0, 1, seed)))["image"]


def by_pillow(image, quality, chroma="4:2:0"):
    """What everybody else's JPEG looks like."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality, subsampling=chroma)
    return np.asarray(Image.open(file).convert("RGB"))


def digest(preset, seed):
    return change(Augment(preset), seed).tobytes()


@pytest.mark.parametrize("stage", STAGES, ids=repr)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_picture_stays_a_picture(stage, height, width, seed):
    image = photo(height, width)
    before = image.copy()
    mask = np.full((height, width), 255, np.uint8)
    sample = stage({"image": image, "mask": mask, "label": FAKE, "row": 3}, np.random.default_rng(seed))
    assert sample["image"].dtype == np.uint8 and sample["image"].ndim == 3 and sample["image"].shape[2] == 3
    assert sample["image"].flags.c_contiguous and sample["mask"].shape == sample["image"].shape[:2]
    assert (sample["label"], sample["row"]) == (FAKE, 3)
    np.testing.assert_array_equal(image, before)  # whoever holds the original still has it


@pytest.mark.parametrize("preset", PRESETS)
def test_a_draw_depends_on_its_generator_alone(preset):
    stage = Augment(preset)
    first = [change(stage, seed) for seed in range(24)]
    np.random.seed(1)
    cv2.setRNGSeed(1)
    backwards = [change(stage, seed) for seed in reversed(range(24))][::-1]
    copied = [change(pickle.loads(pickle.dumps(stage)), seed) for seed in range(24)]
    for one, two, three in zip(first, backwards, copied, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    if preset != "none":
        assert len({image.tobytes() for image in first}) > 12


@pytest.mark.slow
def test_other_processes_draw_the_same():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for preset in ("strong", "delivery"):
            assert list(pool.map(partial(digest, preset), range(6))) == [
                digest(preset, seed) for seed in range(6)
            ]


@pytest.mark.parametrize("preset", PRESETS)
def test_both_labels_get_the_same(preset):
    for seed in range(8):
        np.testing.assert_array_equal(
            change(Augment(preset), seed, REAL), change(Augment(preset), seed, FAKE)
        )


def test_presets_draw_flip_and_damage_independently():
    """albumentations' own per-call seeding makes every transform of a preset fire together."""
    image = photo(32, 32)
    light, seen = Augment("light"), np.zeros((2, 2), int)
    for seed in range(400):
        changed = light({"image": image}, np.random.default_rng(seed))["image"]
        flipped = (
            np.abs(changed.astype(int) - image[:, ::-1]).mean() < np.abs(changed.astype(int) - image).mean()
        )
        coloured = not (np.array_equal(changed, image) or np.array_equal(changed, image[:, ::-1]))
        seen[int(flipped), int(coloured)] += 1
    assert seen.min() > 30  # expected: 75 unchanged, 125 changed, each with and without the flip


def test_a_mask_is_mirrored_with_its_image():
    for preset in ("light", "delivery"):
        stage, flips = Augment(preset, **({"p": 0} if preset == "delivery" else {})), 0
        for seed in range(20):
            image, mask = photo(), np.zeros((160, 192), np.uint8)
            mask[:, :50] = 255
            out = stage({"image": image, "mask": mask}, np.random.default_rng(seed))
            flipped = (
                np.abs(out["image"].astype(int) - image[:, ::-1]).mean()
                < np.abs(out["image"].astype(int) - image).mean()
            )
            np.testing.assert_array_equal(out["mask"], mask[:, ::-1] if flipped else mask)
            flips += flipped
        assert 3 < flips < 17


def test_delivery_leaves_room_for_the_crop_and_degrades_its_share():
    image = photo(300, 200)
    stage = Augment("delivery", p=0.5, min_scale=0.1, min_side=128)
    shapes, touched = set(), 0
    for seed in range(300):
        changed = stage({"image": image}, np.random.default_rng(seed))["image"]
        shapes.add(changed.shape)
        touched += not any(np.array_equal(changed, same) for same in (image, image[:, ::-1]))
        assert 128 <= min(changed.shape[:2]) <= 200
        assert changed.shape[0] / changed.shape[1] == pytest.approx(1.5, abs=0.02)
    assert 110 < touched < 190 and len(shapes) > 20
    small = photo(90, 100)  # already below: never made smaller, never enlarged
    for seed in range(40):
        assert (
            Augment("delivery", p=1)({"image": small}, np.random.default_rng(seed))["image"].shape
            == small.shape
        )


def test_delivery_at_fixed_quality_is_that_jpeg():
    stage = Augment("delivery", p=1, quality=(60, 60), min_scale=1)
    image = photo()
    views, chromas = (image, image[:, ::-1]), ("4:2:0", "4:2:2", "4:4:4")
    expected = {by_pillow(view, 60, chroma).tobytes() for view in views for chroma in chromas}
    seen = {stage({"image": image}, np.random.default_rng(seed))["image"].tobytes() for seed in range(120)}
    assert expected <= seen


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "heavy"},
        {"p": 1.5},
        {"quality": (95, 40)},
        {"quality": (0, 50)},
        {"min_scale": 0},
        {"min_scale": 2},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**{"preset": "delivery", **wrong})


def psnr(image, other):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2))


@pytest.mark.parametrize("name", [name for name, kind in CORRUPTIONS.items() if len(kind.severities) > 1])
def test_severities_go_from_mild_to_severe(name):
    image = photo(256, 256)
    quality = [psnr(image, corrupt(image, name, severity)) for severity in CORRUPTIONS[name].severities]
    assert all(mild > severe for mild, severe in pairwise(quality)), quality


def test_corruptions_are_the_protocol_ones():
    image = photo(256, 256)
    for quality in (100, 75, 10):
        np.testing.assert_array_equal(corrupt(image, "jpeg", quality), by_pillow(image, quality))
    for side, sigma in ((5, 0.5), (7, 1), (11, 1.5), (13, 2), (19, 3)):
        np.testing.assert_array_equal(
            corrupt(image, "blur", sigma), cv2.GaussianBlur(image, (side, side), sigma)
        )
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(corrupt(image, "delivery"), corrupt(small, "jpeg", 75))
    np.testing.assert_array_equal(corrupt(image, "half"), corrupt(image, "resize", 128))
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert np.std(corrupt(grey, "noise", 0.03) / 255.0) == pytest.approx(0.03, rel=0.02)
    assert corrupt(photo(100, 60), "resize", 224).shape == (100, 60, 3)  # nothing is enlarged


def test_noise_comes_from_the_generator_given():
    image = photo()
    one, same, other = (corrupt(image, "noise", 0.05, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    np.testing.assert_array_equal(corrupt(image, "noise", 0.05), corrupt(image, "noise", 0.05))


@pytest.mark.parametrize(
    ("name", "severity", "said"), [("jpg", 75, "jpeg"), ("jpeg", 0, "1 to 100"), ("blur", None, "sigma")]
)
def test_an_impossible_corruption_is_refused_with_what_would_do(name, severity, said):
    with pytest.raises(ValueError, match=said):
        Corruption(name, severity)
