"""Face margin: what `dfd prepare` recorded in the shards, taken over by the view and by transforms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from dfd.media.crops import View


def resolve_margin(view: View, recorded: Mapping[str, float], training: bool) -> View:
    """The view with a number as its margin: its own, else the roots', else the default.

    What is trained on shards cuts its faces at the view's margin ever after, so that the two must agree. To
    evaluate a trained net, no margin is needed, and shards that were cut otherwise are judged with a warning.

    Args:
        recorded: the margin of each root that records one.

    Raises:
        ValueError: in training, roots or the view differ; names them, and what to do.
    """
    if problem := _difference(view, recorded):
        if training:
            raise ValueError(problem)
        rank_zero_warn(problem.partition("\n")[0])
    return view.resolved(next(iter(recorded.values()), None))


def _difference(view: View, recorded: Mapping[str, float]) -> str:
    """How margins differ, and on a second line what to do; "" where they do not."""
    cut = ", ".join(f"{root} at {margin:g}" for root, margin in recorded.items())
    if len(set(recorded.values())) > 1:
        first = next(iter(recorded.values()))
        return (
            f"data.roots were cut at different margins (multiples of the face's box): {cut}.\n"
            "A net is to see faces at one margin. Prepare the others again with "
            f"--margin {first:g} --overwrite, or leave them out."
        )
    if view.margin is not None and any(margin != view.margin for margin in recorded.values()):
        return (
            f"data.view.margin={view.margin:g} is not the margin that the shards were cut at: {cut}.\n"
            "Use --data.view.margin=null, which takes the shards', or prepare them again with "
            f"--margin {view.margin:g} --overwrite."
        )
    return ""


def with_margin(transform: Any, margin: float) -> Any:
    """The transform; where its attribute `margin` is None, a copy of it that has this one."""
    if getattr(transform, "margin", margin) is not None:
        return transform
    transform = copy.copy(transform)
    transform.margin = margin
    return transform
