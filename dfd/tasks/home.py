"""What a task learns of its home: the gate of its detector, fitted beside training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dfd.batch import DetectionData, HomeData, LoadedBatch
from dfd.distributed import gather_objects
from dfd.familiarity import Familiarity, Features, Home
from dfd.models.backbones import EarlyLayers, pretrained_backbone

# pictures, and deliveries of each: of frozen features once in a fit
FROZEN = {"train": (600, 3), "val": (400, 1)}
# of features of a net that is trained, as often as a best checkpoint is saved
OWN = {"train": (160, 1), "val": (120, 1)}


def frozen_features(net: nn.Module) -> Features:
    """Those that know the net's domain before it is trained: call it before weights are loaded or sharded.

    Without a pretrained backbone whose first layers are small, these are the block DCT alone.
    """
    backbone = pretrained_backbone(net)
    return Features(None if backbone is None else EarlyLayers.of(backbone))


def learn_home(features: Features, data: DetectionData, device: torch.device) -> Familiarity | None:
    """The gate for a data module's pictures; None where it gives too few. Called on all ranks; all get the
    same.

    Args:
        features: frozen ones, or with the net's own.
        data: gives pictures of train and val, where it is a `HomeData`.
        device: where features are measured.
    """
    if not isinstance(data, HomeData):
        return None
    homes = []
    for split, (num, draws) in (FROZEN if features.own is None else OWN).items():
        parts = [_measured(features, batch, device) for batch in data.home(split, num, draws)]
        parts = [part for rank in gather_objects(parts) for part in rank]
        if not parts:
            return None
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(columns["row"], kind="stable")
        row, label = columns.pop("row")[order], columns.pop("label")[order]
        measured = {name: column[order] for name, column in columns.items()}
        homes.append(Home(measured, data.describe(row)["source"], label))
    return Familiarity.fit(features, *homes)


def _measured(features: Features, batch: LoadedBatch, device: torch.device) -> dict[str, np.ndarray]:
    """Row and label (B,) of a batch, and each kind of features (B, D, F)."""
    image = batch["image"].to(device).movedim(-1, -3).float().div_(255)  # (B, D, 3, size, size)
    found = features(image.flatten(0, 1))
    measured = {name: value.unflatten(0, image.shape[:2]) for name, value in found.items()}
    measured |= {"row": batch["row"], "label": batch["label"]}
    return {name: value.cpu().numpy() for name, value in measured.items()}
