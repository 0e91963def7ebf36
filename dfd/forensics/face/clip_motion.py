"""Motion of a face in a clip: points that shake, and an inner face that moves where the head does not.

Points of a forged face are drawn frame by frame, so they shake against the head that carries them (Yang, Li
and Lyu, "Exposing deep fakes using inconsistent head poses", ICASSP 2019, compare the same two). A face that
is warped into place frame by frame moves against its neighbours (Amerini et al., "Deepfake video detection
through optical flow based CNN", ICCVW 2019, look at the same optical flow).

How far optical flow leaves the pixels unexplained was tried first: an inner face that is softer than its
rim, as redrawn ones are, leaves less.
"""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np

from dfd.forensics.finding import Finding, Method
from dfd.media.face_topology import MIDLINE, MIRRORED
from dfd.media.warp import sampled

JITTER = Method("clip_jitter", "Yang, Li and Lyu 2019 (1811.00661)", kind="shows")
WARPING = Method("clip_warping", "Amerini et al. 2019; Farneback 2003 (optical flow)", kind="shows")
MIN_FRAMES = 12
MIN_SECONDS = 0.5
MIN_UNIT = 30.0  # about the distance of the eyes, in pixels
NUM = 96  # side of the upright squares in which textures are compared
_EYES_APART = 34.0
# where the square has the eyes and the corners of the mouth
_PLACES = np.array([(31.0, 36.0), (65.0, 36.0), (34.0, 68.0), (62.0, 68.0)])
# lids, lips and brows move by themselves
_STILL = np.array(
    [
        *MIDLINE[1:9],
        *(number for pair in MIRRORED[:17] for number in pair),
        *(33, 133, 263, 362),
    ]
)


def clip_jitter(times: np.ndarray, meshes: np.ndarray, unit: float) -> Finding:
    """How much the face's points shake from frame to frame, once the head's own motion is taken away.

    It never says "found": no real clips were measured, and compression shakes points as well.

    Args:
        times: (N,) seconds, ascending.
        meshes: (N, 468, 3) of one face.
        unit: about the distance of the eyes, in pixels.
    """
    refused = _refused(JITTER, times, unit)
    if refused:
        return refused
    shake, motion = jitter(meshes, unit)
    facts = {"jitter": shake, "motion": motion, "frames": len(times)}
    return JITTER("clear", "measured", facts=facts, score=shake, unit="thousandths")


def clip_warping(times: np.ndarray, squares: np.ndarray, unit: float) -> Finding:
    """How far the skin of the inner face moves to and fro against the head.

    It never says "found": no real clips were measured.

    Args:
        times: (N,) seconds, ascending.
        squares: (N, 96, 96) uint8 luma of the face, each brought upright by `square`.
        unit: about the distance of the eyes, in pixels.
    """
    refused = _refused(WARPING, times, unit)
    if refused:
        return refused
    inner, rim = unsteadiness(squares)
    facts = {"inner": inner, "rim": rim, "frames": len(times)}
    return WARPING("clear", "measured", facts=facts, score=inner, unit="thousandths")


def jitter(meshes: np.ndarray, unit: float) -> tuple[float, float]:
    """Shake of the face's points and motion of its head, both in thousandths of the distance of the eyes a
    frame.

    The head's motion is the similarity (turn, shift, scale) that brings a frame's points nearest to those of
    the frame before. Shake is the root mean square of what the second differences of the rest leave, over 6
    ** .5: for independent errors in each frame it is their deviation.
    """
    points = meshes[:, _STILL, :2]
    middle = points.mean(1, keepdims=True)
    shape = points[0] - middle[0]
    aligned = np.empty_like(points)
    for number, frame in enumerate(points - middle):
        aligned[number] = _turned_onto(frame, shape)
    second = aligned[2:] - 2 * aligned[1:-1] + aligned[:-2]
    shake = math.sqrt(float(np.mean(second**2)) / 6)
    motion = float(np.median(np.linalg.norm(np.diff(middle[:, 0], axis=0), axis=1)))
    return 1000 * shake / unit, 1000 * motion / unit


def unsteadiness(squares: np.ndarray) -> tuple[float, float]:
    """How far the skin moves to and fro from frame to frame against the head, in thousandths of the distance
    of the eyes: of the inner face, and of the rim of the face around it.

    The head's motion is the affine one that explains the optical flow of the rim best. Of the rest counts
    what one step has and its neighbours in time have not, as an expression comes and goes more slowly.
    """
    rows, columns = np.mgrid[:NUM, :NUM].astype(np.float32)
    away = np.hypot((columns - 48) / 30, (rows - 50) / 36)
    # without the mouth, which speaks
    inner = (away < 0.75) & (rows < 58)
    rim = (away > 0.95) & (away < 1.3)
    places = np.column_stack([columns[rim], rows[rim], np.ones(int(rim.sum()), np.float32)])
    all_places = np.column_stack([columns.ravel(), rows.ravel(), np.ones(NUM * NUM, np.float32)])
    steps = []
    for before, after in itertools.pairwise(squares):
        flow = cv2.calcOpticalFlowFarneback(after, before, None, 0.5, 2, 13, 2, 5, 1.1, 0)
        head = np.linalg.lstsq(places, flow[rim], rcond=None)[0]
        steps.append(flow - (all_places @ head).reshape(flow.shape))
    moved = np.array(steps)
    abrupt = moved[1:-1] - (moved[:-2] + moved[2:]) / 2
    size = np.sqrt((abrupt**2).sum(-1).mean(0))
    return tuple(1000 / _EYES_APART * float(np.median(size[place])) for place in (inner, rim))


def square(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(96, 96) uint8 luma of a face, its eyes and mouth always at one place.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        points: (5, 2) eyes, tip of the nose, corners of the mouth.
    """
    matrix, _ = cv2.estimateAffinePartial2D(points[[0, 1, 3, 4]], _PLACES, method=cv2.LMEDS)
    if matrix is None:
        matrix = np.array([[1.0, 0, 0], [0, 1, 0]])
    return cv2.cvtColor(sampled(pixels, matrix, NUM), cv2.COLOR_RGB2GRAY)


def _turned_onto(points: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Centred points (K, 2), turned and scaled to be nearest to another centred shape."""
    one, other = points[:, 0] + 1j * points[:, 1], shape[:, 0] + 1j * shape[:, 1]
    turned = one * ((np.conj(one) @ other) / max(float(np.abs(one) @ np.abs(one)), 1e-9))
    return np.stack([turned.real, turned.imag], axis=1)


def _refused(method: Method, times: np.ndarray, unit: float) -> Finding | None:
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    if len(times) < MIN_FRAMES or seconds < MIN_SECONDS:
        return method("abstained", "short", facts={"frames": len(times), "needed": MIN_FRAMES})
    if unit < MIN_UNIT:
        return method("abstained", "near", facts={"unit": round(unit), "needed": MIN_UNIT})
    return None
