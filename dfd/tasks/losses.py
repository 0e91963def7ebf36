"""Losses: logits (B,) and labels (B,) -> a scalar."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class BinaryCrossEntropy(nn.Module):
    """Mean binary cross-entropy; a label in between is a share of FAKE, the rest REAL.

    Args:
        label_smoothing: s in [0, 1): targets become s/2 and 1 - s/2.
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing={label_smoothing} is outside [0, 1). Use .1 as a start.")
        self.label_smoothing = label_smoothing
        # of reals and of fakes; None weighs all images alike. No buffer: a checkpoint need not hold it
        self.class_weight: Tensor | None = None

    def balance(self, num_real: int, num_fake: int, device: torch.device) -> None:
        """Weighs both classes alike, whatever their numbers."""
        counts = torch.tensor([num_real, num_fake], dtype=torch.float64).clamp_min(1)
        self.class_weight = (counts.sum() / (2 * counts)).to(torch.float32).to(device)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        label, weight = label.to(logit.dtype), None
        if self.class_weight is not None:
            real, fake = self.class_weight
            weight = real * (1 - label) + fake * label
            label = fake * label / weight
        target = label * (1 - self.label_smoothing) + self.label_smoothing / 2
        return binary_cross_entropy_with_logits(logit, target, weight)
