"""Localization: whether a map finds what was planted in a picture, where a mask tells the place."""

from __future__ import annotations

from torch import Tensor


def pointing_game(found: Tensor, mask: Tensor) -> bool:
    """Whether the strongest place of a map (H, W) lies in a mask (H, W) bool (Zhang et al., 1608.00507). A
    guess hits as often as the mask is large.
    """
    return bool(mask.flatten()[found.flatten().argmax()])


def share_on(found: Tensor, mask: Tensor) -> float:
    """Share of a map's positive values (H, W) that lies in a mask (H, W) bool; NaN for a map without any. A
    map that says nothing has the mask's share of the picture there.
    """
    positive = found.clamp_min(0).double()
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else float("nan")
