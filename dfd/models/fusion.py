"""Fusion: how the features of two streams become one vector for the head of a `DualStream`.

A fusion of your own is a subclass of `Net` with the two methods of `dfd.models.Fusion`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
