"""Reconstruction pairs: the fake of a real picture is what an autoencoder made of it, or of its face alone.

Chen et al., "Dual data alignment makes AI-generated image detector easier generalizable", 2025 (2505.14359):
a pair that agrees in content, size and JPEG settings leaves a detector nothing to learn but the decoder.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from dfd.augment.face_outline import soft_mask
from dfd.batch import FAKE, REAL, Sample


class Reconstruction:
    """A maker of pairs, for `data.pairs`: from a real sample that holds `remade`, its fake.

    `remade` (H', W', 3) uint8 is a reconstruction of this very picture, which `dfd generate` wrote into
    another root; where it has another size it is brought to that of the picture. The fake's pixels are
    r real + (1 - r) remade, and its `mask` (H, W) is 255 everywhere. A sample without `remade`, one that is
    fake already, and one that its reconstruction equals come back as they are: they have no pair.

    Of a `face`, the reconstruction shows inside a drawn outline of the face or of its parts alone (of
    `landmarks`, as in `FaceBlend`), and `mask` says how much: a face that a net made, in the real's own
    surroundings, as face swaps and many generated faces are. A sample without a face has no pair.

    Args:
        mix: least and largest share r of the real, drawn evenly for each picture.
        region: "picture", or "face", for which the shards need landmarks (`dfd landmarks`).
    """

    method = "reconstruction"
    needs_remade = True

    def __init__(self, mix: tuple[float, float] = (0.0, 0.5), region: Literal["picture", "face"] = "picture"):
        if len(mix) != 2 or not 0 <= mix[0] <= mix[1] < 1:
            raise ValueError(
                f"mix={mix} is not a range of shares of the real. Use least and largest, such as (0, .5)."
            )
        if region not in ("picture", "face"):
            raise ValueError(f"region={region!r} is not known. Use picture or face.")
        self.mix, self.region = mix, region
        self.needs_landmarks = region == "face"

    def __repr__(self) -> str:
        return f"Reconstruction(mix=({self.mix[0]:g}, {self.mix[1]:g}), region={self.region})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        remade = sample.get("remade")
        if remade is None or sample["label"] != REAL:
            return sample
        image = sample["image"]
        height, width = image.shape[:2]
        if remade.shape[:2] != (height, width):
            shrinks = remade.shape[0] > height
            remade = cv2.resize(
                remade, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            )
        share = rng.uniform(*self.mix)
        mask = np.full((height, width), 255, np.uint8)
        if self.region == "face":
            if not np.isfinite(sample["landmarks"]).all():
                return sample
            mask, _ = soft_mask(sample["landmarks"], (height, width), rng)
        weight = mask * np.float32((1 - share) / 255)
        mixed = cv2.blendLinear(remade, image, weight, 1 - weight)
        if np.array_equal(mixed, image):
            return sample
        return {**sample, "image": mixed, "label": FAKE, "mask": mask}
