"""Distance: a gate's distance as a torch module, so that an export holds it beside the net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfd.familiarity.familiarity import Familiarity
from dfd.familiarity.gaussians import Gaussians


class Distance(nn.Module):
    """Middle crops (B, 3, H, W) in [0, 1] -> (B,) float64, as `Familiarity.distance` gives them."""

    def __init__(self, gate: Familiarity):
        super().__init__()
        self.features = gate.features
        self.nets = nn.ModuleList(net for net in (gate.features.early, gate.features.own) if net is not None)
        self.names = list(gate.gaussians)
        self.gaussians = nn.ModuleList(
            _Gaussian(gaussian, *gate.spread[name].tolist()) for name, gaussian in gate.gaussians.items()
        )

    def forward(self, image: Tensor) -> Tensor:
        measured = self.features.measure(image)
        named = zip(self.names, self.gaussians, strict=True)
        return torch.stack([gaussian(measured[name]) for name, gaussian in named]).amax(0)


class _Gaussian(nn.Module):
    """(B, F) -> (B,): `Gaussians.distance`, in deviations from home's mean."""

    def __init__(self, gaussian: Gaussians, mean: float, deviation: float):
        super().__init__()
        self.of_home = mean, deviation
        for name, value in gaussian.arrays().items():
            self.register_buffer(name, torch.from_numpy(value).double())

    def forward(self, features: Tensor) -> Tensor:
        reduced = (features.double() - self.mean) / self.scale @ self.components.T  # (B, K)
        away = reduced[:, None] - self.centers  # (B, S, K)
        white = (self.whitening @ away[..., None]).squeeze(-1)
        mean, deviation = self.of_home
        return ((white.square().sum(-1).sqrt().amin(1) + 1e-9).log() - mean) / deviation
