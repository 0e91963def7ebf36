"""Reconstruction pairs: the fake of a real picture is what an autoencoder made of it, mixed with the real.

Chen et al., "Dual data alignment makes AI-generated image detector easier generalizable", 2025 (2505.14359):
a pair that agrees in content, size and JPEG settings leaves a detector nothing to learn but the decoder.
"""

from __future__ import annotations

import cv2
import numpy as np

from dfd.batch import FAKE, REAL, Sample


class Reconstruction:
    """A maker of pairs, for `data.pairs`: from a real sample that holds `remade`, its fake.

    `remade` (H', W', 3) uint8 is a reconstruction of this very picture, which `dfd generate` wrote into
    another root; where it has another size it is brought to that of the picture. The fake's pixels are
    r real + (1 - r) remade, and its `mask` (H, W) is 255 everywhere. A sample without `remade`, one that is
    fake already, and one that its reconstruction equals come back as they are: they have no pair.

    Args:
        mix: least and largest share r of the real, drawn evenly for each picture.
    """

    method = "reconstruction"
    needs_landmarks = False
    needs_remade = True

    def __init__(self, mix: tuple[float, float] = (0.0, 0.5)):
        if len(mix) != 2 or not 0 <= mix[0] <= mix[1] < 1:
            raise ValueError(
                f"mix={mix} is not a range of shares of the real. Use least and largest, such as (0, .5)."
            )
        self.mix = mix

    def __repr__(self) -> str:
        return f"Reconstruction(mix=({self.mix[0]:g}, {self.mix[1]:g}))"

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
        mixed = cv2.addWeighted(image, share, remade, 1 - share, 0)
        if np.array_equal(mixed, image):
            return sample
        mask = np.full((height, width), 255, np.uint8)
        return {**sample, "image": mixed, "label": FAKE, "mask": mask}
