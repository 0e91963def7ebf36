import numpy as np
import pytest
import pywt
from photos import ellipse, photo
from scipy.ndimage import uniform_filter

from dfd.forensics.noise import highpass_residual, noise_residual, residual, wavelet_residual


def second(image: np.ndarray, sigma: float) -> np.ndarray:
    """The wavelet residual by wavedec2, SciPy's filter and the denoised picture subtracted, in float64."""
    first, *rest = pywt.wavedec2(image.astype(np.float64), "db8", mode="symmetric", level=4)
    clean = [first]
    for bands in rest:
        kept = []
        for band in bands:
            variance = np.min(
                [uniform_filter(band**2, side, mode="reflect") for side in (3, 5, 7, 9)], axis=0
            )
            signal = np.maximum(variance - sigma**2, 0)
            kept.append(band * signal / (signal + sigma**2))
        clean.append(tuple(kept))
    height, width = image.shape
    return image - pywt.waverec2(clean, "db8", mode="symmetric")[:height, :width]


@pytest.mark.parametrize("shape", [(256, 256), (243, 301)])
def test_a_second_implementation_agrees(shape):
    image = residual.luma(photo(1, 320))[: shape[0], : shape[1]]
    np.testing.assert_allclose(wavelet_residual(image, 3.0), second(image, 3.0), atol=2e-3)


def test_white_noise_comes_back_and_a_smooth_picture_leaves_nothing():
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:300, :300] / 300
    smooth = (100 + 60 * np.sin(3 * down) * np.cos(2 * across)).astype(np.float32)
    noise = rng.normal(0, 3, smooth.shape).astype(np.float32)
    for found in (wavelet_residual(smooth + noise), highpass_residual(smooth + noise)):
        assert abs(found.std() / 3 - 1) < 0.12
    # all but the lowest 1/256 of its frequencies, and what of the noise passes for detail
    assert np.corrcoef(wavelet_residual(smooth + noise).ravel(), noise.ravel())[0, 1] > 0.95
    for found in (wavelet_residual(smooth), highpass_residual(smooth)):
        assert found[32:-32, 32:-32].std() < 0.05


def test_strips_leave_no_seam(monkeypatch):
    image = residual.luma(photo(2, 700))
    whole = wavelet_residual(image)
    monkeypatch.setattr(residual, "STRIP", 700 * 160)
    np.testing.assert_allclose(wavelet_residual(image), whole, atol=1e-3)


def test_colours_are_filtered_one_by_one():
    pixels = photo(3, 128)
    found = wavelet_residual(pixels)
    np.testing.assert_array_equal(found[..., 1], wavelet_residual(np.ascontiguousarray(pixels[..., 1])))


def test_the_map_shows_where_noise_was_added():
    pixels, mask = photo(4, 512), ellipse(512)
    noise = np.random.default_rng(0).normal(0, 6, pixels.shape)
    noisy = np.where(mask[..., None], np.clip(pixels + noise, 0, 255), pixels).astype(np.uint8)
    values = noise_residual(noisy).map.values
    assert values.shape == (128, 128)
    inside = mask[2::4, 2::4]
    assert np.median(values[inside]) > 1.4 * np.median(values[~inside])
    assert noise_residual(noisy).score > noise_residual(pixels).score
