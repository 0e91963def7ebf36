"""Blinks of a clip: how often the lids close, by the openness of the eyes in each frame.

Soukupova and Cech, "Real-time eye blink detection using facial landmarks", 2016; Li, Chang and Lyu, "In ictu
oculi: exposing AI created fake videos by detecting eye blinking", WIFS 2018 (1806.02877).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from dfd.forensics.face.topology import LIDS
from dfd.forensics.finding import Finding, Method, Table

METHOD = Method("clip_blinks", "Soukupova and Cech 2016; Li, Chang and Lyu 2018 (1806.02877)")
MIN_SECONDS = 3.0
MIN_RATE = 12.0  # frames a second: a blink lasts a tenth to four tenths of one
MAX_BLINK = 0.7  # seconds; a longer closing is no blink
SHUT = 0.65  # share of the usual openness below which a lid is closing
MIN_EYE = 14.0  # width of an eye in pixels, below which lids are not resolved
# Bentivoglio et al. 1997, of 150 people: 17 a minute at rest, 26 in talk, 5 in reading
USUAL = 17.0


@dataclass(frozen=True)
class Blinks:
    """Blinks of a clip.

    Args:
        times: seconds at which the lids were furthest closed.
        rate: a minute.
        low: of the rate, and
        high: at 95% (exact, of a Poisson count; Garwood 1936): a short clip says little.
    """

    times: tuple[float, ...]
    rate: float
    low: float
    high: float


def openness(mesh: np.ndarray) -> float:
    """The eye aspect ratio: distance of the lids over the distance of the corners, the mean of both eyes.

    Args:
        mesh: (468, 3).
    """
    ratios = []
    for numbers in LIDS.values():
        outer, upper_outer, upper_inner, inner, lower_inner, lower_outer = mesh[list(numbers), :2]
        lids = np.linalg.norm(upper_outer - lower_outer) + np.linalg.norm(upper_inner - lower_inner)
        ratios.append(float(lids / (2 * max(float(np.linalg.norm(outer - inner)), 1e-6))))
    return sum(ratios) / 2


def find_blinks(times: np.ndarray, open_by: np.ndarray) -> Blinks:
    """Blinks in the openness of the eyes over time.

    Openness is measured against its usual value in the 3 seconds around, as heads tilt and people smile.

    Args:
        times: (N,) seconds, ascending.
        open_by: (N,) of `openness`.
    """
    usual = np.array([np.quantile(open_by[np.abs(times - time) <= 1.5], 0.75) for time in times])
    shut = open_by < SHUT * usual
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]]).astype(int)))
    found = []
    for start, end in edges.reshape(-1, 2):
        # what begins or ends outside of the clip has no known length
        if start > 0 and end < len(times) and times[end] - times[start - 1] <= MAX_BLINK:
            found.append(float(times[start + int(open_by[start:end].argmin())]))
    minutes = max(float(times[-1] - times[0]), 1e-6) / 60
    num = len(found)
    low = float(chi2.ppf(0.025, 2 * num)) / 2 if num else 0.0
    high = float(chi2.ppf(0.975, 2 * num + 2)) / 2
    return Blinks(tuple(found), num / minutes, low / minutes, high / minutes)


def clip_blinks(times: np.ndarray, meshes: np.ndarray) -> Finding:
    """How often a person blinks. It never says "found": no real clips were measured, and people who read or
    stare blink as rarely as any forgery.

    Args:
        times: (N,) seconds, ascending.
        meshes: (N, 468, 3) of one face.
    """
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    if seconds < MIN_SECONDS:
        return METHOD("abstained", "short", facts={"seconds": seconds, "needed": MIN_SECONDS})
    if (len(times) - 1) / seconds < MIN_RATE:
        facts = {"rate": (len(times) - 1) / seconds, "needed": MIN_RATE}
        return METHOD("abstained", "slow", facts=facts)
    corners = meshes[:, list(LIDS["left_eye"])][:, [0, 3], :2]
    width = float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)))
    if width < MIN_EYE:
        return METHOD("abstained", "narrow", facts={"width": round(width), "needed": MIN_EYE})
    blinks = find_blinks(times, np.array([openness(mesh) for mesh in meshes]))
    facts = {
        "count": len(blinks.times),
        "seconds": seconds,
        "rate": blinks.rate,
        "low": blinks.low,
        "high": blinks.high,
    }
    table = Table(("second",), tuple((round(time, 2),) for time in blinks.times[:200]))
    answer = "counted" if blinks.times else "none"
    return METHOD("clear", answer, facts=facts, score=USUAL - blinks.rate, unit="fewer", table=table)
