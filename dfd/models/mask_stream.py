"""A detector that says where as well: a 1x1 convolution on its last map, trained on masks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

from dfd.models.detectors import check_places, linear_head
from dfd.models.net import Net


class MaskStream(Net):
    """A backbone, a linear head on its features' mean, and a mask head on the features of each place. It has
    no use for forensic cues.

    The mask head learns from `model.mask_loss` where masks are known, and makes the backbone look where a
    forgery is, as in TruFor (Guillaro et al., 2212.10957) and LAA-Net (Nguyen et al., 2401.13856). Logits
    cost what those of a `SingleStream` cost.

    Args:
        backbone: a `dfd.models.MapBackbone`: image (B, 3, H, W) -> features (B, F, h, w) of each place.
        dropout: share of the features that are dropped in training, for the logit.

    Raises:
        ValueError: `backbone` gives no features of places.
    """

    def __init__(self, backbone: Net, dropout: float = 0.2):
        super().__init__()
        check_places(backbone)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = linear_head(backbone.num_features)
        self.mask_head = nn.Conv2d(backbone.num_features, 1, 1)
        nn.init.normal_(self.mask_head.weight, std=0.01)
        nn.init.zeros_(self.mask_head.bias)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"rgb": self.backbone.cam_layers["features"]}

    def localize(self, image: Tensor) -> Tensor:
        """(B, H, W) in [0, 1]: how sure the mask head is that each place is forged."""
        where = self.mask_head(self.backbone.maps(image))  # (B, 1, h, w)
        return interpolate(where, image.shape[-2:], mode="bilinear").squeeze(1).sigmoid()

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        maps = self.backbone.maps(image)  # (B, F, h, w)
        if self.training:
            # whoever trains it takes the output by a hook, since FSDP2 gathers weights for `forward` alone
            self.mask_head(maps)
        return self.head(self.dropout(maps.mean((2, 3)))).squeeze(1)  # (B,)
