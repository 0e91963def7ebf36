"""Outlines of a face or of its parts, by the 468 points of a mesh, and soft masks of them.

The points are MediaPipe's (Kartynnik et al. 2019, 1907.06724).
"""

import cv2
import numpy as np

from dfd.media.face_topology import JAW, PARTS

HULLS = ("face", "brows_to_chin", "lower_face", "parts")
_NOSE = (6, 122, 351, 48, 278, 64, 294, 98, 327, 2)
# what may be pasted by itself: both eyes with their brows, one of them, the nose, the mouth
_ALONE = (
    (*PARTS["left_eye"], *PARTS["left_brow"]),
    (*PARTS["right_eye"], *PARTS["right_brow"]),
    _NOSE,
    PARTS["mouth"],
)
_BROWS_TO_CHIN = (*PARTS["left_brow"], *PARTS["right_brow"], *JAW)
# from the nose's bridge and the cheekbones; the ears' ends of the jaw lie at the height of the eyes
_LOWER_FACE = (197, 117, 346, *JAW[2:-2])
_POINTS = 48  # of an outline
_FAR = 4.0  # sides of the picture: points further away are moved there


def face_axes(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """(2, 2) of length 1, across the face and down it, and the face's unit: about the distance of its eyes,
    in pixels.
    """
    left, right = (landmarks[list(PARTS[eye])].mean(0) for eye in ("left_eye", "right_eye"))
    down = landmarks[list(PARTS["mouth"])].mean(0) - (left + right) / 2
    # of a bowed or lifted head the eyes are nearer to the mouth than to one another
    unit = float(max(np.linalg.norm(down), np.linalg.norm(right - left), 1.0))
    down = down / max(np.linalg.norm(down), 1e-6)
    return np.array([[down[1], -down[0]], down]), unit


def soft_mask(
    landmarks: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A mask (H, W) uint8, 255 inside of a drawn outline and falling to 0 across it, and the face's unit in
    pixels.

    Four kinds of hulls alike often; each is stretched and bent, and its border is from .03 to .3 units wide.
    """
    limit = _FAR * max(shape)
    landmarks = np.clip(np.asarray(landmarks, float), -limit, limit)
    axes, unit = face_axes(landmarks)
    kind = HULLS[rng.integers(len(HULLS))]
    outlines = _elastic(_outlines(kind, landmarks, axes, unit, rng), unit, rng)
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        # sixteenths of pixels; one by one, because where two overlap, fillPoly leaves a hole
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, shift=4)
    widest = 0.15 if kind == "parts" else 0.3
    reach = max(1, round(unit * np.exp(rng.uniform(np.log(0.03), np.log(widest)))))
    # nearly a Gaussian of sigma reach / 2.4, at one price for all
    mask = cv2.stackBlur(mask, (2 * reach + 1, 2 * reach + 1))
    # what would move a pixel by less than its rounding is outside
    return cv2.threshold(mask, 7, 255, cv2.THRESH_TOZERO)[1], unit


def _outlines(
    kind: str, landmarks: np.ndarray, axes: np.ndarray, unit: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Hulls (_POINTS, 2)."""
    if kind == "parts":
        chosen = rng.random(len(_ALONE)) < 0.5
        # of the eyes mostly both
        if rng.random() < 0.7:
            chosen[1] = chosen[0]
        if not chosen.any():
            chosen[rng.integers(len(_ALONE))] = True
        hulls = [_hull(landmarks[list(part)]) for part, use in zip(_ALONE, chosen, strict=True) if use]
        return [hull.mean(0) + (hull - hull.mean(0)) * rng.uniform(1.1, 1.6) for hull in hulls]
    if kind == "lower_face":
        return [_hull(landmarks[list(_LOWER_FACE)])]
    if kind == "brows_to_chin":
        return [_hull(landmarks[list(_BROWS_TO_CHIN)])]
    # the mesh ends below the hair: at times the forehead goes higher
    oval = landmarks[list(PARTS["face"])]
    top = oval[(oval - landmarks.mean(0)) @ axes[1] < -0.5 * unit]
    return [_hull(np.concatenate([oval, top - axes[1] * unit * rng.uniform(0, 0.4)]))]


def _hull(points: np.ndarray) -> np.ndarray:
    """(_POINTS, 2) of the convex hull, equally far apart along it."""
    corners = cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)
    closed = np.vstack([corners, corners[:1]])
    along = np.concatenate([[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
    at = np.linspace(0, along[-1], _POINTS, endpoint=False)
    return np.column_stack([np.interp(at, along, closed[:, axis]) for axis in range(2)])


def _elastic(outlines: list[np.ndarray], unit: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Outlines bent by one smooth random field, and each a little narrower or wider: the elastic deformation
    of the mask (Shiohara and Yamasaki 2022), done to its outline.
    """
    number = 4  # of waves, 2 to 6 units long
    length, angle, phase = rng.uniform((2, 0, 0), (6, 2 * np.pi, 2 * np.pi), (number, 3)).T
    waves = 2 * np.pi / length * np.stack([np.cos(angle), np.sin(angle)])  # (2, number)
    height = rng.normal(0, 0.045, (number, 2))  # in units
    stretch = rng.uniform(0.88, 1.08, 2)
    bent = []
    for outline in outlines:
        middle = outline.mean(0)
        outline = middle + (outline - middle) * stretch
        bent.append(outline + unit * np.sin(outline / unit @ waves + phase) @ height)
    return bent
