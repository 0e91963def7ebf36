"""Infidelity: which share of what happens to the logit, when patches of a picture turn black, a map does not
foretell.

Yeh et al., 1901.09392, at a map's best scale, with two changes (measured in docs/results/explanations.md):

- An offset beside the scale. Black has edges, so the logit moves wherever it is put, and by more than places
  differ. Without an offset, as in captum.metrics, the true mask of a forgery is several times worse than an
  even map; divided by a zero map's infidelity instead, noise is as good as the mask.
- Whole patches and not scattered places: of those, each quarter of a picture has equal shares of everything,
  and not even the true mask foretells what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfd.explain.deletion import GRID, PATCH, cells, draw_orders, places
from dfd.explain.unchanged import ready, unchanged

SAMPLES = 64  # patches that turn black, a quarter of the picture each
MAPS = 200  # random maps, every second one of patches


@dataclass(frozen=True)
class Removals:
    """What became of the logit of a picture when random patches of it turned black.

    Args:
        gone: (N, GRID * GRID) bool, which places were black.
        falls: (N,) how far the logit fell.
    """

    gone: np.ndarray
    falls: np.ndarray

    def foretold(self, strength: np.ndarray) -> np.ndarray:
        """Correlation in [-1, 1] of the falls with what maps (K, GRID * GRID) foretell: the sum of their
        values in the places that are gone. (K,); NaN where the logit does not answer, 0 for a map that
        foretells the same each time.
        """
        told = strength @ self.gone.T.astype(np.float64)  # (K, N)
        told, falls = told - told.mean(1, keepdims=True), self.falls - self.falls.mean()
        length = np.sqrt((told**2).sum(1))
        scale = length * np.sqrt((falls**2).sum())
        answers = np.ptp(self.falls) > 1e-9
        found = np.divide(told @ falls, scale, out=np.zeros(len(told)), where=scale > 0)
        return found if answers else np.full(len(told), np.nan)


def removals(detector: Any, image: Tensor, samples: int = SAMPLES, seed: int = 0) -> Removals:
    """Falls of the logit of a picture (3, H, W) in [0, 1] while random patches of it, a quarter of its places
    each time, are black.
    """
    orders = np.stack(list(draw_orders(np.random.default_rng(seed), samples, [PATCH])))
    gone = np.argsort(orders, axis=1) < GRID * GRID // 4
    with unchanged(detector) as net, torch.no_grad():
        ours = ready(image[None], net)
        place = places(*ours.shape[-2:]).to(ours.device)
        kept = torch.from_numpy(~gone).to(ours)  # (N, places)
        logits = [net(ours)]
        # a few at a time: a picture may be large
        logits += [net(ours * part[:, place][:, None]) for part in kept.split(8)]
    logit = torch.cat(logits).double().cpu().numpy()
    return Removals(gone, logit[0] - logit[1:])


def infidelity(found: Tensor, of: Removals) -> tuple[float, float]:
    """Of a map (H, W): the share of the variance of the falls that it does not foretell, and the share of
    random maps that foretell less.

    The first is in [0, 1]: 0 for a map that foretells each fall but for a scale and an offset, 1 for one that
    foretells nothing or the opposite. NaN, and 0 random maps beaten, where the logit does not answer.
    """
    rng = np.random.default_rng(0)
    # the rank of each place: the values of a map in which no place stands out
    random = np.argsort(np.stack(list(draw_orders(rng, MAPS, [0.0, PATCH]))), axis=1)
    ours, others = of.foretold(cells(found[None]))[0], of.foretold(random.astype(np.float64))
    return float(1 - max(ours, 0.0) ** 2), float(np.mean(others < ours))
