"""Standardization of measured numbers by their mean and deviation in training."""

from __future__ import annotations

from torch import Tensor, nn


class Standardize(nn.BatchNorm1d):
    """BatchNorm without weights, (B, F) -> (B, F). A batch of one, which has no deviation of its own, takes
    the running numbers in training too.
    """

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__(num_features, momentum=momentum, affine=False)

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or len(values) > 1:
            return super().forward(values)
        return (values - self.running_mean) / (self.running_var + self.eps).sqrt()
