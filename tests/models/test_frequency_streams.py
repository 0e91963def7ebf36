"""Frequency streams beside second implementations in numpy and scipy, and what their learnt filters keep."""

import re
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal
import torch

from dfd.forensics.spectrum.power import azimuthal_profile, power_spectrum
from dfd.models import (
    FAD,
    LFS,
    MLP,
    SRM,
    AzimuthalSpectrum,
    BayarConv,
    DCTSpectrum,
    LocalSpectrum,
    LogSpectrum,
    PhaseSpectrum,
)
from dfd.models.residuals import srm_kernels

SIZES = [(32, 32), (33, 48)]
LUMA = np.array([0.299, 0.587, 0.114])[:, None, None]


def pictures(height: int, width: int) -> np.ndarray:
    """(2, 3, H, W): smooth, with grain, as photographs are."""
    rng = np.random.default_rng(0)
    rough = rng.random((2, 3, height, width))
    return (0.9 * scipy.ndimage.gaussian_filter(rough, (0, 0, 4, 4)) + 0.1 * rough).astype(np.float32)


def close(found: torch.Tensor, expected: np.ndarray, atol: float = 1e-4) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("size", SIZES)
def test_dct_spectrum_is_scipys(size):
    image = pictures(*size)
    expected = np.log1p(255 * np.abs(scipy.fft.dctn(image, axes=(2, 3), norm="ortho")))
    close(DCTSpectrum().eval()(torch.from_numpy(image)), expected, atol=1e-3)  # float32 beside a mean of 4000


@pytest.mark.parametrize("size", SIZES)
def test_phase_spectrum_is_numpys(size):
    image = pictures(*size)
    phase = np.angle(np.fft.fft2((image * LUMA).sum(1, keepdims=True)))
    expected = np.fft.ifft2(np.exp(1j * phase), norm="ortho")
    found = PhaseSpectrum()(torch.from_numpy(image))
    close(found, expected.real, atol=2e-2)  # of the quietest frequencies float32 knows the phase to a percent
    assert np.abs(expected.imag).max() < 1e-6
    assert abs(float(found.square().mean()) - 1) < 1e-3


def test_a_flat_picture_has_no_phases_beside_its_mean():
    found = PhaseSpectrum()(torch.full((1, 3, 32, 32), 0.3))
    assert float((found - found.mean()).abs().max()) < 0.05


@pytest.mark.parametrize("side", [48, 64])
def test_azimuthal_spectrum_is_the_forensic_profile(side):
    gray = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    expected = np.log1p(azimuthal_profile(power_spectrum(gray, side)))
    image = torch.from_numpy(gray / 255).float().expand(1, 3, -1, -1)
    found = AzimuthalSpectrum(bins=side).eval()(image)
    assert found.shape == (1, side // 2, 1, 1)
    close(found.flatten(), expected, atol=2e-3)  # float32 luma
    # other bins read the same profile: white noise is flat, so is what is read of it
    other = AzimuthalSpectrum(bins=40).eval()(image).flatten()
    assert abs(float(other.mean()) - expected.mean()) < 0.1 and len(other) == 20


@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_fad_is_a_filtered_dct(size):
    torch.manual_seed(0)
    stream, image = FAD(bins=32), pictures(*size)
    coefficients = scipy.fft.dctn(image, axes=(2, 3), norm="ortho")
    down, across = np.arange(size[0])[:, None] / size[0], np.arange(size[1]) / size[1]
    # F3-Net's corners: i + j up to size / sqrt(8), up to size / 2, and the rest
    ends = [0, 8**-0.5, 0.5, 2]
    masks = np.stack([(down + across <= high) & (down + across > low) for low, high in pairwise(ends)])
    masks[0, 0, 0] = True
    assert masks.sum(0).min() == masks.sum(0).max() == 1
    found = stream(torch.from_numpy(image))
    close(found.unflatten(1, (3, 3)).sum(1), image)  # fixed bands add up to the image
    torch.nn.init.normal_(stream.learnt)
    filters = masks + learnt_filter(stream.learnt.detach().numpy(), size)
    expected = scipy.fft.idctn(coefficients[:, None] * filters[:, None], axes=(3, 4), norm="ortho")
    close(stream(torch.from_numpy(image)), expected.reshape(2, 9, *size))


def learnt_filter(learnt: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The paper's sigma, read at W frequencies between those of the grid, the last one beyond its end."""
    at = np.minimum(np.arange(size[1]) * learnt.shape[2] / size[1], learnt.shape[2] - 1)
    grid = np.arange(learnt.shape[2])
    read = np.apply_along_axis(lambda row: np.interp(at, grid, row), 2, learnt)
    return (1 - np.exp(-read)) / (1 + np.exp(-read))


def test_lfs_is_the_logarithm_of_filtered_windows():
    torch.manual_seed(0)
    stream, image = LFS(), pictures(32, 40)
    torch.nn.init.normal_(stream.learnt)
    found = stream(torch.from_numpy(image)).detach()
    assert found.shape == (2, 6, 12, 16)
    luma = (image[1] * LUMA).sum(0)
    window = scipy.fft.dctn(luma[2 * 3 : 2 * 3 + 10, 2 * 5 : 2 * 5 + 10], norm="ortho")
    diagonal = np.add.outer(np.arange(10), np.arange(10))
    learnt = stream.learnt.detach().numpy().reshape(6, 10, 10)
    for band, ends in enumerate(((0, 3), (4, 6), (7, 9), (10, 12), (13, 15), (16, 18))):
        mask = (diagonal >= ends[0]) & (diagonal <= ends[1])
        sigma = (1 - np.exp(-learnt[band])) / (1 + np.exp(-learnt[band]))
        expected = np.log10(1 + 255 * np.abs(window * (mask + sigma)).sum())
        assert float(found[1, band, 3, 5]) == pytest.approx(expected, rel=1e-4)


def test_lfs_says_how_many_bands_a_window_has():
    with pytest.raises(ValueError, match=r"bands=12: a window of 4 x 4 .* 1 to 7\. Use bands=6"):
        LFS(window=4, bands=12)


def kernels_by_direction() -> np.ndarray:
    """The 30 of the rich model as predictions of a pixel from those in a direction, and parts of squares."""
    turns = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    along = lambda weights, step: [(at * step[0], at * step[1], weight) for at, weight in weights.items()]  # noqa: E731
    lists = [along({0: -1, 1: 1}, step) for step in turns]
    lists += [along({-1: 1 / 2, 0: -1, 1: 1 / 2}, step) for step in turns[:4]]
    lists += [along({-1: 1 / 3, 0: -1, 1: 1, 2: -1 / 3}, step) for step in turns]
    kernels = np.zeros((len(lists), 5, 5))
    for kernel, weights in zip(kernels, lists, strict=True):
        for down, across, weight in weights:
            kernel[2 + down, 2 + across] = weight
    cross = np.outer([1, -2, 1], [1, -2, 1]) / -4
    small = np.pad(cross, 1)
    large = np.array(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    )
    place = np.arange(5) - 2
    halves = [np.add.outer(down * place, across * place) >= 0 for down, across in turns[::2]]
    squares = [square * half for square in (small, large / 12) for half in halves]
    return np.concatenate([kernels, squares, [small, large / 12]])


def test_srm_has_the_kernels_of_the_rich_model():
    def as_set(bank):
        return {tuple(np.round(12 * kernel).astype(int).ravel().tolist()) for kernel in bank}

    found, expected = as_set(srm_kernels().numpy()), as_set(kernels_by_direction())
    assert len(expected) == 30 and found == expected
    assert as_set(SRM().kernels[:, 0].numpy()) < expected


@pytest.mark.parametrize("num", [3, 30])
def test_srm_is_scipys_correlation_cut_off(num):
    stream, image = SRM(num), pictures(24, 30)
    found = stream(torch.from_numpy(image))
    assert found.shape == (2, 3 * num, 20, 26) and stream.out_channels == 3 * num
    for at in range(num):
        kernel = stream.kernels[at, 0].numpy()
        expected = scipy.signal.correlate2d(255 * image[1, 2], kernel, mode="valid")
        close(found[1, 3 * at + 2], np.clip(expected, -3, 3), atol=2e-3)
    assert SRM(num, "luma")(torch.from_numpy(image)).shape[1] == num


def test_srm_says_which_kernels_there_are():
    with pytest.raises(ValueError, match="kernels=5: SRM has 3"):
        SRM(5)


def test_bayar_is_a_correlation_whose_constraint_training_cannot_break():
    torch.manual_seed(0)
    stream, image = BayarConv(2), torch.from_numpy(pictures(16, 20))
    before = stream.kernels.detach().clone()
    optimizer = torch.optim.AdamW(stream.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        stream(image).square().mean().backward()
        optimizer.step()
    kernels = stream.kernels.detach().numpy()
    assert np.abs(kernels - before.numpy()).max() > 0.1
    np.testing.assert_array_equal(kernels[..., 2, 2], -1)
    np.testing.assert_allclose(kernels.sum((2, 3)), 0, atol=1e-5)  # the neighbours add up to 1
    expected = sum(
        scipy.signal.correlate2d(255 * image[1, color].numpy(), kernels[1, color], mode="valid")
        for color in range(3)
    )
    close(stream(image)[1, 1], expected, atol=5e-3)
    # the nearest kernel: what was taken off is the same for every neighbour
    taken = stream.around.detach().numpy() - np.delete(kernels.reshape(2, 3, 25), 12, axis=2)
    assert np.ptp(taken, axis=2).max() < 1e-5


def test_an_mlp_reads_a_profile():
    net, profile = MLP(8, 20).eval(), torch.rand(4, 20, 1, 1)
    first, second = net.layers[0], net.layers[2]
    hidden = np.maximum(
        profile.flatten(1).numpy() @ first.weight.detach().numpy()[..., 0, 0].T + first.bias.detach().numpy(),
        0,
    )
    expected = np.maximum(
        hidden @ second.weight.detach().numpy()[..., 0, 0].T + second.bias.detach().numpy(), 0
    )
    close(net(profile), expected)


class Every(torch.nn.Module):
    """All streams at once: one export instead of eight."""

    def __init__(self):
        super().__init__()
        self.streams = torch.nn.ModuleList(
            [
                DCTSpectrum(),
                PhaseSpectrum(),
                AzimuthalSpectrum(),
                FAD(),
                LFS(),
                SRM(),
                SRM(30, "luma"),
                BayarConv(),
            ]
        )

    def forward(self, image):
        return tuple(stream(image) for stream in self.streams)


@pytest.mark.slow
def test_onnx_gives_the_same_maps(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    net, image = Every(), torch.from_numpy(pictures(64, 48))
    for weight in net.parameters():
        torch.nn.init.normal_(weight)
    net(image)
    net.eval()
    torch.onnx.export(net, (image,), tmp_path / "net.onnx", dynamo=True, input_names=["image"])
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    found = session.run(None, {"image": image.numpy()})
    for stream, maps, expected in zip(net.streams, found, net(image), strict=True):
        np.testing.assert_allclose(
            maps, expected.detach(), rtol=1e-3, atol=2e-2, err_msg=type(stream).__name__
        )


@pytest.mark.parametrize(
    "make", [SRM, BayarConv, FAD, LFS, PhaseSpectrum, DCTSpectrum, LocalSpectrum, LogSpectrum]
)
def test_what_is_no_batch_of_pictures_is_said(make):
    for shape in ((3, 64, 64), (2, 4, 64, 64), (2, 1, 64, 64)):
        with pytest.raises(
            ValueError,
            match=re.escape(
                f"pictures are (B, 3, H, W), a batch in red, green and blue, and this is {shape}"
            ),
        ):
            make()(torch.rand(shape))


@pytest.mark.parametrize(("make", "least"), [(SRM, 5), (BayarConv, 5), (LFS, 10), (LocalSpectrum, 8)])
def test_a_picture_smaller_than_a_window_is_refused(make, least):
    assert make()(torch.rand(1, 3, least, least)).shape[-2:] == (1, 1)
    with pytest.raises(ValueError, match=f"too small: use {least} pixels a side or more"):
        make()(torch.rand(1, 3, least, least - 1))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FAD(bins=0), "bins"),
        (lambda: LFS(stride=0), "stride"),
        (lambda: BayarConv(kernels=0), "kernels"),
        (lambda: LocalSpectrum(block=0), "block"),
        (lambda: LogSpectrum(bins=0), "bins"),
        (lambda: DCTSpectrum(bins=-1), "bins"),
    ],
)
def test_numbers_below_one_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name}=.*: use 1 or more"):
        make()
