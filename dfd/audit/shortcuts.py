"""Shortcuts: how well file facts or global colour alone tell real from fake.

A detector could learn these instead of forgery. Two small models are asked: one that sees only what the file
says, one that sees only global colour and brightness. Each is trained and judged by cross-validation over
families. A detector's own AUROC means little where these come close to it (Grommelt et al., 2403.17608, on
JPEG quality and size as shortcuts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfd.audit.pictures import COLORS, Pictures, column
from dfd.batch import Predictions
from dfd.metrics import detection_metrics, interval
from dfd.terminal import many

FOLDS = 5
MOST = 20_000  # pictures that a model is asked about; more change the interval's third digit
TREES = 200
_CATEGORIES = 20  # values of a column that get a column of their own; the rest share one
CHANCE, STRONG = 0.6, 0.9  # AUROC: up to here a hint, from here on a way to cheat


@dataclass(frozen=True)
class Shortcut:
    """How well one kind of fact tells real from fake; nan where it could not be asked."""

    name: str
    auroc: float
    low: float  # ends of the 95% bootstrap interval over families
    high: float
    num_images: int
    num_groups: int
    parts: dict[str, float]  # the same of each fact alone, the strongest first
    ends: dict[str, tuple[float, float]]  # intervals of the strongest

    @property
    def not_ruled_out(self) -> float:
        """The AUROC that so many families leave possible, from .5 up.

        As far as the interval reaches from chance, on either side: a cross-validated model of few families
        falls below .5 by chance, and no further than it could have risen.
        """
        return max(self.high, 1 - self.low)

    @property
    def word(self) -> str:
        """not asked, none, unclear, hint, shortcut or giveaway.

        By the lower end of the interval, so that chance alone accuses no data set, and by `not_ruled_out`, so
        that too few families acquit none.
        """
        if np.isnan(self.auroc):
            return "not asked"
        if not self.low > 0.5:
            return "unclear" if self.not_ruled_out > CHANCE else "none"
        return "giveaway" if self.low > STRONG else "shortcut" if self.low > CHANCE else "hint"

    def __str__(self) -> str:
        if self.word == "not asked":
            return f"{self.name}: not asked, since it takes {FOLDS} or more families of each class."
        best = [
            f"{part} alone {self.parts[part]:.2f} ({low:.2f}, {high:.2f})"
            for part, (low, high) in self.ends.items()
        ]
        means = {
            "none": "no better than chance: these facts are nothing to cheat with.",
            "unclear": (
                f"nothing was found in these facts, but so few families cannot rule out an AUROC of "
                f"{self.not_ruled_out:.2f}."
            ),
            "hint": "a little better than chance: a detector could gain little from it.",
            "shortcut": (
                "clearly better than chance: a detector can cheat with it; read its own figures beside this "
                "one."
            ),
            "giveaway": (
                "it gives the label away: a detector's score on this data says nothing about forgery."
            ),
        }[self.word]
        return (
            f"{self.name}: AUROC {self.auroc:.3f} ({self.low:.3f}, {self.high:.3f}) on {self.num_images} "
            f"images in {many(self.num_groups, 'family')}; {means} "
            f"Strongest: {', '.join(best) or 'none alone above .5'}."
        )


def file_facts(table: pa.Table, pictures: Pictures) -> dict[str, np.ndarray]:
    """What a file says without its pixels, by name: each (M, F) float32."""
    width, height, length = (
        table[name].to_numpy().astype(np.float64) for name in ("width", "height", "length")
    )
    encoding = pictures.encoding
    return {
        "picture size": np.column_stack([width, height, width / height]).astype(np.float32),
        "file size": np.log(length)[:, None].astype(np.float32),
        "bytes a pixel": (length / (width * height))[:, None].astype(np.float32),
        "format": _indicators(table["format"].to_numpy(zero_copy_only=False)),
        "JPEG quality": column(encoding, "quality")[:, None].astype(np.float32),
        "quantization table": _indicators(column(encoding, "table")),
        "chroma subsampling": _indicators(column(encoding, "subsampling")),
        "EXIF": column(encoding, "exif")[:, None].astype(np.float32),
        "ICC profile": column(encoding, "icc")[:, None].astype(np.float32),
        "progressive": column(encoding, "progressive")[:, None].astype(np.float32),
    }


def color_facts(pictures: Pictures) -> dict[str, np.ndarray]:
    """Global colour and brightness, by name: each (M, 1) float32."""
    return {name: pictures.color[:, [at]] for at, name in enumerate(COLORS)}


def ask(
    name: str, facts: Mapping[str, np.ndarray], label: np.ndarray, group: np.ndarray, seed: int = 0
) -> Shortcut:
    """Cross-validated AUROC of a small model on `facts`, and on each of them alone.

    Args:
        facts: name -> (M, F).
        label: (M,) REAL or FAKE.
        group: (M,) families; none is on both sides of a fold.
    """
    rng = np.random.default_rng(seed)
    rows = whole_families(group, rng)
    label, group = label[rows], group[rows]
    if not enough(label, group):
        return Shortcut(name, *(np.nan,) * 3, len(rows), len(np.unique(group)), {}, {})
    fold = deal(label, group, rng)
    together = _verdicts(np.column_stack(list(facts.values()))[rows], label, group, fold, TREES)
    alone = {
        part: _verdicts(values[rows], label, group, fold, TREES // 4)
        for part, values in facts.items()
        if np.ptp(values[rows], axis=0).any()
    }
    parts = {part: detection_metrics(predictions)["auroc"] for part, predictions in alone.items()}
    parts = dict(sorted(parts.items(), key=lambda item: -item[1]))
    ends = {part: interval(alone[part]) for part in list(parts)[:3] if parts[part] > 0.5}
    low, high = interval(together)
    return Shortcut(
        name, detection_metrics(together)["auroc"], low, high, len(rows), len(np.unique(group)), parts, ends
    )


def out_of_family(
    facts: Mapping[str, np.ndarray],
    label: np.ndarray,
    group: np.ndarray,
    trees: int = TREES,
    weight: np.ndarray | None = None,
) -> Predictions | None:
    """What a small model of `facts` says of each picture, having learnt from other families alone; None where
    they are too few. Arguments as in `ask`; rows are counted from 0.

    Args:
        weight: (M,) of the pictures that are learnt from; None for equal ones.
    """
    if not enough(label, group):
        return None
    fold = deal(label, group, np.random.default_rng(0))
    return _verdicts(np.column_stack(list(facts.values())), label, group, fold, trees, weight)


def enough(label: np.ndarray, group: np.ndarray) -> bool:
    """Whether each fold can have a family of each class."""
    return min(len(np.unique(group[label == kind])) for kind in (0, 1)) >= FOLDS


def whole_families(group: np.ndarray, rng: np.random.Generator, most: int = MOST) -> np.ndarray:
    """Rows of whole families, drawn until there are `most` pictures."""
    if len(group) <= most:
        return np.arange(len(group))
    names, place, size = np.unique(group, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    taken = order[: max(1, int(np.searchsorted(np.cumsum(size[order]), most)))]
    return np.flatnonzero(np.isin(place, taken))


def deal(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold (M,) of each picture: families of like size and like share of fakes are dealt out in turn.

    Where FOLDS families or more have reals and as many have fakes, so has every fold. scikit-learn's
    StratifiedGroupKFold weighs each family against each fold: half of the time that the small models take.
    """
    names, place, size = np.unique(group, return_inverse=True, return_counts=True)
    fakes = np.bincount(place, weights=label)
    order = np.lexsort((rng.random(len(names)), size, fakes / size))
    turn = np.empty(len(names), np.int64)
    turn[order] = np.arange(len(names)) % FOLDS
    return turn[place]


def _verdicts(
    facts: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    fold: np.ndarray,
    trees: int,
    weight: np.ndarray | None = None,
) -> Predictions:
    """Each picture judged by a model that saw none of its family."""
    from sklearn.ensemble import ExtraTreesClassifier

    logit = np.zeros(len(label))
    for test in (fold == number for number in range(FOLDS)):
        jobs = -1 if len(label) > 5000 else None  # below, starting threads costs more than they save
        model = ExtraTreesClassifier(
            trees, min_samples_leaf=3, class_weight="balanced", n_jobs=jobs, random_state=0
        )
        model.fit(facts[~test], label[~test], None if weight is None else weight[~test])
        logit[test] = model.predict_proba(facts[test])[:, 1] - 0.5
    return Predictions.of(np.arange(len(label)), logit, label.astype(np.int64), {"family": group})


def _indicators(values: np.ndarray) -> np.ndarray:
    """(M, K) float32: one column for each of the most frequent values."""
    names, count = np.unique(values, return_counts=True)
    kept = names[np.argsort(-count, kind="stable")][:_CATEGORIES]
    return (values[:, None] == kept).astype(np.float32)
