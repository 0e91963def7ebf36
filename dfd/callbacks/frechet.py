"""Frechet distance between generated and real images in the features of a pretrained backbone.

The Frechet distance between Gaussians fitted to features is Heusel et al.'s (NeurIPS 2017, 1706.08500).
Theirs is called FID and rests on one Inception net and 50,000 pictures; this one rests on whichever backbone
is at hand and on the reals of the validation split, so it bears the backbone's name, and figures compare at
equal backbone, size and number of pictures only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import interpolate

from dfd.batch import REAL, Batch
from dfd.distributed import gather_objects

FEWEST = 16  # pictures; a mean and a covariance of fewer say nothing


class FrechetDistance(Callback):
    """Logs val/frechet_<backbone>, between the reals of the validation split and as many generated ones:
    val/frechet_images.

    The latents are the same each time. The fewer the pictures, the larger the distance, whatever they show.

    Args:
        backbone: timm's name of a net.
        pretrained: True for its weights from the hub, or the path of a file. Random features measure nothing.
        size: pictures are resized to this many pixels before they go through the backbone.
    """

    def __init__(self, backbone: str = "mobilenetv2_100", pretrained: bool | str = True, size: int = 128):
        if pretrained is False:
            raise ValueError(
                "FrechetDistance needs pretrained weights: pretrained=PATH, or true for the hub's. Or leave "
                "it out."
            )
        if size < 32:
            raise ValueError(f"size={size} is too small for a backbone to see anything. Use 128.")
        from dfd.models import TimmBackbone  # timm: half a second, for all who load a callback

        self.net = TimmBackbone(backbone, pretrained).eval().requires_grad_(False)
        self.name, self.size = f"val/frechet_{backbone.partition('.')[0]}", size
        self._seen: list[np.ndarray] = []

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._seen.clear()
        self.net.to(task.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        task: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        real = batch["image"][batch["valid"] & (batch["label"] == REAL)]
        if len(real) and not trainer.sanity_checking:
            self._seen.append(self._features(real[:, -1] if real.dim() == 5 else real))

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        real = _gathered([np.empty((0, self.net.num_features)), *self._seen])
        if len(real) < FEWEST:
            raise ValueError(
                f"the validation split showed {len(real)} reals; {self.name} takes {FEWEST} or more. "
                "Name data with more of them, or leave FrechetDistance out."
            )
        latent = torch.randn(len(real), task.net.latent, generator=torch.Generator().manual_seed(0))
        mine = latent[trainer.global_rank :: trainer.world_size].to(task.device).split(64)
        fake = _gathered([self._features(task.samples(part)) for part in mine])
        task.log_dict({self.name: frechet_distance(real, fake), "val/frechet_images": float(len(real))})

    @torch.inference_mode()
    def _features(self, image: Tensor) -> np.ndarray:
        """(B, F) float64 of pictures (B, 3, H, W) in [0, 1]."""
        with torch.autocast(image.device.type, enabled=False):
            image = interpolate(image.float(), (self.size, self.size), mode="bilinear", antialias=True)
            return self.net(image).double().cpu().numpy()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared distance |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of Gaussians fitted to features (N,
    F) and (M, F).

    With S = X'X of centred features X, the eigenvalues of S_a S_b are the squared singular values of X_a
    X_b', whose sum is the trace of the root: no root of a matrix without full rank has to be taken, and
    nothing gets imaginary.
    """
    centred = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    root_a, root_b = (np.linalg.qr(x, mode="r") for x in centred)  # min(N, F) rows, and the same X'X
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = sum((x**2).sum() for x in centred)
    return float(max(0.0, ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + spread - 2 * cross))


def _gathered(mine: list[np.ndarray]) -> np.ndarray:
    """The features (N, F) of all ranks, in the order of the ranks."""
    return np.concatenate([part for parts in gather_objects(mine) for part in parts])
