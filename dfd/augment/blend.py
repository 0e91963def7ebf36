"""Self-blended images: fakes made of one real image each, by blending it into itself where its face is.

Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022 (2204.08376). A face swap
leaves a border along which colour, sharpness and position do not quite fit. A blend has that border and
nothing else, so a net learns from blends what swaps have in common, and no generator's own traces.
"""

from typing import Any, Protocol

import cv2
import numpy as np

from dfd.batch import FAKE, LUMA, REAL, Sample
from dfd.media.crops import DEFAULT_MARGIN

# mean of four public face sets: x and y of eyes, nose and corners of the mouth from the image's centre, in
# longer sides of the face's box
MEAN_FACE = np.array([(-0.163, -0.085), (0.163, -0.085), (0.0, 0.12), (-0.145, 0.265), (0.145, 0.265)])
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # how much of the source shows inside the outline; the paper's


class FaceFinder(Protocol):
    """`find(image)` -> faces with `side` in pixels and `landmarks` (5, 2); as `dfd.media.FaceDetector`."""

    def find(self, image: np.ndarray) -> Any: ...


class SelfBlend:
    """A transform that turns a share of the real images into fakes; `mask` (H, W) uint8 is 255 where forged.

    A copy of the picture, its colours, sharpness and place a little changed, is blended into the original
    along a random outline of the face. Outside of the mask no pixel changes (in the paper some targets are
    changed too), so nothing but the blend tells such a fake from a real picture. Fakes pass as they are.

    It belongs before the transforms that degrade, `augment: [SelfBlend, Augment]`, so that a blend is
    degraded as a whole, and in training alone: evaluation refuses it.

    Args:
        p: share of the real pictures that become fakes. The classes' numbers shift with it: `class_weight:
            balanced` counts them as they are shown, and a set of real pictures alone can be trained on.
        faces: finds faces and their landmarks, such as `dfd.media.faces.FaceDetector`, at ten times the price
            of the blend. Without it, and where it finds none, the face is taken to be where face pictures
            have it.
        margin: side of the pictures as a multiple of the face box's longer side; unused where `faces` finds
            one. None takes that of the data module's view, and without a data module DEFAULT_MARGIN.
    """

    def __init__(self, p: float = 0.5, faces: FaceFinder | None = None, margin: float | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"p={p} is not a probability. Use a number from 0 to 1.")
        if margin is not None and not margin > 0:
            raise ValueError(
                f"margin={margin} is not a multiple of the face's box. Use 1.35, or what the pictures were "
                "cut by."
            )
        self.p = self.fake_share = p
        self.faces, self.margin = faces, margin

    def __repr__(self) -> str:
        return f"SelfBlend(p={self.p:g})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample["label"] != REAL or rng.random() >= self.p:
            return sample
        image = sample["image"]
        eyes, mouth, unit = _proportions(self._landmarks(image, rng))
        alpha = _soft(_outline(eyes, mouth, unit, rng), image.shape[:2], unit, rng)
        x, y, width, height = cv2.boundingRect(alpha)
        if not width:  # the face lies outside of the picture
            return sample
        face = np.s_[y : y + height, x : x + width]
        source = _moved(_other_detail(_other_colour(image[face], rng), rng), unit, rng)
        weight = alpha[face] * np.float32(RATIOS[rng.integers(len(RATIOS))] / 255)
        blend = image.copy()
        blend[face] = cv2.blendLinear(source, image[face], weight, 1 - weight)
        return {
            **sample,
            "image": blend,
            "label": FAKE,
            "mask": np.where(alpha > 0, np.uint8(255), np.uint8(0)),
        }

    def _landmarks(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(5, 2) x and y in pixels."""
        if self.faces is not None and (found := self.faces.find(image)):
            return np.asarray(max(found, key=lambda face: face.side).landmarks, float)
        height, width = image.shape[:2]
        margin = DEFAULT_MARGIN if self.margin is None else self.margin
        side = max(height, width) / margin
        return (MEAN_FACE + rng.uniform(-0.04, 0.04, 2)) * side + (width / 2, height / 2)


def _proportions(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Midpoints of the eyes and of the mouth, and the face's unit in pixels, about the distance of these."""
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    # of a bowed or lifted head the eyes are nearer to the mouth than to one another
    unit = float(max(np.linalg.norm(mouth - eyes), np.linalg.norm(landmarks[1] - landmarks[0]), 1.0))
    return eyes, mouth, unit


def _outline(eyes: np.ndarray, mouth: np.ndarray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """(64, 2) x and y of a closed curve, from brow or forehead to lip or chin, as wide as eyes or face."""
    down = (mouth - eyes) / max(np.linalg.norm(mouth - eyes), 1e-6)
    across = np.array([-down[1], down[0]])
    # above the eyes, below the mouth, to either side
    top, bottom, half = rng.uniform((0.3, 0.25, 0.65), (1.0, 0.75, 1.0))
    angle, order = np.linspace(0, 2 * np.pi, 64, endpoint=False), np.arange(2, 7)[:, None]
    height = rng.normal(0, 0.06, order.shape) / np.sqrt(order - 1)
    phase = rng.uniform(0, 2 * np.pi, order.shape)
    # the paper's elastic deformation of the mask, done to its outline
    radius = 1 + (height * np.cos(order * angle + phase)).sum(0)
    along = (1 + bottom - top) / 2 + (1 + bottom + top) / 2 * radius * np.sin(angle)
    return eyes + unit * (along[:, None] * down + (half * radius * np.cos(angle))[:, None] * across)


def _soft(outline: np.ndarray, shape: tuple[int, int], unit: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint8: 255 inside, falling to 0 across the outline over .03 to .3 units to either side."""
    alpha = np.zeros(shape, np.uint8)
    cv2.fillPoly(alpha, [np.rint(outline * 16).astype(np.int32)], 255, shift=4)  # sixteenths of pixels
    reach = max(1, round(unit * np.exp(rng.uniform(np.log(0.035), np.log(0.3)))))
    # nearly a Gaussian of sigma reach / 2.4, at one price for all
    return cv2.stackBlur(alpha, (2 * reach + 1, 2 * reach + 1))


def _other_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Saturation, contrast, brightness, at times colour balance a little changed: an affine map of RGB."""
    saturation, contrast = rng.uniform((0.7, 0.9), (1.3, 1.1))
    offset = 127.5 * (1 - contrast) + rng.uniform(-25, 25)
    balance = rng.uniform(-20, 20, 3) if rng.random() < 0.3 else np.zeros(3)
    colours = contrast * (saturation * np.eye(3) + (1 - saturation) * np.array(LUMA))
    return cv2.transform(image, np.column_stack([colours, offset + balance]))


def _other_detail(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Softer, as after enlarging, or sharper."""
    if rng.random() < 0.5:
        amount = rng.uniform(0.3, 1.0)
        return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0)
    height, width = image.shape[:2]
    factor = rng.uniform(1.2, 3)
    small = cv2.resize(
        image, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _moved(image: np.ndarray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Up to a twentieth larger or smaller, and shifted by some hundredths of the face."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, rng.uniform(0.95, 1.05))
    matrix[:, 2] += unit * rng.uniform((-0.06, -0.04), (0.06, 0.04))
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
