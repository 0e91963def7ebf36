import numpy as np
import pytest
import torch

from dfd.forensics.spectrum import log_spectrum
from dfd.models import LogSpectrum

NOISE = np.random.default_rng(0).integers(0, 256, (150, 200, 1), dtype=np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize("side", [64, 65, 128])
def test_torch_and_numpy_see_the_same(side):
    top, left = (150 - side) // 2, (200 - side) // 2
    square = NOISE[top : top + side, left : left + side]  # gray, so that luma is no rounded average
    image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None] / 255
    # statistics of 0 and 1 standardize nothing
    wanted = LogSpectrum("luma").eval()(image)[0, 0].numpy()
    found = log_spectrum(NOISE, side)
    assert found.shape == (side, side // 2 + 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_lattice_of_up_sampling_shows_where_it_is():
    small = np.random.default_rng(1).integers(0, 256, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2)
    spectrum = log_spectrum(small.repeat(4, axis=0).repeat(4, axis=1), 128)
    # pixels in blocks of 4: a dark line at a quarter of the sampling rate, both ways
    assert spectrum[:, 32].mean() < spectrum[:, 16].mean() / 2
    assert spectrum[64 + 32].mean() < spectrum[64 + 16].mean() / 2
