"""Faithfulness of a map: whether it says what the net does, measured on the picture that it explains.

- Deletion and insertion (Petsiuk et al., 1806.07421): places turn black, or appear, in the order
  of the map. A faithful map moves the logit sooner than a random order of the same places does.
- Randomised weights (Adebayo et al., 1810.03292): a map that looks the same for a net of shuffled weights
  shows the picture and not the net.
- Infidelity and sensitivity (Yeh et al., 1901.09392), by captum.metrics.

A faithful map is one of what moved this net. Whether the net was right is another question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfd.explain.deletion import RandomOrders, area, cells, curves, places
from dfd.explain.randomized import Explain
from dfd.explain.unchanged import ready, unchanged

SURVIVES = 0.5  # rank correlation with the map of shuffled weights from where a map is marked
ADVANTAGE = 0.95  # share of the random orders that a map must beat
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
        infidelity: share of the changes of the logit, when random places turn black, that the map does
            not foretell: 0 foretells all, 1 or more nothing.
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
        return self.beaten >= ADVANTAGE

    @property
    def holds(self) -> bool:
        """Whether it passed both tests."""
        return not self.empty and self.better_than_chance and not self.survives


def faithfulness(
    detector: Any,
    image: Tensor,
    found: Tensor,
    orders: RandomOrders,
    completeness: float | None = None,
    samples: int = 24,
) -> Faithfulness:
    """Deletion, insertion and infidelity of one picture's map.

    Args:
        detector: images (B, 3, H, W) -> logits (B,): a `dfd.Detector`, a net, or a `Decision`.
        image: (3, H, W) in [0, 1].
        found: (H, W), its map; larger values speak for FAKE, or move the logit more.
        orders: of the same picture, see `random_orders`.
        completeness: error of the map's method, to be kept with the rest.
        samples: of infidelity; 0 leaves it out.
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
    return Faithfulness(
        deletion=float(area(deletion)),
        insertion=float(area(insertion)),
        random=orders.mean,
        beaten=float(np.mean(orders.gaps < gap)),
        infidelity=infidelity(detector, image, found, samples) if samples else float("nan"),
        completeness=completeness,
        deletion_curve=deletion,
        insertion_curve=insertion,
    )


def infidelity(detector: Any, image: Tensor, found: Tensor, samples: int = 24) -> float:
    """Share of the logit's changes that a map (H, W) does not foretell, by captum.metrics at its best scale.

    A random quarter of the places turn black, and the map foretells a fall by the sum of its values
    there (Yeh et al., 1901.09392). 0: it foretells every change; 1: no better than a map that is the same
    everywhere, and it may be worse. NaN where the logit does not answer at all.
    """
    from captum.metrics import infidelity as measure

    with unchanged(detector) as net, torch.no_grad():
        ours = ready(image[None], net)
        place = places(*ours.shape[-2:]).to(ours.device)

        def logit(kept: Tensor) -> Tensor:  # (B, GRID * GRID) of ones and zeros
            return net(ours * kept[:, place][:, None])

        def remove(kept: Tensor) -> tuple[Tensor, Tensor]:
            first = torch.rand(kept.shape).argsort(dim=1) < kept.shape[1] // 4
            gone = first.to(kept)
            return gone, kept - gone

        def unforetold(values: Tensor) -> float:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same places for each map
                return float(
                    measure(
                        logit,
                        remove,
                        torch.ones_like(values),
                        values,
                        n_perturb_samples=samples,
                        max_examples_per_batch=16,
                        normalize=True,
                    )
                )

        sums = torch.from_numpy(cells(found[None])).to(ours)  # means of equal places: sums but for a factor
        most = unforetold(torch.ones_like(sums))
        return unforetold(sums) / most if most > 0 else float("nan")


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
    if not found.better_than_chance:
        said.append(
            "Do not rely on it here: taking away what it marks moves the logit no more surely than a random "
            f"order does (it beats {found.beaten:.0%} of random orders; {ADVANTAGE:.0%} are needed)."
        )
    if found.holds:
        said.append(
            "It may be read as where this net looked: taking away what it marks moves the logit more than "
            f"{found.beaten:.0%} of random orders do"
            + (", and it changes with the weights." if found.survival is not None else ".")
        )
    if found.completeness is not None and found.completeness > INCOMPLETE:
        said.append(f"It leaves out {found.completeness:.0%} of the logit: more steps would help.")
    return " ".join(said)
