"""Face blends: fakes made of one real picture each, by blending it into itself along an outline of its face.

Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022 (2204.08376). A face swap
leaves a border along which colour, sharpness and position do not quite fit. A blend has that border and
nothing else, so a net learns from blends what swaps have in common, and no generator's own traces.
"""

import cv2
import numpy as np

from dfd.augment.face_outline import soft_mask
from dfd.batch import FAKE, LUMA, REAL, Sample
from dfd.media.crops import DEFAULT_MARGIN
from dfd.media.encode import through_jpeg
from dfd.media.mean_face import mean_face

WEAK, STRONG = (0.05, 0.35), (0.35, 1.0)  # strengths of the changes
RATIOS = (0.5, 0.75, 1.0, 1.0, 1.0)  # how much of the source shows inside the outline
MATCHES = ("none", "none", "statistics", "membrane")
# Lanczos takes four times as long
RESAMPLING = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
# gray levels that a blend changes inside its mask on average, at least: below it, it is called real
FLOOR = 1.0
_MEMBRANE = 32  # longer side of the grid on which the membrane is computed


class FaceBlend:
    """Turns real pictures into fakes: a maker of pairs (`data.pairs`), or a transform (`data.augment`).

    A copy of the picture, a little moved, is blended into the picture along an outline of the face or of its
    parts. Before, either the copy or the picture is changed in colour and detail; in half of the blends so
    little that people hardly see it. Often the colours of both are matched, by their mean and deviation or by
    a membrane over the border (Perez et al. 2003, "Poisson image editing"), so that colour alone seldom gives
    a blend away. `mask` (H, W) uint8 is 255 where the picture was replaced, and falls to 0 over the border.
    Outside of it no pixel changes, unless the picture was changed in place of the copy. Fakes pass as
    they are.

    The outline follows the sample's landmarks, which pairs get of the shards (`dfd landmarks`); where they
    are not finite, because no face was found, the sample passes as it is. A sample without landmarks is
    blended where face pictures have a face.
    As a transform it belongs before those that degrade, `augment: [FaceBlend, Augment]`, and in training
    alone: evaluation refuses it.

    Args:
        p: share of the real pictures that become fakes. In `data.augment` the classes' numbers shift with it:
            `class_weight: balanced` counts them as they are shown, and a set of real pictures alone can be
            trained on.
        weak: share of weak blends.
        landmarks: pairs need shards that have landmarks; false blends where face pictures have a face.
        margin: side of the pictures as a multiple of the face box's longer side, for samples without
            landmarks. None takes that of the data module's view, and without a data module DEFAULT_MARGIN.
    """

    method, needs_remade = "blend", False

    def __init__(
        self, p: float = 1.0, weak: float = 0.5, landmarks: bool = True, margin: float | None = None
    ):
        for name, share in (("p", p), ("weak", weak)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}={share} is not a share. Use a number from 0 to 1.")
        if margin is not None and not margin > 0:
            raise ValueError(
                f"margin={margin} is not a multiple of the face's box. Use 1.35, or what the pictures were "
                "cut by."
            )
        self.p = self.fake_share = p
        self.weak, self.needs_landmarks, self.margin = weak, landmarks, margin

    def __repr__(self) -> str:
        return f"FaceBlend(p={self.p:g}, weak={self.weak:g})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample["label"] != REAL or rng.random() >= self.p:
            return sample
        image = sample["image"]
        landmarks = self._landmarks(sample)
        if not np.isfinite(landmarks).all():
            return sample
        alpha, unit = soft_mask(landmarks, image.shape[:2], rng)
        box = cv2.boundingRect(alpha)
        if not box[2]:  # the face lies outside of the picture
            return sample
        blend = self._blend(image, alpha, box, unit, rng)
        x, y, width, height = box
        inside = np.s_[y : y + height, x : x + width]
        change = cv2.mean(cv2.absdiff(blend[inside], image[inside]), mask=alpha[inside])
        if sum(change[:3]) / 3 < FLOOR:
            return sample
        return {**sample, "image": blend, "label": FAKE, "mask": alpha}

    def _landmarks(self, sample: Sample) -> np.ndarray:
        """(468, 2) x and y in pixels."""
        if "landmarks" in sample:
            return sample["landmarks"]
        return mean_face(sample["image"].shape, DEFAULT_MARGIN if self.margin is None else self.margin)

    def _blend(
        self,
        image: np.ndarray,
        alpha: np.ndarray,
        box: tuple[int, int, int, int],
        unit: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        strength = rng.uniform(*(WEAK if rng.random() < self.weak else STRONG))
        # a little more than the mask, so that what is moved in is of the picture, not of a mirrored border
        face = _around(box, round(0.1 * unit) + 2, image.shape)
        moves, details, of_source = rng.random(3) < (0.75, 0.75, 0.5)
        if not details:  # colour alone would be taken back where colours are matched
            moves = True
        source, target = image[face], image
        if of_source:
            source = _changed(source, strength, unit, details, rng)
        else:
            target = _changed(target, strength, unit, details, rng)
        if moves:
            source = _moved(source, strength, unit, rng)
        weight = alpha[face]
        match MATCHES[rng.integers(len(MATCHES))]:
            case "statistics":
                source = _like(source, target[face], weight)
            case "membrane":
                source = _on_membrane(source, target[face], weight)
        weight = weight * np.float32(RATIOS[rng.integers(len(RATIOS))] / 255)
        blend = target.copy()
        blend[face] = cv2.blendLinear(source, target[face], weight, 1 - weight)
        return blend


def _around(box: tuple[int, int, int, int], room: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a box x, y, width, height and of the room around it, inside of a picture."""
    x, y, width, height = box
    return (
        slice(max(0, y - room), min(shape[0], y + height + room)),
        slice(max(0, x - room), min(shape[1], x + width + room)),
    )


def _changed(
    image: np.ndarray, strength: float, unit: float, details: bool, rng: np.random.Generator
) -> np.ndarray:
    if rng.random() < 0.8 or not details:
        image = _other_colour(image, strength, rng)
    return _other_detail(image, strength, unit, rng) if details else image


def _other_colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Hue, saturation, contrast, brightness, at times colour balance changed: an affine map of RGB."""
    hue, saturation, contrast, brightness = strength * rng.uniform(-1, 1, 4) * (0.15, 0.35, 0.2, 30)
    balance = strength * rng.uniform(-20, 20, 3) * (rng.random() < 0.4)
    # hue turns around the gray axis
    gray = np.full((3, 3), 1 / 3)
    axis = np.array([(0, -1, 1), (1, 0, -1), (-1, 1, 0)]) / np.sqrt(3)
    turn = np.cos(hue) * np.eye(3) + (1 - np.cos(hue)) * gray + np.sin(hue) * axis
    colours = (1 + contrast) * ((1 + saturation) * np.eye(3) - saturation * np.array(LUMA)) @ turn
    return cv2.transform(image, np.column_stack([colours, balance + brightness - 127.5 * contrast]))


def _other_detail(image: np.ndarray, strength: float, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Softer, sharper, enlarged from a smaller size, noisier, or encoded as JPEG."""
    height, width = image.shape[:2]
    amount = strength * rng.uniform(0.5, 1)
    pixel = max(1.0, unit / 80)  # of a face at the size at which nets see it
    match rng.integers(5):
        case 0:
            return cv2.GaussianBlur(image, (0, 0), pixel * (0.45 + 1.3 * amount))
        case 1:
            soft = cv2.GaussianBlur(image, (0, 0), pixel)
            return cv2.addWeighted(image, 1.3 + 1.5 * amount, soft, -0.3 - 1.5 * amount, 0)
        case 2:
            factor = 1.2 + 2.5 * amount
            size = max(1, round(width / factor)), max(1, round(height / factor))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            return cv2.resize(small, (width, height), interpolation=RESAMPLING[rng.integers(len(RESAMPLING))])
        case 3:
            grain = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
            part = 0.02 + 0.12 * amount  # uniform: a deviation of 1.5 to 10 gray levels
            return cv2.addWeighted(image, 1, grain, part, -127.5 * part)
        case _:
            subsampling = "420" if rng.random() < 0.7 else "444"
            return through_jpeg(image, round(92 - 65 * amount), subsampling)


def _moved(image: np.ndarray, strength: float, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Turned by up to 4 degrees, up to a sixteenth larger or smaller, shifted by some hundredths of the
    face.
    """
    height, width = image.shape[:2]
    angle, growth, right, down = rng.uniform(-1, 1, 4) * (0.15 + 0.85 * strength) * (4, 0.06, 0.06, 0.05)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1 + growth)
    matrix[:, 2] += unit * right, unit * down
    flags = RESAMPLING[rng.integers(len(RESAMPLING))]
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _like(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The source with the target's mean and deviation of each channel inside of the mask."""
    mean, deviation = (part.ravel() for part in cv2.meanStdDev(source, mask=mask))
    wanted_mean, wanted = (part.ravel() for part in cv2.meanStdDev(target, mask=mask))
    gain = np.clip(wanted / np.maximum(deviation, 1), 0.7, 1.4)
    return cv2.transform(source, np.column_stack([np.diag(gain), wanted_mean - gain * mean]))


def _on_membrane(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The source plus the smooth sheet that has, around the mask, the difference of target and source:
    Poisson blending of its gradients, solved on a coarse grid, because the sheet has no detail inside.
    """
    height, width = mask.shape
    scale = min(1.0, _MEMBRANE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small_source, small_target = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA).astype(np.float32) for each in (source, target)
    )
    difference = small_target - small_source
    known = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) < 128).astype(np.uint8)
    if not known.any():
        return source
    weight = known.astype(np.float32)
    # a first guess: what is known nearby; then towards the mean of the neighbours
    wide = (2 * (max(size) // 4) + 1,) * 2
    nearby = cv2.blur(weight, wide)[..., None] + 1e-3
    sheet = cv2.blur(difference * weight[..., None], wide) / nearby
    cv2.copyTo(difference, known, sheet)
    for side in (7, 5, 3, 3, 3, 3, 3, 3):
        sheet = cv2.blur(sheet, (side, side))
        cv2.copyTo(difference, known, sheet)
    return cv2.add(source, cv2.resize(sheet, (width, height)), dtype=cv2.CV_8U)
