"""Clips: the prediction table of videos, from that of their frames."""

from __future__ import annotations

import numpy as np

from dfd.batch import Predictions


def by_clip(predictions: Predictions) -> Predictions:
    """One row a clip: the mean logit of its judged frames. Pictures of no clip are left out.

    Two videos may bear one name: a clip is one source's, of one label and one method. So four manipulations
    of one video are four clips, not one. Each clip is its own family, so that intervals are drawn over clips;
    `row` is that of its first frame. A clip without a judged frame has the status of its first one.
    Familiarity is the mean of the judged frames' ranks.
    """
    of = np.flatnonzero(predictions.clip != "")
    columns = (predictions.source, predictions.clip, predictions.label.astype(str), predictions.method)
    keys = np.array(["\0".join(key) for key in zip(*(column[of] for column in columns), strict=True)], str)
    _, first, at = np.unique(keys, return_index=True, return_inverse=True)
    clips = predictions.where(of[first])
    ok = predictions.status[of] == "ok"
    judged = np.bincount(at[ok], minlength=len(first))

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(at[ok], values[of][ok], minlength=len(first))
        return np.divide(sums, judged, out=np.full(len(first), np.nan), where=judged > 0)

    table = Predictions(
        row=clips.row,
        logit=mean(predictions.logit),
        label=clips.label,
        source=clips.source,
        method=clips.method,
        family=np.arange(len(first)).astype(str),
        clip=clips.clip,
        status=np.where(judged > 0, "ok", clips.status),
        familiarity=mean(predictions.familiarity),
    )
    return table.where(np.argsort(table.row, kind="stable"))
