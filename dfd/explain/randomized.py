"""Randomised weights: a map that a net of shuffled weights gives too shows the picture and not the net.

The sanity check of Adebayo et al., 1810.03292.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfd.explain.deletion import cells
from dfd.explain.unchanged import ready, unchanged

# images (B, 3, H, W) -> maps (B, H, W) of a net's logits
Explain = Callable[[nn.Module, Tensor], Tensor]


def survival(
    detector: Any, image: Tensor, explain: Explain, found: Tensor | None = None, seeds: int = 2
) -> float:
    """Rank correlation of a map's strengths with those that the same method gives for nets of shuffled
    weights, the mean over `seeds` nets: about 0 for a map of the net, 1 for a map of the picture alone.

    Args:
        detector: a `dfd.Detector` or a net.
        image: (1, 3, H, W) in [0, 1].
        explain: the method.
        found: (1, H, W) its map, where that is there already.
    """
    from scipy.stats import spearmanr

    with unchanged(detector) as net:
        ours = ready(image, net)
        found = explain(net, ours) if found is None else found
        shuffled = [explain(shuffle_weights(net, ours, seed), ours) for seed in range(seeds)]
    strength = np.abs(cells(found))
    correlations = [
        # a map of zeros has no ranks: it is not the map that was found
        0.0 if np.ptp(other) == 0 or np.ptp(strength) == 0 else spearmanr(strength[0], other[0]).statistic
        for other in (np.abs(cells(each)) for each in shuffled)
    ]
    return float(np.mean(correlations))


def shuffle_weights(net: nn.Module, image: Tensor, seed: int = 0) -> nn.Module:
    """A copy of the net that has learnt nothing: the values of each weight tensor in random order, and
    BatchNorm's statistics taken anew on noisy copies of these images (B, 3, H, W). So every layer keeps its
    scale, and no signal dies.
    """
    shuffled = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in shuffled.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
        norms = [each for each in shuffled.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of what comes
            norm.train()
        # several noisy copies: where a map has one place, one image has no deviation
        several = image.repeat(4, 1, 1, 1)
        noise = torch.randn(several.shape, generator=generator).to(several)
        shuffled((several + 0.05 * noise).clamp(0, 1))
        for norm in norms:
            norm.eval()
    return shuffled
