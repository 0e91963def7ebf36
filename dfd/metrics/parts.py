"""Parts of a prediction table: by source, by method, and reals of one source against fakes of another."""

from __future__ import annotations

import numpy as np

from dfd.batch import FAKE, REAL, Predictions


def by_source(predictions: Predictions) -> dict[str, Predictions]:
    """The table of each source, in alphabetical order."""
    return {
        str(source): predictions.where(predictions.source == source)
        for source in np.unique(predictions.source)
    }


def across_sources(predictions: Predictions) -> dict[str, Predictions]:
    """The reals of each source with the fakes of each other one, "A|B" for reals of A and fakes of B.

    Scores shift between sources, and a mean of their AUROCs hides it: one threshold has to serve all.
    """
    tables = {}
    names = np.unique(predictions.source).tolist()
    for real, fake in ((real, fake) for real in names for fake in names if real != fake):
        keep = (predictions.source == real) & (predictions.label == REAL)
        keep |= (predictions.source == fake) & (predictions.label == FAKE)
        if set(predictions.label[keep].tolist()) == {REAL, FAKE}:
            tables[f"{real}|{fake}"] = predictions.where(keep)
    return tables


def spoken(predictions: Predictions, verdict: np.ndarray) -> Predictions:
    """The rows of which a word is said that may be wrong: not inconclusive, not unfamiliar, no failure.

    verdict: (M,) of `dfd.calibration.decide`, "" where there is no logit.
    """
    return predictions.where(~np.isin(verdict, ("", "inconclusive", "unfamiliar"))).judged


def by_method(predictions: Predictions) -> dict[str, Predictions]:
    """The fakes of each method with the reals of every source where this method occurs, in alphabetical
    order.

    Fakes alone have no AUROC, and reals of other sources would measure the difference between the sources.
    """
    fake, tables = predictions.label == FAKE, {}
    for method in np.unique(predictions.method[fake & (predictions.method != "")]):
        made = fake & (predictions.method == method)
        reals = (predictions.label == REAL) & np.isin(predictions.source, np.unique(predictions.source[made]))
        tables[str(method)] = predictions.where(made | reals)
    return tables
