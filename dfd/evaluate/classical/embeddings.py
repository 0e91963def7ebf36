"""Embeddings: the features that a frozen net has of pictures, whatever it was trained for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dfd.detector.card import load_net
from dfd.durable import sha256_of
from dfd.evaluate.names import detector_name
from dfd.media.crops import View
from dfd.released import resolve

PLACES = 4  # down and across, of a map that has not been pooled by its net


class Embedder:
    """Crops (B, N, size, size, 3) uint8 -> (B, F), the mean over the crops of a picture.

    Args:
        net: a backbone, which gives features; an autoencoder, whose `encoder` gives a code; or a detector,
            whose features are what its last layer reads.
        view: that cuts its pictures.
        digest: of its weights.
        seen: fingerprints (R,) int64 of the pictures that trained and chose it.
        learnt_labels: whether it was trained to tell real from fake.

    Raises:
        ValueError: the net is none of these.
    """

    def __init__(
        self,
        net: nn.Module,
        view: View,
        *,
        title: str,
        digest: str,
        device: str = "cpu",
        seen: np.ndarray | None = None,
        learnt_labels: bool = False,
    ):
        self.net, self.view, self.title, self.digest = net.to(device).eval(), view, title, digest
        self.device, self.seen, self.learnt_labels = device, seen, learnt_labels
        self._read, self._before = _tapped(net, title)

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> np.ndarray:
        image = (
            crops.flatten(0, 1).to(self.device).movedim(-1, -3).float().div_(255)
        )  # (B * N, 3, size, size)
        features = pooled(self._features(image)).float().view(*crops.shape[:2], -1)
        return features.mean(1).cpu().numpy()

    def _features(self, image: Tensor) -> Tensor:
        if self._read is None:
            return self.net(image)
        found: list[Tensor] = []
        if self._before:
            handle = self._read.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
        else:
            handle = self._read.register_forward_hook(lambda module, inputs, output: found.append(output))
        try:
            self.net(image)
        finally:
            handle.remove()
        return found[-1]


def _tapped(net: nn.Module, title: str) -> tuple[nn.Module | None, bool]:
    """The layer whose features are taken, and whether those before it; None for what the net itself gives."""
    if isinstance(encoder := getattr(net, "encoder", None), nn.Module):
        return encoder, False
    if isinstance(getattr(net, "num_features", None), int):
        return None, False
    heads = [layer for layer in net.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1]
    if not heads:
        raise ValueError(
            f"{title} has no features to take: it is no backbone and no autoencoder, and has no last layer "
            "with one output. Name another checkpoint, or --backbone."
        )
    return heads[-1], True


def pooled(features: Tensor) -> Tensor:
    """(B, F): maps (B, C, h, w) as the means of PLACES x PLACES places."""
    if features.dim() == 4:
        features = nn.functional.adaptive_avg_pool2d(features, PLACES)
    return features.flatten(1)


def load_embedder(
    checkpoint: str | Path | None,
    backbone: str | None,
    weights: str | Path | None,
    size: int,
    device: str = "cpu",
    allow: Iterable[str] = ("dfd.",),
) -> Embedder:
    """The net of a checkpoint, or a timm backbone with pretrained weights.

    Args:
        weights: file of the backbone's weights; None takes those of the hub or its cache.
        size: side of the crops that a backbone sees.

    Raises:
        ValueError: neither or both are named, or what is wrong with the file.
    """
    if (checkpoint is None) == (backbone is None):
        raise ValueError(
            "--on embeddings takes one net: --checkpoint FILE of dfd, or --backbone NAME of timm with "
            "--weights FILE."
        )
    if backbone is not None:
        from dfd.models import TimmBackbone

        net = TimmBackbone(backbone, True if weights is None else str(weights))
        digest = (
            hashlib.sha256(backbone.encode()).hexdigest() if weights is None else sha256_of(Path(weights))
        )
        return Embedder(net, View(size, longest=max(256, size)), title=backbone, digest=digest, device=device)
    if weights is not None:
        raise ValueError(f"--weights {weights} goes with --backbone; a checkpoint has its own. Leave it out.")
    assert checkpoint is not None
    net, card = load_net(checkpoint, map_location=device, allow=allow, role=None)
    view = card.made_view(str(checkpoint)) if card.view else View()
    prints = [np.asarray(each) for each in card.seen.values()]
    return Embedder(
        net,
        view.resolved(),
        title=detector_name(str(checkpoint)),
        digest=sha256_of(resolve(checkpoint)),
        device=device,
        seen=np.unique(np.concatenate(prints)) if prints else None,
        learnt_labels=getattr(net, "role", "detector") == "detector",
    )
