"""Shallow classifiers of numbers that describe pictures: logistic regression and SVM, with PCA before them.

All numbers are standardised by the train split. Of a few strengths of regularization the one that ranks the
val split best is taken; the test split is not seen here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from dfd.batch import Predictions
from dfd.metrics import detection_metrics

ModelKind = Literal["logistic", "svm"]
# scikit-learn's C, from strong to weak regularization
STRENGTHS: dict[str, tuple[float, ...]] = {
    "logistic": (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0),
    "svm": (0.1, 1.0, 10.0, 100.0),
}
WORDS = {"logistic": "logistic regression", "svm": "SVM (RBF kernel)"}
FAR = 5.0  # deviations from the mean: cues have long tails, and one must not outweigh all others
MOST = 20_000  # pictures of train; more change the third digit
FEWEST = 10  # pictures of each class of train and of val
Model = Callable[[np.ndarray], np.ndarray]  # numbers (M, F) -> raw logits of fake (M,)


class Part(NamedTuple):
    """Pictures that a model learns from, or is chosen by."""

    values: np.ndarray  # (N, F)
    label: np.ndarray  # (N,)
    family: np.ndarray  # (N,)

    @property
    def enough(self) -> bool:
        return min((self.label == kind).sum() for kind in (0, 1)) >= FEWEST


class Fitted(NamedTuple):
    """The model that val chose.

    Args:
        strength: scikit-learn's C.
        tried: AUROC on val of each strength that was tried.
        weights: (F,) of the standardised numbers, above zero for fake; None where the model is not linear in
            them.
    """

    model: Model
    strength: float
    tried: dict[float, float]
    weights: np.ndarray | None


def fit(train: Part, val: Part, kind: ModelKind = "logistic", components: int | None = None) -> Fitted:
    """The model of a kind whose strength of regularization ranks val best; of equal ones the simplest.

    Args:
        components: principal components (whitened) that the model sees instead of the numbers themselves;
            None for the numbers.
    """
    standardised = Standard.of(train.values)
    numbers, reduce = standardised(train.values), None
    if components is not None:
        reduce = _principal(numbers, components)
        numbers = reduce(numbers)

    def prepared(values: np.ndarray) -> np.ndarray:
        return standardised(values) if reduce is None else reduce(standardised(values))

    chosen_by = prepared(val.values)
    models = {strength: _classifier(kind, strength).fit(numbers, train.label) for strength in STRENGTHS[kind]}
    tried = {
        strength: auroc(model.decision_function(chosen_by), val.label) for strength, model in models.items()
    }
    strength = max(tried, key=lambda each: tried[each])  # the first of equal ones
    best = models[strength]
    weights = best.coef_[0] if kind == "logistic" and reduce is None else None
    return Fitted(lambda values: best.decision_function(prepared(values)), strength, tried, weights)


class Standard(NamedTuple):
    """Numbers in deviations from the mean of a set, at most FAR of them; one that is the same in all pictures
    of the set says nothing, and is 0.
    """

    mean: np.ndarray  # (F,)
    scale: np.ndarray  # (F,)

    @classmethod
    def of(cls, values: np.ndarray) -> Standard:
        mean, deviation = (values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64))
        varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1.0)
        return cls(mean, np.where(varies, deviation, np.inf))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(M, F), in the precision of the values."""
        return np.clip((values - self.mean) / self.scale, -FAR, FAR).astype(values.dtype, copy=False)


def auroc(logit: np.ndarray, label: np.ndarray) -> float:
    table = Predictions.of(np.arange(len(logit)), logit, label.astype(np.int64), {})
    return detection_metrics(table)["auroc"]


def _principal(numbers: np.ndarray, components: int) -> Model:
    from sklearn.decomposition import PCA

    components = min(components, len(numbers) - 1, numbers.shape[1])
    return PCA(components, whiten=True, random_state=0).fit(numbers).transform


def _classifier(kind: ModelKind, strength: float):
    if kind == "svm":
        from sklearn.svm import SVC

        return SVC(C=strength, kernel="rbf", gamma="scale", class_weight="balanced", cache_size=1000)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
