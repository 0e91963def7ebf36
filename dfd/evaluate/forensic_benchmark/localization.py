"""Localization metrics: a tool's map against the mask of what was edited, pixel by pixel.

Three ways to make a yes or no of a map, named apart because they are not comparable: `best` takes for each
picture the threshold that suits it best, which only somebody who knows the mask could choose; `fixed` the
middle of the tool's own colour scale; `weighted` none, but counts each pixel by its place on that scale (as
photoholmes does). Means are over pictures; `pooled` figures are of all pixels of all pictures together, one
threshold for all.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dfd.forensics import Map

BINS = 256  # of the colour scale, for pooled figures
LARGE = 150_000  # pixels from which every second one, both ways, is enough
SCORES = ("f1", "iou", "mcc")


class Located(NamedTuple):
    """One picture's figures. All but `pixel_auc` and the best ones see the map clipped to its colour
    scale."""

    pixel_auc: float
    f1_best: float
    iou_best: float
    mcc_best: float
    f1_fixed: float
    iou_fixed: float
    mcc_fixed: float
    f1_weighted: float
    iou_weighted: float
    mcc_weighted: float
    inside: np.ndarray  # (BINS,) int64: how many pixels of the mask lie in each part of the colour scale
    outside: np.ndarray  # (BINS,) of the other pixels


FIGURES = Located._fields[:-2]
POOLED = (
    "pooled_pixel_auc",
    *(f"pooled_{name}_{way}" for name in SCORES for way in ("best", "fixed")),
    *(f"pooled_{name}_weighted" for name in SCORES),
)


def locate(found: Map | None, mask: np.ndarray) -> Located | None:
    """How well a map finds a mask.

    Args:
        found: the tool's; None for one that answered without a map, which finds nothing: flat.
        mask: (H, W) bool.

    Returns:
        None where the mask is empty or covers everything: there is nothing to find.
    """
    mask = _thinned(mask)
    if mask.all() or not mask.any():
        return None
    if found is None:
        found = Map(np.zeros((1, 1), np.float32), 0.0, 1.0, "")
    values = cv2.resize(found.values, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    auc, best = _ranked(values, mask)
    scaled = np.clip((values - found.low) / (found.high - found.low), 0, 1)
    place = np.minimum((scaled * BINS).astype(np.int64), BINS - 1)
    inside, outside = (np.bincount(place[where], minlength=BINS) for where in (mask, ~mask))
    fixed = np.array([inside[BINS // 2 :].sum(), outside[BINS // 2 :].sum()], np.float64)
    soft = np.array([scaled[mask].sum(dtype=np.float64), scaled[~mask].sum(dtype=np.float64)])
    positives, negatives = int(mask.sum()), int((~mask).sum())
    parts = (scores(*hits, positives, negatives) for hits in (fixed, soft))
    return Located(auc, *best, *(float(each) for part in parts for each in part), inside, outside)


def scores(
    hits: np.ndarray | float,
    alarms: np.ndarray | float,
    positives: np.ndarray | float,
    negatives: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, IoU and MCC of numbers of pixels, of any one shape; 0 where nothing was called, as in scikit-learn.

    Args:
        hits: called, and in the mask.
        alarms: called, and not.
        positives: in the mask.
        negatives: not.
    """
    hits, alarms, positives, negatives = (
        np.asarray(each, np.float64) for each in (hits, alarms, positives, negatives)
    )
    called = hits + alarms
    f1 = _divided(2 * hits, called + positives)
    iou = _divided(hits, alarms + positives)
    silent = positives + negatives - called
    product = hits * (negatives - alarms) - alarms * (positives - hits)
    # one root each: the product of four numbers of pixels has more digits than a float
    root = np.sqrt(called) * np.sqrt(silent) * np.sqrt(positives) * np.sqrt(negatives)
    return f1, iou, _divided(product, root)


def pooled(inside: np.ndarray, outside: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of all pixels together, by name, each (R,).

    Args:
        inside: (R, BINS) pixels of masks by their place on the colour scale.
        outside: (R, BINS) the others.
    """
    # called at each threshold, from the top of the scale down
    hits, alarms = (np.cumsum(each[:, ::-1], axis=1, dtype=np.float64) for each in (inside, outside))
    positives, negatives = hits[:, -1:], alarms[:, -1:]
    area = (np.diff(alarms, prepend=0) * (hits + np.pad(hits, ((0, 0), (1, 0)))[:, :-1])).sum(axis=1) / 2
    figures = {"pooled_pixel_auc": _divided(area, (positives * negatives)[:, 0], np.nan)}
    each = scores(hits, alarms, positives, negatives)
    for name, values in zip(SCORES, each, strict=True):
        figures[f"pooled_{name}_best"] = values.max(axis=1)
        figures[f"pooled_{name}_fixed"] = values[:, BINS // 2 - 1]
    middle = (np.arange(BINS) + 0.5) / BINS
    weighted = scores(inside @ middle, outside @ middle, positives[:, 0], negatives[:, 0])
    return figures | {f"pooled_{name}_weighted": value for name, value in zip(SCORES, weighted, strict=True)}


def _ranked(values: np.ndarray, mask: np.ndarray) -> tuple[float, list[float]]:
    """The area under the ROC curve, ties counting half, and the best F1, IoU and MCC over all thresholds."""
    order = np.argsort(-values, axis=None, kind="stable")
    ranked, in_mask = values.ravel()[order], mask.ravel()[order]
    # no threshold parts equal values
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(in_mask)[ends].astype(np.float64)
    alarms = ends + 1.0 - hits
    positives, negatives = hits[-1], alarms[-1]
    area = (np.diff(alarms, prepend=0) * (hits + np.append(0, hits[:-1]))).sum() / 2
    best = [float(each.max()) for each in scores(hits, alarms, positives, negatives)]
    return float(area / (positives * negatives)), best


def _thinned(mask: np.ndarray) -> np.ndarray:
    step = 2 if mask.size > LARGE else 1
    return np.ascontiguousarray(mask[::step, ::step])


def _divided(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole > 0)
