"""Log-amplitude spectra of images, as maps that a CNN can read.

Generators leave two kinds of trace in the frequencies. Up-sampling repeats peaks over the whole image (Durall
et al., 2003.01826; Frank et al., 2003.08685): `LogSpectrum`, `DCTSpectrum` and `AzimuthalSpectrum` show them.
Statistics of fine detail differ where something was pasted: `LocalSpectrum` shows them, place by place.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dfd.batch import LUMA
from dfd.models.dct import dct, dct_basis
from dfd.models.frequency_statistics import FrequencyStatistics, everywhere, hats
from dfd.models.net import Net, at_least_one, check_pictures

Color = Literal["rgb", "luma"]
# log1p of amplitudes in grey levels: the bend of the curve lies where rounding to 8 bits drowns a trace
LEVELS = 255.0


def color_planes(name: str, color: Color) -> int:
    """How many planes `in_color` gives: 3 or 1.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma"; `name` is the class that was given it.
    """
    if color not in ("rgb", "luma"):
        raise ValueError(f"color={color!r}: {name} takes 'rgb' or 'luma'.")
    return 3 if color == "rgb" else 1


def in_color(image: Tensor, color: Color) -> Tensor:
    """Image (B, 3, H, W) -> float32 as it is, or its luma (B, 1, H, W)."""
    check_pictures(image)
    image = image.float()
    if color == "rgb":
        return image
    return (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def windowed_spectrum(image: Tensor) -> Tensor:
    """Complex spectrum (..., H, W // 2 + 1) of images (..., H, W), frequency 0 in the first row.

    The image's mean is taken off, and a Hann window keeps its edges out; divided by the window's energy,
    noise reads the same at any size.
    """
    height, width = image.shape[-2:]
    window = _hann(height, image)[:, None] * _hann(width, image)  # (H, W)
    image = (image - image.mean(dim=(-2, -1), keepdim=True)) * window
    return torch.fft.rfft2(image) / window.square().sum().sqrt()


class LogSpectrum(Net):
    """Log-magnitude FFT: image (B, 3, H, W) in [0, 1] -> (B, out_channels, H, W // 2 + 1) float32, at most
    (bins, bins // 2 + 1).

    Rows run from -1/2 to 1/2 cycles a pixel (frequency 0 in row H // 2), columns from 0 to 1/2; the other
    half would say the same again. The image's mean is taken off, a Hann window keeps its edges out, and each
    frequency is standardized by its mean and deviation in the training images (Frank et al., 2003.08685):
    otherwise the fall of natural spectra hides all else. `dfd.forensics.spectrum` is the same in numpy,
    without statistics.

    Args:
        color: one spectrum a colour channel, or one of the luma.
        bins: the statistics are kept on a grid of bins x (bins // 2 + 1) frequencies, the same on all ranks
            of a distributed training. At H = W = bins they are exact. Smaller images read them by
            interpolation; the finer spectra of larger ones are averaged around each frequency of the grid,
            so that a stream costs hardly more for them. So a net may be given crops of another size than it
            was trained on.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma", or `bins` is below 1.
    """

    spatial = False

    def __init__(self, color: Color = "rgb", bins: int = 128):
        super().__init__()
        at_least_one(bins=bins)
        self.color, self.bins = color, bins
        self.out_channels = color_planes("LogSpectrum", color)
        self.statistics = FrequencyStatistics(self.out_channels, bins, bins // 2 + 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # there is no FFT of bf16
            spectrum = windowed_spectrum(in_color(image, self.color))
            height, width = image.shape[-2:]
            amplitude = torch.roll(spectrum.abs(), height // 2, dims=2)  # frequency 0 to the middle row
            frequency = torch.arange(height, device=image.device) / height - (height // 2) / height
            grid = torch.arange(self.bins, device=image.device) - self.bins // 2
            rows = hats(self.bins * frequency, grid, self.bins / height)  # (H, bins)
            frequency = torch.arange(width // 2 + 1, device=image.device) / width
            grid = torch.arange(self.bins // 2 + 1, device=image.device)
            columns = hats(self.bins * frequency, grid, self.bins / width)  # (W // 2 + 1, bins // 2 + 1)
            maps = torch.log1p(LEVELS * amplitude)
            return self.statistics(*_no_finer_than_grid(maps, rows, columns))


class DCTSpectrum(Net):
    """Log-magnitude DCT of the whole image: (B, 3, H, W) in [0, 1] -> (B, out_channels, H, W) float32.

    At most it is (bins, bins), see `LogSpectrum`.

    The spectrum of Frank et al. (2003.08685): each frequency is standardized by its mean and deviation in the
    training images. Frequency 0 is in the first row and column.

    Args:
        color, bins: as of `LogSpectrum`; the grid has bins x bins frequencies.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma", or `bins` is below 1.
    """

    spatial = False

    def __init__(self, color: Color = "rgb", bins: int = 128):
        super().__init__()
        at_least_one(bins=bins)
        self.color, self.bins = color, bins
        self.out_channels = color_planes("DCTSpectrum", color)
        self.statistics = FrequencyStatistics(self.out_channels, bins, bins)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            amplitude = dct(in_color(image, self.color)).abs()
            grid = torch.arange(self.bins, device=image.device)
            rows, columns = (
                hats(torch.arange(size, device=image.device) * (self.bins / size), grid, self.bins / size)
                for size in image.shape[-2:]
            )
            maps = torch.log1p(LEVELS * amplitude)
            return self.statistics(*_no_finer_than_grid(maps, rows, columns))


class AzimuthalSpectrum(Net):
    """Log of the mean power at each radius: image (B, 3, H, W) in [0, 1] -> (B, out_channels, 1, 1) float32.

    The profile of Durall et al. (2003.01826), whatever the direction: one channel a radius, from 1/bins to
    1/2 cycles a pixel, each standardized by its mean and deviation in the training images. `MLP` reads it.
    `dfd.forensics.spectrum.azimuthal_profile` is the same in numpy, without logarithm and statistics.

    Args:
        color: one profile a colour channel, or one of the luma.
        bins: the profile has bins // 2 radii. At H = W = bins they are exact; other sizes give their own
            profile, read by interpolation.

    Raises:
        ValueError: `color` is neither "rgb" nor "luma", or `bins` is below 2.
    """

    spatial = False

    def __init__(self, color: Color = "luma", bins: int = 128):
        super().__init__()
        if bins < 2:
            raise ValueError(f"bins={bins}: AzimuthalSpectrum needs 2 or more, such as the crop's side.")
        self.color, self.bins = color, bins
        self.out_channels = color_planes("AzimuthalSpectrum", color) * (bins // 2)
        self.statistics = FrequencyStatistics(self.out_channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            spectrum = windowed_spectrum(in_color(image, self.color))
            power = LEVELS**2 * (spectrum.real.square() + spectrum.imag.square())  # (B, C, H, W // 2 + 1)
            profile = power.flatten(2) @ self._rings(*image.shape[-2:], image.device)  # (B, C, side // 2)
            profile = torch.log1p(profile)
            num, side = profile.shape[-1], 2 * profile.shape[-1]
            radius = torch.arange(1, self.bins // 2 + 1, device=image.device) * (side / self.bins)
            own = torch.arange(1, num + 1, device=image.device)
            # lower than its first radius a small image knows nothing: the first stands for them
            weights = hats(radius.clamp(1, num), own, side / self.bins)
            profile = profile @ (weights / weights.sum(1, keepdim=True)).T  # (B, C, bins // 2)
            maps = profile.flatten(1)[..., None, None]
            return self.statistics(maps, *everywhere(maps))

    @staticmethod
    def _rings(height: int, width: int, device: torch.device) -> Tensor:
        """(H * (W // 2 + 1), side // 2): the weight of each frequency in the mean of each ring of an image
        whose shorter side is `side`.
        """
        side = min(height, width)
        row = torch.arange(height, device=device)
        down = torch.minimum(row, height - row)[:, None] / height  # rows beyond the middle are negative
        across = torch.arange(width // 2 + 1, device=device) / width
        ring = torch.round(side * (down.square() + across.square()).sqrt())  # (H, W // 2 + 1)
        # columns between the first and the last stand for their mirror images too
        once = (across == 0) | (across == 0.5)
        weight = torch.where(once, 1.0, 2.0).expand_as(ring)
        radii = torch.arange(1, side // 2 + 1, device=device)
        rings = (ring.flatten()[:, None] == radii) * weight.flatten()[:, None]
        return rings / rings.sum(0)


class LocalSpectrum(Net):
    """Log power of fine detail, place by place: image (B, 3, H, W) in [0, 1] -> (B, block * block, h, w)
    float32.

    A DCT of the luma in windows; one channel a frequency (v * block + u), each standardized by its mean and
    deviation in the training images. h = (H - block) // stride + 1.

    Args:
        block: side of a window in pixels.
        stride: from one window to the next, in pixels.

    Raises:
        ValueError: one of them is below 1.
    """

    spatial = True

    def __init__(self, block: int = 8, stride: int = 4):
        super().__init__()
        at_least_one(block=block, stride=stride)
        self.block, self.stride = block, stride
        self.out_channels = block * block
        # fixed by `block`: rebuilt, not stored
        self.register_buffer("basis", dct_basis(block), persistent=False)  # (block * block, 1, block, block)
        self.statistics = FrequencyStatistics(self.out_channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        check_pictures(image, self.block)
        with torch.autocast(image.device.type, enabled=False):
            amplitude = F.conv2d(in_color(image, "luma"), self.basis, stride=self.stride).abs()
            return self.statistics(torch.log1p(LEVELS * amplitude), *everywhere(amplitude))


def _no_finer_than_grid(maps: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (B, C, H, W) averaged around each frequency of a grid (G, K), along the axes on which they are
    finer than it; with the rows and columns that hold then, see `FrequencyStatistics`.

    Of logarithms, since their mean is what the statistics hold at every size; that of the power is higher.
    """
    if rows.shape[0] > rows.shape[1]:
        maps = (rows / rows.sum(0)).T @ maps
        rows = torch.eye(rows.shape[1], device=rows.device)
    if columns.shape[0] > columns.shape[1]:
        maps = maps @ (columns / columns.sum(0))
        columns = torch.eye(columns.shape[1], device=columns.device)
    return maps, rows, columns


def _hann(size: int, like: Tensor) -> Tensor:
    """Periodic Hann window (size,): its spectrum is three frequencies wide, no more."""
    return torch.hann_window(size, dtype=torch.float32, device=like.device)
