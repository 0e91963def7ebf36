"""MixUp and CutMix: mixtures of the images of a training batch, with labels in between.

MixUp: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018 (1710.09412). CutMix: Yun et al.,
"CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019
(1905.04899).

They work on batches on their device, in floats: uint8 would round away the traces that a detector looks for.
"""

import numpy as np
import torch
from torch import Tensor

from dfd.batch import Batch


class MixUp:
    """Blends each image with another of its batch, and the labels alike: `mix(batch, rng) -> batch`.

    Args:
        alpha: of Beta(alpha, alpha), which draws each picture's share: .2 leaves most pictures nearly as they
            are, 1 mixes evenly.
    """

    def __init__(self, alpha: float = 0.2):
        self.alpha = _checked(alpha)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        share = _on_device(rng.beta(self.alpha, self.alpha, len(batch["label"])), batch["image"])
        return _mixed(batch, share[:, None, None, None], share, rng)


class CutMix:
    """Pastes a box of another image into each, and mixes labels by its area: `mix(batch, rng) -> batch`.

    Args:
        alpha: of Beta(alpha, alpha), which draws the share of the area that stays: 1 draws all shares alike.
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = _checked(alpha)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        num, (height, width) = len(batch["label"]), batch["image"].shape[-2:]
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha, num))  # of the box, as a share of the picture's
        rows = _within(rng.random(num), side, height, batch["image"])[:, :, None]  # (B, H, 1)
        columns = _within(rng.random(num), side, width, batch["image"])[:, None, :]  # (B, 1, W)
        kept = 1 - rows * columns  # (B, H, W)
        return _mixed(batch, kept[:, None], kept.mean((1, 2)), rng)


def _checked(alpha: float) -> float:
    if not 0 < alpha < float("inf"):
        raise ValueError(
            f"alpha={alpha} is not a parameter of a Beta distribution. Use a number above 0, such as .2 or 1."
        )
    return alpha


def _within(centre: np.ndarray, side: np.ndarray, length: int, image: Tensor) -> Tensor:
    """(B, length): 1 for the pixels of a line that lie in the box, 0 for the others.

    `centre` and `side` (B,) are shares of the line.
    """
    low, high = (np.rint((centre + half * side) * length)[:, None] for half in (-0.5, 0.5))
    at = torch.arange(length, device=image.device)
    return ((at >= _on_device(low, image)) & (at < _on_device(high, image))).to(image.dtype)


def _mixed(batch: Batch, weight: Tensor, share: Tensor, rng: np.random.Generator) -> Batch:
    """Each image with its weight (B, 1, H, W) or (B, 1, 1, 1), another's with the rest; labels by share."""
    partner = torch.from_numpy(rng.permutation(len(share))).to(share.device)
    image, label = batch["image"], batch["label"].float()
    mixed: Batch = {
        **batch,
        "image": torch.lerp(image[partner], image, weight),
        "label": torch.lerp(label[partner], label, share),
    }
    if "mask" in batch:  # NaN stays NaN: then it is not known where the whole of them is forged
        mask = batch["mask"]
        mixed["mask"] = torch.lerp(mask[partner], mask, weight[:, 0].expand_as(mask))
    return mixed


def _on_device(numbers: np.ndarray, image: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(image)
