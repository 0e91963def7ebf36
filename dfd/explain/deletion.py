"""Deletion and insertion: what becomes of the logit while a picture turns black place by place.

Petsiuk et al., 1806.07421. Curves are compared with those of random orders of the same places on the same
picture. Half of these are scattered, half go patch by patch, as most maps do: black has edges, and a detector
answers to how many there are.

Black, as integrated gradients start from it. A place that only loses its detail looks like a forgery to a
detector of smooth places: measured so, even the true mask of a forgery is no better than chance
(docs/results/explanations.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from dfd.explain.unchanged import ready, unchanged

GRID = 16  # places a side: what is deleted and compared is a map's mean in each
STEPS = 10
ORDERS = 10  # random orders, every second one in patches, each also backwards: 20 gaps
PATCH = 2.0  # places: deviation of the Gaussian that makes patches of noise


@dataclass(frozen=True)
class RandomOrders:
    """Curves of a picture whose places are deleted in random orders.

    Args:
        curves: (2 * ORDERS, STEPS + 1) logits, from the picture to black; an
            order and its reverse follow one another.
    """

    curves: np.ndarray

    @property
    def mean(self) -> float:
        """The mean area under the curves: what an order that says nothing reaches."""
        return float(area(self.curves).mean())

    @property
    def gaps(self) -> np.ndarray:
        """(2 * ORDERS,) insertion's area less deletion's, as random orders have them."""
        first, back = area(self.curves).reshape(-1, 2).T
        # to insert in an order is to delete in its reverse
        return np.concatenate([back - first, first - back])


def random_orders(detector: Any, image: Tensor, seed: int = 0) -> RandomOrders:
    """What deletion and insertion in random orders do to the logit of a picture (3, H, W) in [0, 1]."""
    rng = np.random.default_rng(seed)
    drawn = draw_orders(rng, ORDERS, [0.0, PATCH])
    orders = np.concatenate([[order, order[::-1]] for order in drawn])
    with unchanged(detector) as net, torch.no_grad():
        return RandomOrders(curves(net, ready(image[None], net), orders))


def draw_orders(rng: np.random.Generator, num: int, patches: Sequence[float]) -> Iterator[np.ndarray]:
    """Random orders (GRID * GRID,) of the places, by turns in patches of these sizes; 0: scattered."""
    for number in range(num):
        noise = rng.standard_normal((GRID, GRID))
        yield np.argsort(gaussian_filter(noise, patches[number % len(patches)], mode="wrap"), axis=None)


def cells(maps: Tensor) -> np.ndarray:
    """Mean of maps (B, H, W) in each of the places: (B, GRID * GRID) float64."""
    place = places(*maps.shape[-2:]).flatten().numpy()
    flat = maps.detach().cpu().double().flatten(1).numpy()
    count = np.maximum(np.bincount(place, minlength=GRID * GRID), 1)
    return np.stack([np.bincount(place, each, GRID * GRID) / count for each in flat])


def places(height: int, width: int) -> Tensor:
    """(H, W) int64: the number of the place that each pixel lies in."""
    rows = torch.arange(height) * GRID // height
    columns = torch.arange(width) * GRID // width
    return rows[:, None] * GRID + columns


def curves(net: nn.Module, image: Tensor, orders: np.ndarray) -> np.ndarray:
    """Logits (K, STEPS + 1) of an image (1, 3, H, W) that turns black in K orders (K, GRID * GRID)."""
    place = places(*image.shape[-2:]).to(image.device)
    rank = torch.from_numpy(np.argsort(orders, axis=1)).to(image.device)  # (K, places)
    ends = net(torch.cat([image, torch.zeros_like(image)])).double().cpu().numpy()
    curves = np.empty((len(orders), STEPS + 1))
    curves[:, 0], curves[:, -1] = ends
    for step in range(1, STEPS):
        kept = (rank >= round(step / STEPS * GRID * GRID)).to(image.dtype)
        # a few at a time: a picture may be large
        for start in range(0, len(orders), 4):
            mask = kept[start : start + 4][:, place][:, None]  # (k, 1, H, W)
            curves[start : start + 4, step] = net(image * mask).double().cpu().numpy()
    return curves


def area(curve: np.ndarray) -> np.ndarray:
    """Mean height of curves (..., STEPS + 1) by the trapezoidal rule."""
    return (curve[..., 1:] + curve[..., :-1]).mean(-1) / 2
