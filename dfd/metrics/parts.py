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
