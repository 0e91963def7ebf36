"""Blinks of a clip: how often the lids close, by how much of each eye is skin in each frame.

Li, Chang and Lyu, "In ictu oculi: exposing AI created fake videos by detecting eye blinking", WIFS 2018
(1806.02877), after Soukupova and Cech, "Real-time eye blink detection using facial landmarks", 2016. These
take the ratio of the lids' distance to the corners'. With this mesh it does not tell shut eyes: on ten faces
of FFHQ whose eyes are shut or cast down it is .18 to .32, on the others .20 to .30 (5% to 95%). Skin in the
place of the eye does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import gammaincinv

from dfd.forensics.face.geometry import FaceGeometry, filled
from dfd.forensics.finding import Finding, Method, Table

METHOD = Method("clip_blinks", "Soukupova and Cech 2016; Li, Chang and Lyu 2018 (1806.02877)", kind="shows")
MIN_SECONDS = 3.0
MIN_RATE = 12.0  # frames a second: a blink lasts a tenth to four tenths of one
MIN_GAP = 0.1  # seconds between two blinks
MAX_BLINK = 0.7  # seconds; a longer closing is no blink
SHUT = 0.5  # share of the usual openness below which eyes are closing
MIN_OPEN = 0.3  # usual openness, below which glasses or lashes hide the eyes
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


def openness(pixels: np.ndarray, face: FaceGeometry) -> float:
    """How much of the eyes differs from the skin below them, 0 (shut) to 1, the mean of both; NaN where an
    eye is too small or outside of the picture. Dark glasses have 0 too.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        face: of that picture.
    """
    left, right = (_open(pixels, face, part) for part in ("left_eye", "right_eye"))
    return (left + right) / 2


def _open(pixels: np.ndarray, face: FaceGeometry, part: str) -> float:
    outline = face.outline(part)
    width = float(np.linalg.norm(np.ptp(outline, axis=0)))
    start = np.maximum(np.floor(outline.min(0) - 0.4 * width), 0).astype(int)
    end = np.ceil(outline.max(0) + 0.6 * width).astype(int)
    around = pixels[start[1] : max(end[1], 0), start[0] : max(end[0], 0)]
    if min(around.shape[:2]) < 4:
        return math.nan
    center = outline.mean(0) - start

    def scaled(across: float, upright: float, lower: np.ndarray | float = 0.0) -> np.ndarray:
        return filled(around.shape, center + (outline - start - center) * (across, upright) + lower)

    down = face.points[3:].mean(0) - face.points[:2].mean(0)
    below = 0.33 * width * down / max(float(np.linalg.norm(down)), 1e-6)
    eye = scaled(0.85, 1.0)
    skin = scaled(0.8, 1.0, below) & ~scaled(1.15, 1.15)
    if eye.sum() < 6 or skin.sum() < 4:
        return math.nan
    lab = cv2.cvtColor(around.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    # a lid lies in more shade than a cheek
    apart = np.linalg.norm((lab - np.median(lab[skin], axis=0)) * (0.7, 1, 1), axis=-1)
    return float((apart[eye] > np.quantile(apart[skin], 0.9) + 6).mean())


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
    closings: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        # lids that open for less than a tenth of a second did not open: the measure wavers
        if closings and times[start] - times[closings[-1][1] - 1] < MIN_GAP:
            closings[-1] = (closings[-1][0], end)
        else:
            closings.append((start, end))
    found = []
    for start, end in closings:
        # what begins or ends outside of the clip has no known length
        if start > 0 and end < len(times) and times[end] - times[start - 1] <= MAX_BLINK:
            found.append(float(times[start + int(open_by[start:end].argmin())]))
    minutes = max(float(times[-1] - times[0]), 1e-6) / 60
    num = len(found)
    low = float(gammaincinv(num, 0.025)) if num else 0.0
    high = float(gammaincinv(num + 1, 0.975))
    return Blinks(tuple(found), num / minutes, low / minutes, high / minutes)


def clip_blinks(times: np.ndarray, open_by: np.ndarray, width: float) -> Finding:
    """How often a person blinks. It never says "found": no real clips were measured, and people who read or
    stare blink as rarely as any forgery.

    Args:
        times: (N,) seconds, ascending.
        open_by: (N,) of `openness`.
        width: of an eye, in pixels.
    """
    known = np.isfinite(open_by)
    times, open_by = times[known], open_by[known]
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    if seconds < MIN_SECONDS:
        return METHOD("abstained", "short", facts={"seconds": seconds, "needed": MIN_SECONDS})
    if (len(times) - 1) / seconds < MIN_RATE:
        facts = {"rate": (len(times) - 1) / seconds, "needed": MIN_RATE}
        return METHOD("abstained", "slow", facts=facts)
    if width < MIN_EYE:
        return METHOD("abstained", "narrow", facts={"width": round(width), "needed": MIN_EYE})
    if float(np.median(open_by)) < MIN_OPEN:
        return METHOD("abstained", "hidden")
    blinks = find_blinks(times, open_by)
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
