"""Augmentation presets for training images: mirroring, colour, blur, noise, and delivery over the internet.

`delivery` is the one that matters for deepfakes: an image reaches a detector resized, blurred or re-encoded,
and a net that never saw that loses a tenth of its AUC to one upload. Both labels are changed alike.
"""

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from dfd.augment.albumentations import apply
from dfd.batch import Sample
from dfd.media.encode import through_jpeg

if TYPE_CHECKING:
    import albumentations

SHRINK = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
CHROMA = ("420", "420", "422", "444")  # most encoders halve the chroma both ways
BLUR = (0.3, 1.5)  # sigma in pixels: from invisible to a slightly soft photo
DELIVERIES = ("resize", "blur", "jpeg", "resize+jpeg")


class Augment:
    """A transform, `augment(sample, rng) -> sample`, of uncropped images; a mask moves with its image.

    Presets:
        none: nothing.
        light: mirror, a little brightness, contrast and hue.
        strong: light, then often one of blur, noise, JPEG or down-and-up sampling, and sometimes holes.
        delivery: mirror, then, with probability `p`, one of a resize, a blur, a JPEG encoding, or a resize
        and a JPEG encoding.

    Args:
        preset: one of the four.
        p: share of the pictures that `delivery` degrades.
        quality: lowest and highest JPEG quality of `delivery`.
        min_scale: `delivery` resizes both sides by a factor from [min_scale, 1], half of the time back to the
            full size.
        min_side: `delivery` leaves at least this many pixels on the shorter side, so that a crop of that size
            still fits.
    """

    def __init__(
        self,
        preset: Literal["none", "light", "strong", "delivery"] = "none",
        p: float = 0.5,
        quality: tuple[int, int] = (40, 95),
        min_scale: float = 0.5,
        min_side: int = 128,
    ):
        if preset not in ("none", "light", "strong", "delivery"):
            raise ValueError(f"preset={preset!r} is not known. Use none, light, strong or delivery.")
        if not 0 <= p <= 1:
            raise ValueError(f"p={p} is not a probability. Use a number from 0 to 1.")
        if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
            raise ValueError(
                f"quality={quality} is not a range of JPEG qualities. Use lowest and highest, both from 1 to "
                "100."
            )
        if not 0 < min_scale <= 1:
            raise ValueError(
                f"min_scale={min_scale} is not a factor that shrinks. Use a number above 0 and at most 1."
            )
        self.preset, self.p, self.quality = preset, p, quality
        self.min_scale, self.min_side = min_scale, min_side
        self._compose = _compose(preset) if preset in ("light", "strong") else None

    def __repr__(self) -> str:
        share = f", p={self.p:g}" if self.preset == "delivery" else ""
        return f"Augment({self.preset!r}{share})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.preset == "none":
            return sample
        if self._compose is not None:
            return apply(self._compose, sample, rng)
        return self._deliver(sample, rng)

    def _deliver(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image, mask = sample["image"], sample.get("mask")
        # before the delivery: a codec's grid starts in the corner that it saw
        if rng.random() < 0.5:
            image, mask = cv2.flip(image, 1), None if mask is None else cv2.flip(mask, 1)
        if rng.random() < self.p:
            kind = DELIVERIES[rng.integers(len(DELIVERIES))]
            if "resize" in kind:
                image = self._resize(image, rng)
            if kind == "blur":
                image = cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR))
            if "jpeg" in kind:
                quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
                image = jpeg(image, quality, CHROMA[rng.integers(len(CHROMA))])
        if mask is None:
            return {**sample, "image": image}
        return {**sample, "image": image, "mask": fit_mask(mask, image)}

    def _resize(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        floor = max(self.min_scale, self.min_side / min(height, width))
        if floor >= 1:
            return image
        scale = rng.uniform(floor, 1)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=SHRINK[rng.integers(len(SHRINK))])
        if rng.random() < 0.5:
            image = cv2.resize(image, (width, height), interpolation=ENLARGE[rng.integers(len(ENLARGE))])
        return image


def jpeg(image: np.ndarray, quality: int, subsampling: str = "420") -> np.ndarray:
    """The image (H, W, 3) uint8 as it looks after JPEG encoding."""
    return through_jpeg(image, quality, subsampling)


def fit_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The mask at the size of its image, its values kept."""
    height, width = image.shape[:2]
    if mask.shape[:2] == (height, width):
        return mask
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def _compose(preset: str) -> "albumentations.Compose":
    import albumentations as A  # here: importing it costs seconds, and most runs do without

    light = [
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(0.1, 0.1, p=0.5),
        A.HueSaturationValue(4, 10, 0, p=0.25),
    ]
    if preset == "light":
        return A.Compose(light)
    damage = A.OneOf(
        [
            A.GaussianBlur(blur_limit=0, sigma_limit=BLUR, p=1),
            A.GaussNoise(std_range=(0.005, 0.03), p=1),
            A.ImageCompression(quality_range=(50, 95), p=1),
            A.Downscale(scale_range=(0.5, 0.9), p=1),
        ],
        p=0.5,
    )
    holes = A.CoarseDropout(
        num_holes_range=(1, 3), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.25
    )
    return A.Compose([*light, damage, holes])
