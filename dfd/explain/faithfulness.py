"""Faithfulness of a map: whether it says what the net does, measured on the picture that it explains.

- Deletion and insertion (Petsiuk et al., 1806.07421): places turn black, or appear, in the order
  of the map. A faithful map moves the logit sooner than a random order of the same places does.
- Randomised weights (Adebayo et al., 1810.03292): a map that looks the same for a net of shuffled weights
  shows the picture and not the net.
- Infidelity and sensitivity (Yeh et al., 1901.09392): what a map's values foretell, and whether a change
  that no eye sees makes it another map.

A faithful map is one of what moved this net. Whether the net was right is another question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfd.explain.deletion import RandomOrders, area, cells, curves
from dfd.explain.infidelity import Removals, infidelity
from dfd.explain.randomized import Explain
from dfd.explain.unchanged import ready, unchanged

SURVIVES = 0.5  # rank correlation with the map of shuffled weights from where a map is marked
ADVANTAGE = 0.95  # share of the random orders, and of the random maps, that a map must beat
# relative change of a map by a grey level, from where a blank map would be nearer to it than it is to itself
UNSTEADY = 1.0
INCOMPLETE = 0.1  # of the logit, from where people are told
GREY_LEVEL = 1 / 255


@dataclass(frozen=True)
class Faithfulness:
    """What was measured of one map of one picture. None or NaN: not measured, or it has no meaning here.

    Args:
        empty: the map is the same everywhere, so it ranks nothing.
        deletion: mean logit while places turn black, those that speak most for FAKE first; lower is
            better.
        insertion: mean logit while they appear in that order; higher is better.
        random: the mean logit of both in random orders.
        beaten: share of random orders whose insertion less deletion is smaller.
        infidelity: share of the variance of the logit's changes, when random patches turn black, that the
            map's values do not foretell, in [0, 1]: 0 foretells all, 1 nothing or the opposite.
        maps_beaten: share of random maps that foretell less.
        survival: rank correlation of its strengths with those of the map of a net with shuffled weights.
        sensitivity: greatest relative change of the map when each pixel changes by up to a grey level.
        completeness: the part of the logit's distance from the baseline that the map leaves out.
        deletion_curve, insertion_curve: (STEPS + 1,) logits.
    """

    empty: bool = False
    deletion: float = float("nan")
    insertion: float = float("nan")
    random: float = float("nan")
    beaten: float = float("nan")
    infidelity: float = float("nan")
    maps_beaten: float | None = None
    survival: float | None = None
    sensitivity: float | None = None
    completeness: float | None = None
    deletion_curve: np.ndarray | None = None
    insertion_curve: np.ndarray | None = None

    @property
    def survives(self) -> bool:
        """Whether it is marked: nearly the same map for a net that has learnt nothing."""
        return self.survival is not None and self.survival >= SURVIVES

    @property
    def better_than_chance(self) -> bool:
        """Whether its order moves the logit sooner than random orders do."""
        return self.beaten >= ADVANTAGE

    @property
    def foretells(self) -> bool:
        """Whether its values foretell more than those of random maps do; True where that was not measured."""
        return self.maps_beaten is None or self.maps_beaten >= ADVANTAGE

    @property
    def unsteady(self) -> bool:
        """Whether a change that no eye sees makes it another map."""
        return self.sensitivity is not None and self.sensitivity >= UNSTEADY

    @property
    def holds(self) -> bool:
        """Whether it passed every test that was made."""
        passed = self.better_than_chance and self.foretells
        return passed and not (self.empty or self.survives or self.unsteady)


def faithfulness(
    detector: Any,
    image: Tensor,
    found: Tensor,
    orders: RandomOrders,
    completeness: float | None = None,
    removed: Removals | None = None,
) -> Faithfulness:
    """Deletion, insertion and infidelity of one picture's map.

    Args:
        detector: images (B, 3, H, W) -> logits (B,): a `dfd.Detector`, a net, or a `Decision`.
        image: (3, H, W) in [0, 1].
        found: (H, W), its map; larger values speak for FAKE, or move the logit more.
        orders: of the same picture, see `random_orders`.
        completeness: error of the map's method, to be kept with the rest.
        removed: of the same picture, see `removals`; without, infidelity is not measured.
    """
    strength = cells(found[None])[0]
    if not np.isfinite(strength).all() or np.ptp(strength) <= 1e-12 * max(1.0, float(np.abs(strength).max())):
        return Faithfulness(empty=True, random=orders.mean, completeness=completeness)
    first = np.argsort(-strength, kind="stable")
    with unchanged(detector) as net, torch.no_grad():
        ours = ready(image[None], net)
        deletion, insertion = curves(net, ours, np.stack([first, first[::-1]]))
    insertion = insertion[::-1]  # from nothing to the picture
    gap = float(area(insertion) - area(deletion))
    unforetold, maps_beaten = (float("nan"), None) if removed is None else infidelity(found, removed)
    return Faithfulness(
        deletion=float(area(deletion)),
        insertion=float(area(insertion)),
        random=orders.mean,
        beaten=float(np.mean(orders.gaps < gap)),
        infidelity=unforetold,
        maps_beaten=maps_beaten,
        completeness=completeness,
        deletion_curve=deletion,
        insertion_curve=insertion,
    )


def sensitivity(detector: Any, image: Tensor, explain: Explain, samples: int = 3) -> float:
    """Greatest relative change of a map when each pixel of its image (1, 3, H, W) changes by up to one grey
    level, by captum.metrics (Yeh et al., 1901.09392).
    """
    from captum.metrics import sensitivity_max

    with unchanged(detector) as net, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = ready(image, net)
        most = sensitivity_max(
            lambda images: (explain(net, images[0] if isinstance(images, tuple) else images),),
            ours,
            perturb_radius=GREY_LEVEL,
            n_perturb_samples=samples,
        )
    return float(most)


def how_far(found: Faithfulness) -> str:
    """A sentence or two on how far to believe a map, for people."""
    if found.empty:
        return (
            "Do not read it: the map is the same everywhere, so this method found nothing to point at in "
            "this picture."
        )
    said = []
    if found.survives:
        said.append(
            f"Do not read it as the net's reasons: a net of shuffled weights gives nearly the same map (rank "
            f"correlation {found.survival:.2f}), so it shows the picture rather than what the net has learnt."
        )
    if found.unsteady:
        said.append(
            "Do not read it: when each pixel changes by up to one grey level, which no eye sees, the map "
            f"changes by {found.sensitivity:.0%} of itself; a blank one would be nearer."
        )
    if not found.better_than_chance:
        said.append(
            "Do not rely on it here: taking away what it marks moves the logit no more surely than a random "
            f"order does (it beats {found.beaten:.0%} of random orders; {ADVANTAGE:.0%} are needed)."
        )
    if not found.foretells:
        said.append(f"Do not rely on its values here: {_foretold(found)} ({ADVANTAGE:.0%} are needed).")
    if found.holds:
        reasons = [
            f"taking away what it marks moves the logit more than {found.beaten:.0%} of random orders do"
        ]
        if found.maps_beaten is not None:
            reasons.append(_foretold(found))
        if found.survival is not None:
            reasons.append("it changes with the weights")
        said.append(f"It may be read as where this net looked: {'; '.join(reasons)}.")
    if found.completeness is not None and found.completeness > INCOMPLETE:
        said.append(f"It leaves out {found.completeness:.0%} of the logit: more steps would help.")
    return " ".join(said)


def _foretold(found: Faithfulness) -> str:
    """What a map's values foretell, for people."""
    if np.isnan(found.infidelity):
        return "the logit does not answer to patches that turn black, so there is nothing to foretell"
    return (
        f"the values foretell {1 - found.infidelity:.0%} of the logit's changes when patches turn black, "
        f"more than {found.maps_beaten:.0%} of random maps do"
    )
