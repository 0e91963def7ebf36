"""Folder alarm: whether many pictures together come from a world that a detector has not seen.

Of one picture a gate can say little; the mean of twenty tells worlds apart that overlap picture by picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dfd.calibration import decide

if TYPE_CHECKING:
    from dfd.familiarity.gate import Gate

FOLDER = 20  # pictures of one source from which the alarm is asked
RESAMPLES = 2000
QUANTILE = 0.99  # of home's own folders are less strange than the alarm's limit
ALARM = "these pictures come from a world this detector has not seen"


def worlds(source: np.ndarray, label: np.ndarray, delivered: np.ndarray) -> np.ndarray:
    """(M,) int: which pictures are of one source and class, all as they were or all delivered; where they are
    too few for a folder, of one source, or of all.
    """
    label, way = label.astype(str), delivered.astype(str)
    kinds = np.array([source, label, way]), np.array([source, way]), way[None]
    world = np.full(len(source), -1)
    for kind in kinds:
        rest = np.flatnonzero(world < 0)
        if not len(rest):
            break
        _, place, counts = np.unique(kind[:, rest], axis=1, return_inverse=True, return_counts=True)
        place = place.reshape(-1)
        enough = counts[place] >= FOLDER
        world[rest[enough]] = world.max(initial=-1) + 1 + place[enough]
    return np.unique(world, return_inverse=True)[1]


def highest_mean(distance: np.ndarray, world: np.ndarray) -> float:
    """The mean distance that 99% of home's folders stay below, in the strangest of its worlds.

    A folder is one world: pictures of one source and class that travelled alike. Means over a mixture of all
    worlds vary less, and would hold a folder of delivered fakes for strange. Folders have FOLDER pictures,
    however large the one that is asked about: its own way of delivery moves all of its pictures alike, which
    no number of them averages away.

    Args:
        distance: (M,) of home's pictures.
        world: (M,) int, as `worlds` gives it.
    """
    rng = np.random.default_rng(0)
    limits = []
    for number in np.unique(world):
        here = distance[world == number]
        if len(here) >= FOLDER:
            drawn = here[rng.integers(len(here), size=(RESAMPLES, FOLDER))]
            limits.append(float(np.quantile(drawn.mean(axis=1), QUANTILE)))
    return max(limits, default=float("inf"))


def strange_sources(gate: Gate, rank: np.ndarray, source: np.ndarray) -> dict[str, str]:
    """Sources of FOLDER pictures or more that come from a world that the detector has not seen, and the
    sentence that says so of each.

    Args:
        rank: (M,) familiarity of pictures; NaN for those that were not judged, which count for nothing.
        source: (M,) where each is from.
    """
    found, limit = {}, highest_mean(gate.home, gate.world)
    for name in np.unique(source).tolist():
        ranks = rank[(source == name) & ~np.isnan(rank)]
        if len(ranks) < FOLDER:
            continue
        # no more than home's strangest: a few broken pictures make no strange world
        mean = float(gate.distance_at(ranks).mean())
        if mean > limit:
            found[name] = (
                f"{ALARM}: the mean distance of {len(ranks)} is {mean:.2f}, where 99 of 100 folders of "
                f"its own stay below {limit:.2f}"
            )
    return found


def table_verdicts(
    logit: np.ndarray,
    familiarity: np.ndarray,
    source: np.ndarray,
    thresholds: Mapping[str, float],
    gate: Gate | None,
) -> tuple[np.ndarray, dict[str, str]]:
    """The verdict (M,) of each row of a prediction table, and what is said of strange sources: all of their
    pictures are unfamiliar.

    Args:
        logit, familiarity, source: (M,) of rows that were judged.
        gate: the detector's; None where it has none.
    """
    ranks = familiarity.tolist()
    verdict = np.array(
        [decide(each, thresholds, rank) for each, rank in zip(logit.tolist(), ranks, strict=True)]
    )
    verdict = verdict.astype("U16")
    strange = {} if gate is None else strange_sources(gate, familiarity, source)
    verdict[np.isin(source, list(strange))] = "unfamiliar"
    return verdict, strange
