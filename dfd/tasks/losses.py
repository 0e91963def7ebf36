"""Losses: logits (B,) and labels (B,) -> a scalar.

A label in between is a share of FAKE, the rest REAL. A loss that compares pictures by their features says
`needs_features = True`, and is called `loss(logit, label, features (B, F), row (B,))`: features as the net's
`head` is given them, and the line of the table that each picture comes from, which a real and the fake that
was made of it share.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BinaryCrossEntropy(nn.Module):
    """Mean binary cross-entropy.

    Args:
        label_smoothing: s in [0, 1): targets become s/2 and 1 - s/2.
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing={label_smoothing} is outside [0, 1). Use .1 as a start.")
        self.label_smoothing = label_smoothing
        # of reals and of fakes; None weighs all images alike. No buffer: a checkpoint need not hold it
        self.class_weight: Tensor | None = None

    def balance(self, num_real: int, num_fake: int, device: torch.device) -> None:
        """Weighs both classes alike, whatever their numbers."""
        self.class_weight = _balanced(num_real, num_fake).to(device)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        label, weight = label.to(logit.dtype), None
        if self.class_weight is not None:
            real, fake = self.class_weight
            weight = real * (1 - label) + fake * label
            label = fake * label / weight
        target = label * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logit, target, weight)


class Focal(nn.Module):
    """Mean focal loss (Lin et al., 1708.02002): cross-entropy times (1 - p) ** gamma, where p is the
    probability of the true class, so that pictures which are told with ease count less.

    Args:
        gamma: 0 is cross-entropy; the paper's is 2.
        alpha: weight of the fakes in (0, 1), reals get 1 - alpha; None weighs both alike, by 1.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None):
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma={gamma} of the focal loss is below 0. Use 2 as a start.")
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha={alpha} of the focal loss is outside (0, 1). Use .5, or null for none.")
        self.gamma, self.alpha = gamma, alpha
        self.class_weight = None if alpha is None else torch.tensor([1 - alpha, alpha])  # of reals, of fakes

    def balance(self, num_real: int, num_fake: int, device: torch.device) -> None:
        """Weighs both classes alike, whatever their numbers."""
        if self.alpha is not None:
            raise ValueError(
                f"alpha={self.alpha} of the focal loss weighs the classes, as class_weight=balanced does. "
                "Leave one of them out."
            )
        self.class_weight = _balanced(num_real, num_fake).to(device)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        label = label.to(logit.dtype)
        # of a picture that is real, and of one that is fake: (1 - p) is the probability of the other class
        as_real = logit.sigmoid() ** self.gamma * F.softplus(logit)
        as_fake = (-logit).sigmoid() ** self.gamma * F.softplus(-logit)
        if self.class_weight is not None:
            real, fake = self.class_weight.to(logit)
            as_real, as_fake = real * as_real, fake * as_fake
        return ((1 - label) * as_real + label * as_fake).mean()


class _Contrast(nn.Module):
    """Cross-entropy of the logits, and a comparison of features on the unit sphere.

    Args:
        weight: of the comparison.
        pairs_only: compare only pictures whose counterpart is in the batch, the real or the fake of the same
            row: then a source cannot give the class away.
        label_smoothing: of the cross-entropy.
    """

    needs_features = True

    def __init__(self, weight: float, pairs_only: bool, label_smoothing: float):
        super().__init__()
        if weight <= 0:
            raise ValueError(f"weight={weight} of the features' loss is not above 0. Leave the loss out.")
        self.weight, self.pairs_only = weight, pairs_only
        self.cross_entropy = BinaryCrossEntropy(label_smoothing)

    def balance(self, num_real: int, num_fake: int, device: torch.device) -> None:
        """Weighs both classes alike in the cross-entropy, whatever their numbers."""
        self.cross_entropy.balance(num_real, num_fake, device)

    def forward(self, logit: Tensor, label: Tensor, features: Tensor, row: Tensor) -> Tensor:
        # of mixed pictures the class of the larger share
        fake = label > 0.5
        if self.pairs_only:
            paired = ((row[:, None] == row) & (fake[:, None] != fake)).any(1)
            features, fake = features[paired], fake[paired]
        # the eight bits of bfloat16 do not tell near features apart
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(features.float(), dim=1)  # (P, F)
            compared = self.compare(unit, fake) if len(unit) > 1 else 0 * unit.sum()
        return self.cross_entropy(logit, label) + self.weight * compared

    def compare(self, unit: Tensor, fake: Tensor) -> Tensor:
        """A scalar of two or more unit vectors (P, F) and their classes (P,) bool."""
        raise NotImplementedError


class SupervisedContrastive(_Contrast):
    """Cross-entropy and the supervised contrastive loss (Khosla et al., 2004.11362, L_out): each picture is
    to be nearer to the others of its class than to those of the other.

    Args:
        weight: of the contrastive loss.
        temperature: distances of features are divided by it, above 0.
        pairs_only: compare only pictures whose counterpart is in the batch, the real or the fake of the same
            row (`data.pairs`): then a source cannot give the class away.
        label_smoothing: of the cross-entropy.
    """

    def __init__(
        self,
        weight: float = 0.1,
        temperature: float = 0.1,
        pairs_only: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, pairs_only, label_smoothing)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} is not above 0. Use .1 as a start.")
        self.temperature = temperature

    def compare(self, unit: Tensor, fake: Tensor) -> Tensor:
        others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        alike = (fake[:, None] == fake) & others  # (P, P)
        near = (unit @ unit.T / self.temperature).masked_fill(~others, -torch.inf)
        log_share = near - near.logsumexp(1, keepdim=True)
        each = -torch.where(alike, log_share, 0).sum(1) / alike.sum(1).clamp_min(1)
        anchors = alike.any(1)  # one alone of its class has nothing to be near to
        return torch.where(anchors, each, 0).sum() / anchors.sum().clamp_min(1)


class AlignmentUniformity(_Contrast):
    """Cross-entropy, and alignment and uniformity of the features (Wang and Isola, 2005.10242): pictures of
    one class lie close together, and all of them spread over the sphere.

    Args:
        weight: of the mean squared distance within a class (their alpha = 2).
        uniformity: of the logarithm of the mean Gaussian potential of all pairs, on top of `weight`.
        t: of that potential, exp(-t * squared distance).
        pairs_only: compare only pictures whose counterpart is in the batch, the real or the fake of the same
            row (`data.pairs`): then a source cannot give the class away.
        label_smoothing: of the cross-entropy.
    """

    def __init__(
        self,
        weight: float = 0.1,
        uniformity: float = 0.5,
        t: float = 2.0,
        pairs_only: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, pairs_only, label_smoothing)
        if uniformity < 0 or t <= 0:
            raise ValueError(
                f"uniformity={uniformity}, t={t}: uniformity is 0 or more, t above 0. Use .5 and 2 as a "
                "start."
            )
        self.uniformity, self.t = uniformity, t

    def compare(self, unit: Tensor, fake: Tensor) -> Tensor:
        first, second = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
        # of each pair once; through the products, as the differences of all pairs would fill the memory
        squared = (2 - 2 * (unit @ unit.T)[first, second]).clamp_min(0)
        alike = fake[first] == fake[second]
        alignment = torch.where(alike, squared, 0).sum() / alike.sum().clamp_min(1)
        potential = torch.logsumexp(-self.t * squared, 0) - math.log(len(squared))
        return alignment + self.uniformity * potential


def _balanced(num_real: int, num_fake: int) -> Tensor:
    """Weights (2,) of reals and fakes by which both classes count alike."""
    counts = torch.tensor([num_real, num_fake], dtype=torch.float64).clamp_min(1)
    return (counts.sum() / (2 * counts)).to(torch.float32)
