"""Fusion: how the features of two streams become one vector for the head of a `DualStream`.

A fusion of your own is a subclass of `Net` with the two methods of `dfd.models.Fusion`. It is given pooled
features, or, where it says `needs_maps = True`, the features of each place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.models.net import Net


class Concat(Net):
    """Both streams' features side by side: (B, F), (B, K) -> (B, F + K)."""

    def connect(self, num_rgb: int, num_fft: int) -> int:
        return num_rgb + num_fft

    def forward(self, rgb: Tensor, fft: Tensor, cues: Tensor | None = None) -> Tensor:
        return torch.cat([rgb, fft], dim=1)  # (B, F + K)


class Gate(Net):
    """Gated multimodal unit (Arevalo et al., 1702.01992): (B, F), (B, K) -> (B, K).

    Brings both streams to the width of `fft` and mixes them feature by feature, in shares that depend on the
    image: where compression has wiped out the frequencies, the net can turn to the pixels.
    """

    def connect(self, num_rgb: int, num_fft: int) -> int:
        self.narrow = nn.Linear(num_rgb, num_fft)
        self.share = nn.Linear(num_rgb + num_fft, num_fft)
        return num_fft

    def forward(self, rgb: Tensor, fft: Tensor, cues: Tensor | None = None) -> Tensor:
        share = self.share(torch.cat([rgb, fft], dim=1)).sigmoid()  # (B, K) in (0, 1): how much of the pixels
        return share * self.narrow(rgb) + (1 - share) * fft  # (B, K)


class CrossAttention(Net):
    """Places of each stream look at the places of the other: (B, F, h, w), (B, K, i, j) -> (B, 2 * width).

    Every place asks the other stream's places (Vaswani et al., 1706.03762) and adds what it is answered to
    what it knows; the means over both streams' places stand side by side. The maps may be of any two sizes,
    also of frequencies instead of places.

    Args:
        width: of a place's vector, after both streams were brought to it.
        heads: of the attention; they divide `width`.

    Raises:
        ValueError: they do not.
    """

    needs_maps = True

    def __init__(self, width: int = 64, heads: int = 4):
        super().__init__()
        if width < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"width={width} does not divide into heads={heads}. Use a multiple, such as "
                f"width={max(1, heads) * max(1, round(width / max(1, heads)))}."
            )
        self.width, self.heads = width, heads

    def connect(self, num_rgb: int, num_fft: int) -> int:
        self.narrow_rgb, self.narrow_fft = _narrow(num_rgb, self.width), _narrow(num_fft, self.width)
        self.rgb_asks = _Attention(self.width, self.heads)
        self.fft_asks = _Attention(self.width, self.heads)
        return 2 * self.width

    def forward(self, rgb: Tensor, fft: Tensor, cues: Tensor | None = None) -> Tensor:
        rgb = self.narrow_rgb(rgb.flatten(2).transpose(1, 2))  # (B, h * w, width)
        fft = self.narrow_fft(fft.flatten(2).transpose(1, 2))  # (B, i * j, width)
        asked = [rgb + self.rgb_asks(rgb, fft), fft + self.fft_asks(fft, rgb)]
        return torch.cat([each.mean(1) for each in asked], dim=1)  # (B, 2 * width)


class _Attention(nn.Module):
    """Multi-head attention: what asks (B, N, width), and what answers (B, M, width) -> (B, N, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        # a bias of all keys alike moves no weight of the softmax
        self.key = nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, asks: Tensor, answers: Tensor) -> Tensor:
        query, key, value = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or M, width / heads)
            for each in (self.query(asks), self.key(answers), self.value(answers))
        )
        found = F.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(2))


def _narrow(num_features: int, width: int) -> nn.Module:
    """Features of a place -> (width,), of one size whatever the stream's."""
    return nn.Sequential(nn.Linear(num_features, width), nn.LayerNorm(width))
