"""Clusters of pictures by their features alone: k-means, Gaussian mixtures. No label comes in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from dfd.evaluate.classical.models import Standard

Method = Literal["kmeans", "gmm"]
WORDS = {"kmeans": "k-means", "gmm": "Gaussian mixture"}
COMPONENTS = 32  # principal components in which clusters are looked for
NUMBERS = range(2, 11)  # of clusters that are tried where none is named
SAMPLE = 2000  # pictures of a silhouette
SMALLEST = 2  # pictures a cluster, on average


class Clusters(NamedTuple):
    """Clusters that were found, numbered from 0 by their size in what they were found in.

    Args:
        space: features (M, F) -> where they lie (M, D).
        assign: places (M, D) -> cluster (M,) int.
        far: places (M, D) -> distance (M, k) of each cluster's centre.
        tried: the score of each number of clusters that was tried: the silhouette of k-means, the larger the
            better; the BIC of a mixture, the smaller the better; empty where the number was named.
    """

    num: int
    space: Callable[[np.ndarray], np.ndarray]
    assign: Callable[[np.ndarray], np.ndarray]
    far: Callable[[np.ndarray], np.ndarray]
    tried: dict[int, float]


def find_clusters(
    values: np.ndarray, method: Method, num: int | None = None, components: int = COMPONENTS, seed: int = 0
) -> Clusters:
    """Clusters of standardised features, in their first principal components.

    Args:
        values: (N, F).
        method: kmeans, or gmm: a mixture of Gaussians, whose covariances are diagonal or full, by the BIC.
        num: how many; None takes the number of 2 to 10 with the best silhouette (Rousseeuw 1987), or of a
            mixture with the lowest BIC (Schwarz 1978).
        seed: of where the search starts.

    Raises:
        ValueError: `num` is below 2, or too large for so many pictures.
    """
    most = len(np.unique(values, axis=0)) // SMALLEST
    if num is not None and not 2 <= num <= most:
        raise ValueError(
            f"--k {num}: of {len(values)} pictures to learn from, {most * SMALLEST} of them different, 2 to "
            f"{most} clusters can be asked."
        )
    if most < 2:
        raise ValueError(f"{len(values)} pictures are too few for clusters: four different ones at least.")
    space = _space(values, components)
    places = space(values)
    tried, models = {}, {}
    for each in [num] if num is not None else [each for each in NUMBERS if each <= most]:
        models[each] = _fitted(method, each, places, seed)
        if num is None:
            tried[each] = _score(method, models[each], places, seed)
    best = num
    if best is None:
        best = (max if method == "kmeans" else min)(tried, key=lambda each: tried[each])
    model = models[best]
    found = model.predict(places)
    order = np.argsort(-np.bincount(found, minlength=best), kind="stable")
    number = np.empty(best, np.int64)
    number[order] = np.arange(best)
    centres = (model.cluster_centers_ if method == "kmeans" else model.means_)[order]

    def far(where: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(where[:, None] - centres[None]).sum(axis=2))

    return Clusters(best, space, lambda where: number[model.predict(where)], far, tried)


def _space(values: np.ndarray, components: int) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.decomposition import PCA

    standardised = Standard.of(values)
    components = min(components, len(values) - 1, values.shape[1])
    reduced = PCA(components, random_state=0).fit(standardised(values))
    return lambda other: reduced.transform(standardised(other)).astype(np.float64)


def _fitted(method: Method, num: int, places: np.ndarray, seed: int):
    if method == "kmeans":
        from sklearn.cluster import KMeans

        return KMeans(num, n_init=10, random_state=seed).fit(places)
    from sklearn.mixture import GaussianMixture

    mixtures = [
        GaussianMixture(num, covariance_type=shape, reg_covar=1e-3, n_init=2, random_state=seed).fit(places)
        for shape in ("diag", "full")
    ]
    return min(mixtures, key=lambda mixture: mixture.bic(places))


def _score(method: Method, model, places: np.ndarray, seed: int) -> float:
    if method == "gmm":
        return float(model.bic(places))
    from sklearn.metrics import silhouette_score

    size = SAMPLE if len(places) > SAMPLE else None
    return float(silhouette_score(places, model.labels_, sample_size=size, random_state=seed))
