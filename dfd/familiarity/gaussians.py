"""Gaussians: how far a picture's features lie from the pictures of each known source.

Mahalanobis distances of deep features as in Lee et al., 1807.03888, one Gaussian for each source instead of
one for each class, with the shrunk covariance of Ledoit and Wolf (2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

COMPONENTS = 50
FEWEST = 20  # pictures of a source for a Gaussian of its own; those of smaller sources share one
SOURCES = 32  # Gaussians at most: the largest sources, and one for all others


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian for each source in the first principal components of standardized features.

    Args:
        mean, scale: (F,) of the features.
        components: (K, F) principal directions.
        centers: (S, K) of the sources.
        whitening: (S, K, K); a source's Mahalanobis distance is the length of `whitening @ (z - center)`.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    centers: np.ndarray
    whitening: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, source: np.ndarray) -> Gaussians:
        """
        Args:
            features: (M, F).
            source: (M,) str.
        """
        from sklearn.covariance import LedoitWolf

        features = features.astype(np.float64)
        mean = features.mean(0)
        scale = features.std(0)
        # what hardly varied at home would be blown up elsewhere
        scale = np.maximum(scale, max(1e-3 * float(np.median(scale)), 1e-6))
        standard = (features - mean) / scale
        # directions by the smaller of both sides: M may be thousands
        _, vectors = np.linalg.eigh(standard.T @ standard)
        components = vectors[:, ::-1].T[: min(COMPONENTS, len(features) - 1)]
        reduced = standard @ components.T  # (M, K)
        centers, whitening = [], []
        for rows in groups(source):
            fitted = LedoitWolf().fit(reduced[rows])
            centers.append(fitted.location_)
            # P = L L^T, so that |L^T d|^2 = d^T P d
            whitening.append(np.linalg.cholesky(fitted.precision_).T)
        parts = (mean, scale, components, np.stack(centers), np.stack(whitening))
        return cls(*(np.ascontiguousarray(part, np.float32) for part in parts))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(B, F) -> (B,) logarithm of the Mahalanobis distance to the nearest source."""
        standard = (features.astype(np.float64) - self.mean) / self.scale
        reduced = standard @ self.components.T  # (B, K)
        away = reduced[:, None] - self.centers  # (B, S, K)
        white = np.einsum("skj,bsj->bsk", self.whitening, away)
        return np.log(np.linalg.norm(white, axis=2).min(axis=1) + 1e-9)

    def arrays(self) -> dict[str, np.ndarray]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Gaussians:
        return cls(**{each.name: np.asarray(arrays[each.name], np.float32) for each in fields(cls)})


def groups(source: np.ndarray) -> list[np.ndarray]:
    """Rows of each source that gets a Gaussian of its own, and at the end those of all others."""
    _, place, counts = np.unique(source, return_inverse=True, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[: SOURCES - 1]
    own = [number for number in sorted(largest.tolist()) if counts[number] >= FEWEST]
    parts = [np.flatnonzero(place == number) for number in own]
    others = np.flatnonzero(~np.isin(place, own))
    # a handful of pictures makes no Gaussian: then they widen that of the largest source
    if len(others) >= FEWEST or not parts:
        return [*parts, others]
    if len(others):
        parts[0] = np.sort(np.concatenate([parts[0], others]))
    return parts
