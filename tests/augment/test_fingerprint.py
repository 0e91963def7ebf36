import numpy as np
import pytest
from test_forging import forge, photo

from dfd.augment import Fingerprint
from dfd.augment.fingerprint import LINEAR, NEAREST, _decoded

SIDE = 128
HALF, QUARTER = SIDE // 2, SIDE // 4


def spectrum(image):
    """(H, W) log power; a window keeps the ends of the picture from crossing it."""
    gray = image.astype(float).mean(2)
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    return np.log(np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2 + 1)


def peak(power, y, x):
    """How far a frequency stands out of those around it."""
    around = np.roll(power, (6 - y, 6 - x), (0, 1))[:13, :13]
    return around[5:8, 5:8].max() - np.median(around)


def test_copies_of_the_low_frequencies_appear_where_generators_have_them():
    pictures = [photo(SIDE, SIDE, seed) for seed in range(48)]
    real = np.mean([spectrum(image) for image in pictures], 0)
    fake = np.mean(
        [spectrum(forge(Fingerprint(p=1), seed, image)["image"]) for seed, image in enumerate(pictures)], 0
    )
    for place in ((0, HALF), (HALF, 0), (HALF, HALF)):  # of the finest level, which every picture has
        assert peak(fake, *place) > peak(real, *place) + 1
    for place in ((0, QUARTER), (QUARTER, 0)):  # of the next one
        assert peak(fake, *place) > peak(real, *place) + 0.3
    elsewhere = [(20, 45), (45, 20), (10, 50), (50, 50)]
    assert all(abs(peak(fake, *place) - peak(real, *place)) < 0.3 for place in elsewhere)


def test_the_content_stays():
    quality = []
    for seed in range(60):
        image = photo(200, 200, seed)
        forged = forge(Fingerprint(p=1), seed, image)["image"]
        quality.append(10 * np.log10(255**2 / np.mean((forged.astype(float) - image) ** 2)))
        edge = np.abs(forged.astype(float) - image)
        assert edge[:2].mean() < 3 * edge.mean() + 1  # no frame around it
    assert min(quality) > 25 and max(quality) < 60


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_with_perfect_kernels_the_decoder_returns_the_picture(levels):
    """So what it adds comes from its kernels' errors, and not from a shift or a blur of our making."""
    plane = photo(96, 80)[..., 0].astype(np.float32)
    inner = np.s_[2 * 2**levels : -2 * 2**levels, 2 * 2**levels : -2 * 2**levels]
    perfect = _decoded(plane, [np.outer(LINEAR, LINEAR)] * levels, 1.0)
    np.testing.assert_allclose(perfect[inner], plane[inner], atol=1e-3)
    assert np.abs(_decoded(plane, [np.outer(NEAREST, NEAREST)] * levels, 1.0) - plane)[inner].max() > 1


def test_more_strength_means_deeper_traces():
    image = np.full((64, 64, 3), 128, np.uint8)
    stages = Fingerprint(p=1, strength=(0.005, 0.005)), Fingerprint(p=1, strength=(0.05, 0.05))
    faint, deep = (
        np.mean([forge(stage, seed, image)["image"].std() for seed in range(30)]) for stage in stages
    )
    assert faint < deep / 4 and 2 < deep < 10


@pytest.mark.parametrize(
    "wrong", [{"p": 2}, {"strength": (0.03, 0.003)}, {"strength": (0, 0.1)}, {"strength": (0.1,)}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fingerprint(**wrong)
