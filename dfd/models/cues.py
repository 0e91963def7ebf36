"""Cue fusion: a net that reads the forensic cues of a file beside its pixels, and does without them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfd.models.detectors import linear_head
from dfd.models.net import Net
from dfd.models.standardize import Standardize

# what a program that strips metadata takes out of a file: each is 0 then
STRIPPED = tuple(
    f"file.{name}"
    for name in ("exif", "xmp", "icc", "iptc", "adobe", "comment", "c2pa", "metadata_bytes", "trailing_bytes")
)


class CueFusion(Net):
    """A backbone's logit and a logit of the file's cues, added: image (B, 3, H, W) and cues (B, C) -> (B,).

    Each can be read alone (`streams`, `judge`), so that one sees what the file's making said and what the
    picture did. Without cues the picture's logit stands alone. In training a share of the pictures has no
    cues, and of others the metadata are stripped, real and fake alike (modality dropout, Neverova et al.,
    1501.00102): a picture whose metadata somebody took out is not convicted by that.

    Cues come as they are measured (`dfd.forensics.cues.describe`); they are squashed by sign(x) log(1 + |x|)
    and standardized by their mean and deviation in training.

    Args:
        backbone: a `dfd.models.Backbone`: image -> features (B, F).
        cues: names of the cues that it reads, in this order. None takes all that this version of dfd
            measures, and checkpoints hold their names.
        version: of what measures the cues; None takes this dfd's, and checkpoints hold it.
        width: of the hidden layer that reads them.
        dropout: share of the features that are dropped in training.
        drop_cues: share of the training pictures that have no cues, in [0, 1).
        strip: share of the others whose metadata are stripped, in [0, 1].

    Raises:
        ValueError: a cue has no such name, or a share is out of range.
    """

    def __init__(
        self,
        backbone: Net,
        cues: list[str] | None = None,
        version: int | None = None,
        width: int = 32,
        dropout: float = 0.2,
        drop_cues: float = 0.3,
        strip: float = 0.5,
    ):
        super().__init__()
        from dfd.forensics.cues import CUES, CUES_VERSION  # SciPy

        names = list(CUES) if cues is None else list(cues)
        if not names:
            raise ValueError("cues=[]: without a cue there is nothing to fuse. Leave it out for all cues.")
        if version in (None, CUES_VERSION) and (unknown := [name for name in names if name not in CUES]):
            raise ValueError(
                f"cues names {unknown[0]!r}, and dfd measures {len(CUES)}, such as {CUES[0]} and {CUES[-1]}."
            )
        if not (0 <= drop_cues < 1 and 0 <= strip <= 1):
            raise ValueError(f"drop_cues={drop_cues} and strip={strip} are shares of the training pictures.")
        self.cue_version = CUES_VERSION if version is None else version
        # a checkpoint outlives today's list
        given = self.__dict__["_given"]
        today = {"cues": names, "version": self.cue_version}
        given |= {name: value for name, value in today.items() if name in given}
        self.backbone, self.cue_names = backbone, tuple(names)
        self.dropout, self.drop_cues, self.strip = nn.Dropout(dropout), drop_cues, strip
        self.head = linear_head(backbone.num_features)
        self.standardize = Standardize(len(names))
        self.hidden = nn.Sequential(nn.Linear(len(names), width), nn.GELU(), nn.Dropout(dropout))
        self.cue_head = linear_head(width)
        kept = torch.tensor([name not in STRIPPED for name in names])
        self.register_buffer("kept", kept, persistent=False)  # fixed by `cues`

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"rgb": self.backbone.cam_layers["features"]}

    def streams(self, image: Tensor, cues: Tensor | None = None) -> dict[str, Tensor]:
        """Features (B, F) of the picture, and (B, width) of the file where there are cues."""
        found = {"rgb": self.backbone(image)}
        return found if cues is None else found | {"cues": self._read(cues)}

    def judge(self, rgb: Tensor, cues: Tensor | None = None) -> Tensor:
        """The logits (B,) of such features."""
        logit = self.head(self.dropout(rgb)).squeeze(1)
        return logit if cues is None else logit + self.cue_head(cues).squeeze(1)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        rgb = self.backbone(image)
        logit = self.head(self.dropout(rgb)).squeeze(1)
        if cues is None:
            return logit
        said = self.cue_head(self._read(cues)).squeeze(1)
        if self.training:
            said = said * (torch.rand_like(said) >= self.drop_cues)
        return logit + said

    def _read(self, cues: Tensor) -> Tensor:
        """(B, C) -> (B, width)"""
        if self.training:
            stripped = torch.rand(len(cues), 1, device=cues.device) < self.strip
            cues = torch.where(stripped & ~self.kept, 0.0, cues)
        return self.hidden(self.standardize(cues.sign() * cues.abs().log1p()))
