import cv2
import numpy as np
import pytest
import scipy.signal

from dfd.forensics.spectrum import azimuthal_profile, power_spectrum, spectrum
from dfd.forensics.spectrum.power import whole_plane
from dfd.forensics.spectrum.reference import REAL, departure
from dfd.media.decode import decode

NOISE = np.random.default_rng(0).normal(100, 5, (480, 300)).astype(np.float32)


def test_white_noise_has_its_variance_at_every_frequency():
    profile = azimuthal_profile(power_spectrum(NOISE))
    assert profile.shape == (64,)
    np.testing.assert_allclose(profile[4:], 25, rtol=0.2)
    assert profile.mean() == pytest.approx(25, rel=0.03)


def test_scipy_s_welch_gives_the_same_along_a_line():
    """Of a picture that changes across alone, the row of frequency 0 is Welch's estimate of a line."""
    line = np.random.default_rng(1).normal(0, 5, 64 * 9).astype(np.float32)
    image = np.tile(line, (128, 1))
    _, wanted = scipy.signal.welch(
        line, window="hann", nperseg=128, noverlap=64, detrend="constant", scaling="density"
    )
    found = power_spectrum(image)[64]
    # a Hann window down spreads a line over three rows, of which the middle has 2/3 of 128
    np.testing.assert_allclose(found[1:-1], wanted[1:-1] / 2 * 128 * 2 / 3, rtol=1e-3)


def test_the_profile_is_the_mean_of_rings_of_the_whole_plane():
    half = power_spectrum(NOISE, 64)
    plane = np.abs(np.fft.fftshift(np.fft.fft2(np.random.default_rng(2).normal(size=(64, 64))))) ** 2
    plane_half = plane[:, np.r_[32:64, 0]]
    down, across = np.mgrid[-32:32, -32:32]
    ring = np.rint(np.hypot(down, across))
    wanted = [plane[ring == radius].mean() for radius in range(1, 33)]
    np.testing.assert_allclose(azimuthal_profile(plane_half), wanted)
    np.testing.assert_allclose(whole_plane(plane_half), plane)
    assert whole_plane(half).shape == (64, 64)


def power_law(slope: float) -> np.ndarray:
    """A picture (512, 512, 3) whose power falls by a power law."""
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    radius[0, 0] = 1
    plane = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(512, 512))) * radius ** (-slope / 2))
    return np.clip(plane / plane.std() * 40 + 128, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def test_a_power_law_does_not_depart_whatever_its_slope():
    for slope in (1.6, 2.0, 2.4):
        assert np.abs(departure(power_spectrum(power_law(slope)))[1:]).max() < 1.5
        assert spectrum(power_law(slope)).answer == "usual"


def test_blur_has_less_and_noise_has_more_at_high_frequencies():
    picture = power_law(2.0)
    blurred = spectrum(cv2.GaussianBlur(picture, (0, 0), 1))
    noisy = np.clip(picture + np.random.default_rng(1).normal(0, 25, picture.shape), 0, 255).astype(np.uint8)
    assert blurred.answer == "less" and blurred.score > 2 and blurred.facts["high"] < -2
    assert spectrum(noisy).facts["high"] > spectrum(picture).facts["high"] + 0.3
    for finding in (blurred, spectrum(picture)):
        assert (
            finding.status == "clear"
            and finding.map.overlay is False
            and finding.map.values.shape == (128, 128)
        )
        assert len(finding.table.rows) == 16


@pytest.mark.slow
def test_the_reference_is_that_of_the_real_pictures(real_data):
    files = sorted((real_data / "casia1/real").glob("*"))
    files += sorted((real_data / "real-and-fake-face-detection/real_and_fake_face/training_real").glob("*"))
    scores = np.array(
        [finding.score for file in files if (finding := spectrum(decode(file.read_bytes()))).unit]
    )
    assert REAL.pictures == 245 and len(scores) == 120
    assert 0.6 < np.median(scores) < 1.1 and np.mean(scores > 2) < 0.1
