"""Both frequency branches of F3-Net (Qian et al., 2007.09355), whose filters are learnt: FAD and LFS."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.models.dct import dct, dct_basis, inverse_dct
from dfd.models.frequency_statistics import hats
from dfd.models.net import Net, at_least_one, check_pictures
from dfd.models.spectral import LEVELS, in_color

# shares of the spectrum where FAD's bands end: the lowest sixteenth, then the lowest eighth, then all
BAND_ENDS = (1 / 16, 1 / 8, 1.0)


class FAD(Net):
    """Frequency-aware decomposition, the image in three bands: (B, 3, H, W) in [0, 1] -> (B, 9, H, W).

    The DCT of the whole image is filtered and transformed back, so that each band shows its part of the
    image, place by place. A filter is its band's fixed mask plus a learnt part in (-1, 1), zero at the start.
    Channels are band by band, low to high, red, green and blue in each.

    Args:
        bins: the learnt parts have bins x bins frequencies. At H = W = bins they are exact; other sizes read
            them by interpolation.

    Raises:
        ValueError: `bins` is below 1.
    """

    out_channels = 3 * len(BAND_ENDS)
    spatial = True

    def __init__(self, bins: int = 128):
        super().__init__()
        at_least_one(bins=bins)
        self.bins = bins
        self.learnt = nn.Parameter(torch.zeros(len(BAND_ENDS), bins, bins))

    def forward(self, image: Tensor) -> Tensor:
        check_pictures(image)
        with torch.autocast(image.device.type, enabled=False):
            coefficients = dct(image.float())[:, None]  # (B, 1, 3, H, W)
            filters = self.filters(*image.shape[-2:])[:, None]  # (3, 1, H, W)
            return inverse_dct(coefficients * filters).flatten(1, 2)

    def filters(self, height: int, width: int) -> Tensor:
        """(3, H, W): the filter of each band."""
        down, across = (torch.arange(size, device=self.learnt.device) / size for size in (height, width))
        diagonal = down[:, None] + across  # in [0, 2)
        # the corner of the unit square below the diagonal s has the area s * s / 2
        ends = [math.sqrt(2 * share) for share in BAND_ENDS[:-1]]
        place = sum((diagonal > end).int() for end in ends)  # which band
        masks = torch.stack([(place == band).float() for band in range(len(BAND_ENDS))])
        grid = torch.arange(self.bins, device=down.device)
        rows, columns = (
            hats(self.bins * at, grid, self.bins / size) for at, size in ((down, height), (across, width))
        )
        rows, columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
        return masks + squashed(rows @ self.learnt @ columns.T)


class LFS(Net):
    """Local frequency statistics: (B, 3, H, W) in [0, 1] -> (B, bands, h, w) float32.

    A DCT of the luma in a sliding window, and of each window the logarithm of how much lies in each band. A
    band's filter is a fixed mask, of equal widths from low to high, plus a learnt part in (-1, 1), zero at
    the start. h = (H - window) // stride + 1.

    Args:
        window: side of the window in pixels.
        stride: from one window to the next, in pixels.
        bands: at most 2 * window - 1.

    Raises:
        ValueError: there are more bands than diagonals in a window, or none; or a number is below 1.
    """

    spatial = True

    def __init__(self, window: int = 10, stride: int = 2, bands: int = 6):
        super().__init__()
        at_least_one(window=window, stride=stride)
        if not 1 <= bands <= 2 * window - 1:
            raise ValueError(
                f"bands={bands}: a window of {window} x {window} frequencies has 1 to {2 * window - 1}. Use "
                f"bands={min(6, 2 * window - 1)}."
            )
        self.window, self.stride, self.bands, self.out_channels = window, stride, bands, bands
        # both follow from the arguments: rebuilt, not stored
        self.register_buffer("basis", dct_basis(window), persistent=False)  # (window * window, 1, ...)
        diagonal = torch.arange(window)[:, None] + torch.arange(window)  # 0 to 2 * window - 2
        band = diagonal * bands // (2 * window - 1)
        masks = (band.flatten() == torch.arange(bands)[:, None]).float()
        self.register_buffer("masks", masks, persistent=False)  # (bands, window * window)
        self.learnt = nn.Parameter(torch.zeros(bands, window * window))

    def forward(self, image: Tensor) -> Tensor:
        check_pictures(image, self.window)
        with torch.autocast(image.device.type, enabled=False):
            coefficients = F.conv2d(in_color(image, "luma"), self.basis, stride=self.stride)
            filters = (self.masks + squashed(self.learnt)).abs()  # of an absolute value, as the L1 norm is
            amplitude = F.conv2d(coefficients.abs(), filters[..., None, None])  # (B, bands, h, w)
            # plus one grey level: of a flat window the paper's bare logarithm is endless
            return torch.log10(1 + LEVELS * amplitude)


def squashed(value: Tensor) -> Tensor:
    """The paper's sigma, (1 - exp(-x)) / (1 + exp(-x)): any number into (-1, 1)."""
    return torch.tanh(value / 2)
