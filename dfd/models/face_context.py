"""Face against context: a detector that reads how a face differs from what is around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dfd.models.detectors import check_places, linear_head
from dfd.models.net import Net
from dfd.models.standardize import Standardize

# half axes of the ellipse of a face and its centre's height above, in sides of a face picture
HALF_WIDTH, HALF_HEIGHT, BELOW_MIDDLE = 0.26, 0.34, 0.03
INNER, OUTER = 0.8, 1.25  # of the ellipse: where the face ends, and where its surroundings begin
_FINE = 224  # side of the grid on which the parts are drawn


class FaceContext(Net):
    """A backbone, the means and deviations of its features in the face, on the face's border and around it,
    and a linear head on the differences of the three. It has no use for forensic cues.

    A forged face has another history than its surroundings: Nirkin et al., "DeepFake detection based on
    discrepancies between faces and their context" (2008.12262), compare the two by their identity; here the
    features of a frozen backbone say what else does not fit. What the whole picture has in common (its
    camera, its size, its compression) is in all three parts alike and drops out of their differences.

    It reads whole face pictures (`view.resize`) of about DEFAULT_MARGIN faces, with the face in the middle,
    and is meant to be trained as a linear probe with strong weight decay (`configs/face_context.yaml`).
    Sides are at least 96 px for a backbone of stride 32.

    Args:
        backbone: a `dfd.models.MapBackbone`: image (B, 3, H, W) -> features (B, F, h, w) of each place.
        dropout: share of the differences that are dropped in training.

    Raises:
        ValueError: `backbone` gives no features of places.
    """

    needs_whole_pictures = True

    def __init__(self, backbone: Net, dropout: float = 0.0):
        super().__init__()
        check_places(backbone)
        self.backbone = backbone
        # the differences by their own deviations, so that weight decay means the same to each
        self.scale = Standardize(6 * backbone.num_features, momentum=0.02)
        self.dropout = nn.Dropout(dropout)
        self.head = linear_head(6 * backbone.num_features)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("parts", _parts(), persistent=False)  # (3, _FINE, _FINE)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"rgb": self.backbone.cam_layers["features"]}

    def differences(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 6 F): of means and of deviations, face less surroundings, border less
        surroundings, face less border.
        """
        maps = self.backbone.maps(image)  # (B, F, h, w)
        face, border, around = _statistics(maps, self.parts).unbind(1)  # (B, 2 F) each
        return torch.cat([face - around, border - around, face - border], dim=1)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        return self.head(self.dropout(self.scale(self.differences(image)))).squeeze(1)  # (B,)


def _statistics(maps: Tensor, parts: Tensor) -> Tensor:
    """Maps (B, F, h, w) and fine parts (3, H, W) -> (B, 3, 2 F): mean, above that of the whole map,
    and deviation over face, border and surroundings.
    """
    with torch.autocast(maps.device.type, enabled=False):  # squares of features want full precision
        share = interpolate(parts.float()[None], maps.shape[-2:], mode="area")[0].flatten(1)
        share = share / share.sum(1, keepdim=True)  # (3, h * w)
        flat = maps.float().flatten(2).transpose(1, 2)  # (B, h * w, F)
        flat = flat - flat.mean(1, keepdim=True)  # drops out of the differences
        mean, square = share @ flat, share @ flat.square()  # (B, 3, F)
        # a variance of 0 has no gradient of its root
        deviation = (square - mean.square()).clamp_min(1e-12).sqrt()
        return torch.cat([mean, deviation], dim=2)


def _parts() -> Tensor:
    """(3, _FINE, _FINE), 1 in the face, on its border and around it."""
    down, across = torch.meshgrid(*[(torch.arange(_FINE) + 0.5) / _FINE - 0.5] * 2, indexing="ij")
    radius = ((across / HALF_WIDTH) ** 2 + ((down - BELOW_MIDDLE) / HALF_HEIGHT) ** 2).sqrt()
    face, around = radius < INNER, radius >= OUTER
    return torch.stack([face, ~face & ~around, around]).float()
