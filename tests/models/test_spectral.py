import numpy as np
import pytest
import scipy.fft
import torch

from dfd.models import LocalSpectrum, LogSpectrum


def fresh(spectrum):
    """Statistics of 0 and 1: the bare spectrum."""
    return spectrum.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 48), (64, 31)])
def test_log_spectrum_is_numpys(height, width):
    image = np.random.default_rng(0).random((2, 3, height, width), dtype=np.float32)
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size) for size in (height, width)]
    window = np.outer(*hann)
    whole = np.fft.fft2((image - image.mean((2, 3), keepdims=True)) * window) / np.sqrt((window**2).sum())
    expected = np.log1p(255 * np.abs(np.fft.fftshift(whole, axes=2)))[..., : width // 2 + 1]
    found = fresh(LogSpectrum())(torch.from_numpy(image))
    assert found.shape == (2, 3, height, width // 2 + 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_spectrum_finer_than_the_grid_is_averaged():
    image = np.random.default_rng(0).random((1, 3, 48, 40), dtype=np.float32)
    fine = fresh(LogSpectrum())(torch.from_numpy(image))[0].double().numpy()  # (3, 48, 21)

    def averaged(maps, axis, at, grid, step):
        weights = np.maximum(0, 1 - np.abs(at[:, None] - grid) / step)
        return np.moveaxis(np.moveaxis(maps, axis, -1) @ (weights / weights.sum(0)), -1, axis)

    expected = averaged(fine, 1, np.arange(-24, 24) / 48, np.arange(-16, 16) / 32, 1 / 32)
    expected = averaged(expected, 2, np.arange(21) / 40, np.arange(17) / 32, 1 / 32)
    found = fresh(LogSpectrum(bins=32))(torch.from_numpy(image))
    assert found.shape == (1, 3, 32, 17)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_luma_is_what_jpeg_calls_so():
    image = torch.rand(2, 3, 32, 32)
    gray = (0.299 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]).expand(-1, 3, -1, -1)
    found = fresh(LogSpectrum("luma"))(image)
    assert found.shape == (2, 1, 32, 17)
    torch.testing.assert_close(found, fresh(LogSpectrum())(gray)[:, :1], rtol=1e-4, atol=1e-4)


def test_a_grating_shows_at_its_frequency():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    grating = 0.5 + 0.1 * torch.cos(2 * torch.pi * (8 * x - 4 * y) / 64)
    found = fresh(LogSpectrum("luma"))(grating.expand(1, 3, -1, -1))[0, 0]
    assert divmod(int(found.argmax()), 33) == (64 // 2 - 4, 8)


def test_local_spectrum_is_scipys_dct():
    image = torch.rand(2, 3, 32, 40)
    luma = (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1).numpy()
    found = fresh(LocalSpectrum(block=8, stride=4))(image)
    assert found.shape == (2, 64, 7, 9)
    block = luma[1, 4 * 3 : 4 * 3 + 8, 4 * 5 : 4 * 5 + 8]
    expected = np.log1p(255 * np.abs(scipy.fft.dctn(block, norm="ortho"))).ravel()
    np.testing.assert_allclose(found[1, :, 3, 5].numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("spectrum", "dims"), [(LogSpectrum(bins=32), (0,)), (LocalSpectrum(), (0, 2, 3))])
def test_each_frequency_is_standardized_by_training(spectrum, dims):
    torch.manual_seed(0)
    train = torch.rand(64, 3, 32, 32) * torch.rand(64, 1, 1, 1)
    for part in train.split(16):
        spectrum.train()(part)
    maps = spectrum.eval()(train)
    torch.testing.assert_close(maps.mean(dims), torch.zeros_like(maps.mean(dims)), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        maps.var(dims, correction=0), torch.ones_like(maps.mean(dims)), atol=1e-2, rtol=0
    )
    before = {name: value.clone() for name, value in spectrum.state_dict().items()}
    assert torch.equal(spectrum(train[:3]), maps[:3])  # use changes nothing and does not depend on the batch
    assert all(torch.equal(value, before[name]) for name, value in spectrum.state_dict().items())


@pytest.mark.parametrize("size", [64, 96, 160])
def test_statistics_hold_at_another_crop_size(size):
    generator = torch.Generator().manual_seed(0)

    def noise(size):
        """The same process at any size: smoothed noise."""
        picture = torch.rand(32, 3, size + 2, size + 2, generator=generator)
        return torch.nn.functional.avg_pool2d(picture, 3, stride=1)

    spectrum = LogSpectrum(bins=128)
    for part in noise(128).split(16):
        spectrum.train()(part)
    maps = spectrum.eval()(noise(size))
    assert maps.mean().abs() < 0.15 and maps.mean((0, 1)).std() < 0.3  # unstandardized: 2.2 and 1.0
    spectrum.train()(noise(size))  # and training may go on at that size
    assert spectrum.statistics.seen == 3


def test_statistics_load_strictly():
    trained = LogSpectrum().train()
    trained(torch.rand(4, 3, 48, 48))
    again = LogSpectrum()
    again.load_state_dict(trained.state_dict())
    image = torch.rand(1, 3, 48, 48)
    assert torch.equal(again.eval()(image), trained.eval()(image))


@pytest.mark.parametrize("spectrum", [LogSpectrum(), LocalSpectrum()])
def test_mixed_precision_leaves_the_spectrum_in_float32(spectrum):
    image = torch.rand(2, 3, 32, 32)
    expected = fresh(spectrum)(image)
    with torch.autocast("cpu", torch.bfloat16):
        found = spectrum(image)
        assert found.dtype == torch.float32 and torch.equal(found, expected)
        assert spectrum(image.bfloat16()).dtype == torch.float32


def _rank(rank: int, file: str, pictures: torch.Tensor, out) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    spectrum = LogSpectrum(bins=32).train()
    spectrum(pictures[rank::2])
    out.put((rank, spectrum.statistics.mean.numpy().copy(), spectrum.statistics.square.numpy().copy()))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_gather_the_statistics_of_one(tmp_path):
    pictures = torch.rand(8, 3, 32, 32)
    out = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(_rank, (str(tmp_path / "meet"), pictures, out), nprocs=2)
    alone = LogSpectrum(bins=32).train()
    alone(pictures)
    for _, mean, square in (out.get(), out.get()):
        np.testing.assert_allclose(mean, alone.statistics.mean, rtol=1e-5)
        np.testing.assert_allclose(square, alone.statistics.square, rtol=1e-5)
