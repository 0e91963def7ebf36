"""High-pass filters, which leave noise and take content: SRM's fixed ones and Bayar's constrained ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.models.net import Net, at_least_one, check_pictures
from dfd.models.spectral import LEVELS, Color, color_planes, in_color

# side of all kernels here
SIDE = 5
SQUARE_3 = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
SQUARE_5 = (
    (-1, 2, -2, 2, -1),
    (2, -6, 8, -6, 2),
    (-2, 8, -12, 8, -2),
    (2, -6, 8, -6, 2),
    (-1, 2, -2, 2, -1),
)


class SRM(Net):
    """Noise residuals of the spatial rich model: (B, 3, H, W) in [0, 1] -> (B, out_channels, H - 4, W - 4).

    Each kernel predicts a pixel from its neighbours and gives the error in grey levels, cut off at +- 3, so
    that edges do not drown the noise (Fridrich & Kodovsky 2012, Rich models for steganalysis of digital
    images). Float32. Channels are kernel by kernel, the colours of each together.

    Args:
        kernels: 3, those that Zhou et al. (1805.04953) and Luo et al. (2103.12376) took for forgeries: a
            second-order edge, a 3 x 3 and a 5 x 5 square; or all 30 linear ones of the model.
        color: residuals of each colour channel, or of the luma.

    Raises:
        ValueError: `kernels` is neither 3 nor 30, or `color` neither "rgb" nor "luma".
    """

    spatial = True
    cut = 3.0  # grey levels

    def __init__(self, kernels: Literal[3, 30] = 3, color: Color = "rgb"):
        super().__init__()
        if kernels not in (3, 30):
            raise ValueError(f"kernels={kernels}: SRM has 3, the usual choice, or all 30.")
        self.color = color
        planes = color_planes("SRM", color)
        self.out_channels = kernels * planes
        bank = srm_kernels() if kernels == 30 else usual_kernels()  # (kernels, 5, 5)
        # fixed: rebuilt, not stored
        self.register_buffer("kernels", bank[:, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        check_pictures(image, SIDE)
        with torch.autocast(image.device.type, enabled=False):
            planes = in_color(image, self.color)  # (B, C, H, W)
            residual = F.conv2d(planes.flatten(0, 1)[:, None], LEVELS * self.kernels)  # (B * C, K, ...)
            residual = residual.unflatten(0, planes.shape[:2]).transpose(1, 2)  # (B, K, C, H - 4, W - 4)
            return residual.flatten(1, 2).clamp(-self.cut, self.cut)


class BayarConv(Net):
    """Learnt prediction errors: (B, 3, H, W) in [0, 1] -> (B, kernels, H - 4, W - 4) float32, in grey levels.

    In each 5 x 5 kernel the middle is -1 and its neighbours add up to 1: whatever is learnt, a pixel is taken
    off its prediction (Bayar & Stamm 2018, Constrained convolutional neural networks). The weights are 24
    free numbers, and the kernel is the nearest one that keeps this: it holds after every step
    of any optimizer, in averages of weights and in exports. The authors divide by the sum instead, which
    explodes where that nears zero.

    Args:
        kernels: how many, each over the three colour channels.

    Raises:
        ValueError: `kernels` is below 1.
    """

    spatial = True

    def __init__(self, kernels: int = 3):
        super().__init__()
        at_least_one(kernels=kernels)
        self.out_channels = kernels
        self.around = nn.Parameter(torch.empty(kernels, 3, SIDE * SIDE - 1))
        nn.init.normal_(self.around, std=0.1)

    @property
    def kernels(self) -> Tensor:
        """(kernels, 3, 5, 5), as they are applied."""
        num = self.around.shape[-1]
        around = self.around + (1 - self.around.sum(-1, keepdim=True)) / num
        middle = -torch.ones_like(around[..., :1])
        kernel = torch.cat([around[..., : num // 2], middle, around[..., num // 2 :]], dim=-1)
        return kernel.unflatten(-1, (SIDE, SIDE))

    def forward(self, image: Tensor) -> Tensor:
        check_pictures(image, SIDE)
        with torch.autocast(image.device.type, enabled=False):
            return F.conv2d(LEVELS * image.float(), self.kernels.float())


def usual_kernels() -> Tensor:
    """(3, 5, 5): second order across, 3 x 3 square, 5 x 5 square; the middle is -1."""
    return torch.stack([_framed([[1, -2, 1]]) / 2, _framed(SQUARE_3) / 4, _framed(SQUARE_5) / 12])


def srm_kernels() -> Tensor:
    """(30, 5, 5): all linear kernels of the model, the middle -1 in each.

    Errors of predictions of first and third order in eight directions, of second order in four, of a 3 x 3
    and a 5 x 5 square, and of their halves to four sides.
    """
    first, second = _framed([[0, -1, 1]]), _framed([[1, -2, 1]]) / 2
    first_across = torch.zeros(SIDE, SIDE)
    first_across[1, 3], first_across[2, 2] = 1, -1
    second_across = _diagonal((1, -2, 1)) / 2
    third = torch.zeros(SIDE, SIDE)
    third[2, 1:5] = torch.tensor([1.0, -3, 3, -1]) / 3
    third_across = torch.zeros(SIDE, SIDE)
    for step, weight in zip((-1, 0, 1, 2), (1, -3, 3, -1), strict=True):
        third_across[2 - step, 2 + step] = weight / 3
    edge_3, edge_5 = _framed(SQUARE_3) / 4, _framed(SQUARE_5) / 12
    edge_3[3:], edge_5[3:] = 0, 0
    turned = [
        *((each, 4) for each in (first, first_across, third, third_across, edge_3, edge_5)),
        *((each, 2) for each in (second, second_across)),
    ]
    bank = [torch.rot90(kernel, turn) for kernel, turns in turned for turn in range(turns)]
    return torch.stack([*bank, _framed(SQUARE_3) / 4, _framed(SQUARE_5) / 12])


def _framed(kernel: list[list[int]] | tuple[tuple[int, ...], ...] | Tensor) -> Tensor:
    """In the middle of 5 x 5 zeros. No value is looked at: a net is measured on "meta", which has none."""
    inner = torch.as_tensor(kernel, dtype=torch.float32)
    framed = torch.zeros(SIDE, SIDE)
    top, left = ((SIDE - size) // 2 for size in inner.shape)
    framed[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return framed


def _diagonal(weights: tuple[int, ...]) -> Tensor:
    """From the lower left to the upper right, in the middle of 5 x 5 zeros."""
    return _framed(torch.diag(torch.tensor(weights)).flip(1))
