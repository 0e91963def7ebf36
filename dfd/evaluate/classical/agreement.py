"""Agreement of clusters with what is known of pictures: NMI, ARI and purity, with intervals by family.

All three are functions of one contingency table, clusters by values: of many tables at once, so that a
bootstrap over families costs a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM = 2000  # resamples
SHUFFLES = 200  # of the clusters over the pictures, for what chance reaches
CHUNK = 1 << 24  # numbers held at once


def nmi(tables: np.ndarray) -> np.ndarray:
    """Normalised mutual information (R,) of contingency tables (R, K, C), over the mean of both entropies: 0
    for nothing in common, 1 for the same parts. NaN where one cluster holds all of one value.
    """
    total = tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = tables.sum(axis=2) / total[..., 0], tables.sum(axis=1) / total[..., 0]
    of_rows, of_columns, of_both = (
        _entropy(rows), _entropy(columns), _entropy((tables / total).reshape(len(tables), -1)),
    )  # fmt: skip
    mean = (of_rows + of_columns) / 2
    shared = np.maximum(of_rows + of_columns - of_both, 0)
    return np.divide(shared, mean, out=np.full(len(tables), np.nan), where=mean > 0)


def ari(tables: np.ndarray) -> np.ndarray:
    """Adjusted Rand index (R,) of contingency tables (R, K, C) (Hubert & Arabie 1985): 0 on average by
    chance, 1 for the same parts. NaN where one cluster holds all of one value.
    """
    total = tables.sum(axis=(1, 2))
    both = _pairs(tables).sum(axis=(1, 2))
    rows, columns = _pairs(tables.sum(axis=2)).sum(axis=1), _pairs(tables.sum(axis=1)).sum(axis=1)
    expected = rows * columns / np.maximum(_pairs(total), 1)
    most = (rows + columns) / 2
    return np.divide(
        both - expected, most - expected, out=np.full(len(tables), np.nan), where=most > expected
    )


def purity(tables: np.ndarray) -> np.ndarray:
    """Share (R,) of the pictures that are of the most frequent value of their cluster."""
    return tables.max(axis=2).sum(axis=1) / tables.sum(axis=(1, 2))


METRICS = {"nmi": nmi, "ari": ari, "purity": purity}
LOWEST = {"nmi": 0.0, "ari": -1.0, "purity": 0.0}


@dataclass(frozen=True)
class Agreement:
    """How far clusters agree with one thing that is known of the pictures.

    Args:
        truth: what is known: label, source or method.
        values: its values.
        metrics: NMI, ARI and purity by name.
        ends: the 95% interval of each, by a bootstrap that draws families.
        chance: the mean of each where the clusters are shuffled over the pictures.
    """

    truth: str
    values: tuple[str, ...]
    metrics: dict[str, float]
    ends: dict[str, tuple[float, float]]
    chance: dict[str, float]
    num_images: int
    num_families: int


def agreement(truth: str, cluster: np.ndarray, value: np.ndarray, family: np.ndarray) -> Agreement | None:
    """How far clusters agree with one thing that is known of the pictures; None where it is the same for all.

    Resampling with repetition raises all three metrics: a picture that is drawn twice agrees with itself. The
    draws are moved so that their mean is the value, and cut off where the metric ends.

    Args:
        truth: its name.
        cluster, value, family: (M,).
    """
    names, place = np.unique(value, return_inverse=True)
    if len(names) < 2:
        return None
    numbers, at = np.unique(cluster, return_inverse=True)
    shape = (len(numbers), len(names))
    cell = at * shape[1] + place  # of the contingency table
    whole = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(1, *shape).astype(np.float64)
    metrics = {name: float(metric(whole)[0]) for name, metric in METRICS.items()}
    drawn = _resampled(cell, shape, family)
    ends = {name: _ends(metric(drawn), metrics[name], LOWEST[name]) for name, metric in METRICS.items()}
    rng = np.random.default_rng(0)
    shuffled = np.stack(
        [
            np.bincount(rng.permutation(at) * shape[1] + place, minlength=shape[0] * shape[1]).reshape(shape)
            for _ in range(SHUFFLES)
        ]
    ).astype(np.float64)
    chance = {name: float(np.nanmean(metric(shuffled))) for name, metric in METRICS.items()}
    num_families = len(np.unique(family))
    return Agreement(truth, tuple(map(str, names)), metrics, ends, chance, len(cluster), num_families)


def _resampled(cell: np.ndarray, shape: tuple[int, int], family: np.ndarray) -> np.ndarray:
    """(NUM, K, C): the contingency table of each draw of whole families; none for a single one."""
    _, home = np.unique(family, return_inverse=True)
    num, width = int(home.max()) + 1, shape[0] * shape[1]
    if num < 2:
        return np.zeros((0, *shape))
    of_family = np.zeros((num, width))
    np.add.at(of_family, (home, cell), 1)
    rng, step, parts = np.random.default_rng(0), max(1, CHUNK // num), []
    for start in range(0, NUM, step):
        draws = rng.multinomial(num, np.full(num, 1 / num), size=min(step, NUM - start))
        parts.append(draws.astype(np.float64) @ of_family)
    return np.concatenate(parts).reshape(-1, *shape)


def _ends(drawn: np.ndarray, value: float, lowest: float) -> tuple[float, float]:
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < 0.95 * NUM:
        return np.nan, np.nan
    low, high = np.quantile(drawn - drawn.mean() + value, [0.025, 0.975])
    return float(max(low, lowest)), float(min(high, 1.0))


def _entropy(shares: np.ndarray) -> np.ndarray:
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=1)


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) / 2
