"""The discrete cosine transform (DCT-II, orthonormal) as matrices and as kernels of a convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_matrix(size: int, device: torch.device | None = None) -> Tensor:
    """(frequency, pixel) float32: `matrix @ column` transforms, `matrix.T @ coefficients` transforms back."""
    pixel = torch.arange(size, device=device)
    # whole turns taken off while the numbers are integers: large angles in float32 lose digits
    quarter_steps = (2 * pixel + 1) * pixel[:, None] % (4 * size)
    cosine = torch.cos(math.pi / (2 * size) * quarter_steps) * math.sqrt(2 / size)
    return torch.cat([cosine[:1] / math.sqrt(2), cosine[1:]])


def dct(image: Tensor) -> Tensor:
    """(..., H, W) -> coefficients (..., H, W) of the whole image, frequency 0 in the first row and column."""
    height, width = image.shape[-2:]
    return dct_matrix(height, image.device) @ image @ dct_matrix(width, image.device).T


def inverse_dct(coefficients: Tensor) -> Tensor:
    """Coefficients (..., H, W), as `dct` gives them -> image (..., H, W)."""
    height, width = coefficients.shape[-2:]
    rows, columns = (dct_matrix(size, coefficients.device) for size in (height, width))
    return rows.T @ coefficients @ columns


def dct_basis(block: int) -> Tensor:
    """Kernels (block * block, 1, block, block), number v * block + u for frequency v down and u across."""
    matrix = dct_matrix(block)
    return torch.einsum("vy,ux->vuyx", matrix, matrix).reshape(block * block, 1, block, block)
