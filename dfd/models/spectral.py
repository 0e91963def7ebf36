"""FFT and DCT spectra of images, as maps that a CNN can read.

Generators leave two kinds of trace in the frequencies. Up-sampling repeats peaks over the whole image (Durall
et al., 2003.01826; Frank et al., 2003.08685): `LogSpectrum` shows them. Local statistics of fine detail
differ where something was pasted (LFS of F3-Net, Qian et al., 2007.09355): `LocalSpectrum` shows them, place
by place.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.batch import LUMA
from dfd.models.net import Net

# log1p of amplitudes in grey levels: the bend of the curve lies where rounding to 8 bits drowns a trace
LEVELS = 255.0


class LogSpectrum(Net):
    """Log-magnitude spectrum: image (B, 3, H, W) in [0, 1] -> (B, out_channels, H, W // 2 + 1) float32.

    Rows run from -1/2 to 1/2 cycles a pixel (frequency 0 in row H // 2), columns from 0 to 1/2; the other
    half would say the same again. The image's mean is taken off, a Hann window keeps its edges out, and each
    frequency is standardized by its mean and deviation in the training images (Frank et al., 2003.08685):
    otherwise the fall of natural spectra hides all else. `dfd.forensics.spectrum` is the same in numpy,
    without statistics.

    Args:
        color: one spectrum a colour channel, or one of the luma.
        bins: the statistics are kept on a grid of bins x (bins // 2 + 1) frequencies. At H = W = bins they
            are exact; other sizes read them by interpolation, so that a net may be given crops of another
            size than it was trained on. They are the same on all ranks of a distributed training.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma".
    """

    spatial = False

    def __init__(self, color: Literal["rgb", "luma"] = "rgb", bins: int = 128):
        super().__init__()
        if color not in ("rgb", "luma"):
            raise ValueError(f"color={color!r}: LogSpectrum takes 'rgb' or 'luma'.")
        self.color, self.bins = color, bins
        self.out_channels = 3 if color == "rgb" else 1
        self.statistics = _Statistics(self.out_channels, bins, bins // 2 + 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # there is no FFT of bf16
            image = image.float()
            if self.color == "luma":
                image = _luma(image)
            height, width = image.shape[-2:]
            window = _hann(height, image)[:, None] * _hann(width, image)  # (H, W)
            image = (image - image.mean(dim=(2, 3), keepdim=True)) * window
            # divided by the window's energy, noise reads the same at any crop size
            spectrum = torch.fft.rfft2(image) / window.square().sum().sqrt()
            amplitude = torch.roll(spectrum.abs(), height // 2, dims=2)  # frequency 0 to the middle row
            frequency = torch.arange(height, device=image.device) / height - (height // 2) / height
            grid = torch.arange(self.bins, device=image.device) - self.bins // 2
            rows = _hats(self.bins * frequency, grid, self.bins / height)  # (H, bins)
            frequency = torch.arange(width // 2 + 1, device=image.device) / width
            grid = torch.arange(self.bins // 2 + 1, device=image.device)
            columns = _hats(self.bins * frequency, grid, self.bins / width)  # (W // 2 + 1, bins // 2 + 1)
            return self.statistics(torch.log1p(LEVELS * amplitude), rows, columns)


class LocalSpectrum(Net):
    """Log power of fine detail, place by place: image (B, 3, H, W) in [0, 1] -> (B, block * block, h, w)
    float32.

    A DCT of the luma in windows; one channel a frequency (v * block + u), each standardized by its mean and
    deviation in the training images. h = (H - block) // stride + 1.

    Args:
        block: side of a window in pixels.
        stride: from one window to the next, in pixels.
    """

    spatial = True

    def __init__(self, block: int = 8, stride: int = 4):
        super().__init__()
        self.block, self.stride = block, stride
        self.out_channels = block * block
        # fixed by `block`: rebuilt, not stored
        self.register_buffer("basis", dct_basis(block), persistent=False)  # (block * block, 1, block, block)
        self.statistics = _Statistics(self.out_channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            amplitude = F.conv2d(_luma(image.float()), self.basis, stride=self.stride).abs()
            # one value for all places
            rows, columns = (amplitude.new_ones(size, 1) for size in amplitude.shape[-2:])
            return self.statistics(torch.log1p(LEVELS * amplitude), rows, columns)


class _Statistics(nn.Module):
    """Standardizes maps (B, C, H, W) by running statistics on a grid (C, G, K), in training and in use alike.

    `rows` (H, G) and `columns` (W, K) are the weights of each place of the grid in each place of the map.
    """

    def __init__(self, channels: int, rows: int, columns: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, rows, columns))
        self.register_buffer("square", torch.ones(channels, rows, columns))  # mean of squares
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # batches

    def forward(self, maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        if self.training:
            self._update(maps.detach(), rows, columns)
        rows, columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
        # (C, H, W); of one value where the grid is a point
        mean = rows @ self.mean.float() @ columns.T
        variance = rows @ (self.square - self.mean.square()).float() @ columns.T
        # deviations count as .1 at least: what hardly varied in training would be blown up elsewhere
        return (maps - mean) / variance.clamp_min(0.01).sqrt()

    @torch.no_grad()
    def _update(self, maps: Tensor, rows: Tensor, columns: Tensor) -> None:
        rows, columns = rows / rows.sum(0), columns / columns.sum(0)
        moments = torch.stack([maps.mean(0), maps.square().mean(0)])  # (2, C, H, W)
        moments = rows.T @ moments @ columns  # (2, C, G, K)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(moments)
            moments /= torch.distributed.get_world_size()
        self.seen += 1
        # a plain average of the first 100 batches, then a moving one
        weight = (1 / self.seen).clamp_min(0.01)
        self.mean.lerp_(moments[0].to(self.mean.dtype), weight)
        self.square.lerp_(moments[1].to(self.mean.dtype), weight)


def _luma(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)"""
    return (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _hann(size: int, like: Tensor) -> Tensor:
    """Periodic Hann window (size,): its spectrum is three frequencies wide, no more."""
    return torch.hann_window(size, dtype=torch.float32, device=like.device)


def _hats(at: Tensor, grid: Tensor, spacing: float) -> Tensor:
    """Linear interpolation as a matrix (len(at), len(grid)), the identity where both are the same.

    Where `at` is the coarser of the two (`spacing` > 1, in steps of the grid) the hats widen to leave no gap
    on the grid.
    """
    return (1 - (at[:, None] - grid).abs() / max(1.0, spacing)).clamp_min(0)


def dct_basis(block: int) -> Tensor:
    """Orthonormal DCT-II kernels (block * block, 1, block, block)."""
    k = torch.arange(block)
    # (frequency, pixel)
    cosine = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * block)) * math.sqrt(2 / block)
    cosine[0] /= math.sqrt(2)
    return torch.einsum("vy,ux->vuyx", cosine, cosine).reshape(block * block, 1, block, block)
