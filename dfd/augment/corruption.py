"""Corruptions of known strength for evaluation: JPEG, blur, resizing, noise, delivery."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.augment.image import fit_mask, jpeg
from dfd.batch import Sample
from dfd.media.encode import DELIVERED_SIDE, delivered, shrunk


@dataclass(frozen=True)
class Kind:
    """One way to damage an image, with the severities of its protocol, mild to severe, and their range."""

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    severities: tuple[float, ...]
    lowest: float
    highest: float
    meaning: str


def corrupt(
    image: np.ndarray, name: str, severity: float | None = None, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB after one corruption, deterministic in its arguments.

    Args:
        image: left as it is.
        name: one of CORRUPTIONS.
        severity: in the corruption's own unit; may be left out where the protocol has one severity only.
        rng: where noise comes from; without it every call draws the same noise.
    """
    severity = _checked(name, severity)
    return CORRUPTIONS[name].apply(image, severity, np.random.default_rng(0) if rng is None else rng)


class Corruption:
    """The transform of a corruption: `Corruption("jpeg", 75)`, `Corruption("half")`.

    Args:
        name: one of CORRUPTIONS.
        severity: in the corruption's own unit; may be left out where the protocol has one severity only.

    Raises:
        ValueError: there is no such corruption, or the severity is missing or out of its range.
    """

    def __init__(self, name: str, severity: float | None = None):
        self.name, self.severity = name, _checked(name, severity)

    def __repr__(self) -> str:
        return f"Corruption({self.name!r}, {self.severity:g})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = corrupt(sample["image"], self.name, self.severity, rng)
        if "mask" not in sample:
            return {**sample, "image": image}
        return {**sample, "image": image, "mask": fit_mask(sample["mask"], image)}


def _checked(name: str, severity: float | None) -> float:
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r} is not known. Use one of {', '.join(CORRUPTIONS)}.")
    kind = CORRUPTIONS[name]
    if severity is None:
        if len(kind.severities) > 1:
            raise ValueError(
                f"corruption {name!r} needs a severity: {kind.meaning}, for example {kind.severities[0]:g}."
            )
        return kind.severities[0]
    if not kind.lowest <= severity <= kind.highest:
        raise ValueError(
            f"severity={severity:g} is outside what {name!r} takes: {kind.meaning} from {kind.lowest:g} to "
            f"{kind.highest:g}."
        )
    return severity


def _jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    return jpeg(image, int(quality))


def _blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    side = 2 * int(3 * sigma + 0.5) + 1  # the protocol's pairs (5, .5) (7, 1) (11, 1.5) (13, 2) (19, 3)
    return cv2.GaussianBlur(image, (side, side), sigma)


def _resize(image: np.ndarray, longest: float, rng: np.random.Generator) -> np.ndarray:
    return _back(shrunk(image, longest / max(image.shape[:2])), image)


def _noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(255 * sigma)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _delivery(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    return delivered(image, int(quality))


def _half(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    return _back(shrunk(image, 1 / factor), image)


def _back(small: np.ndarray, image: np.ndarray) -> np.ndarray:
    same = small.shape == image.shape
    return small if same else cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


CORRUPTIONS: dict[str, Kind] = {
    "jpeg": Kind(_jpeg, (100, 80, 60, 40, 20, 10), 1, 100, "a JPEG quality"),
    "blur": Kind(_blur, (0.5, 1, 1.5, 2, 3), 0.2, 20, "a Gaussian's sigma in pixels"),
    "resize": Kind(_resize, (224, 112, 64), 8, 8192, "the longer side in between, in pixels"),
    "noise": Kind(_noise, (0.01, 0.03, 0.05, 0.1, 0.2), 0, 1, "a standard deviation, as a share of white"),
    "half": Kind(_half, (2,), 1, 16, "how many times smaller the picture gets in between"),
    "delivery": Kind(
        _delivery, (75,), 1, 100, f"the JPEG quality after shrinking to {DELIVERED_SIDE} pixels"
    ),
}
