"""Detectors: image (B, 3, H, W) in [0, 1] -> logit (B,); above zero means FAKE."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dfd.models.net import Net
from dfd.models.spectral import LogSpectrum


class SingleStream(Net):
    """A backbone and a linear head."""

    def __init__(self, backbone: Net, dropout: float = 0.2):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = _head(backbone.num_features)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        return {"rgb": _cam_layer(self.backbone)}

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.dropout(self.backbone(image))).squeeze(1)  # (B, F) -> (B,)


class DualStream(Net):
    """Pixels and frequencies, each through a net of its own, judged together.

    The idea of two streams is F3-Net's (Qian et al., 2007.09355) and SPSL's (Liu et al., 2103.01856).
    `spectrum` makes the maps that `fft` reads: `LogSpectrum` of the whole picture by default, or
    `LocalSpectrum`.

    `fusion`: "concat" gives the head both streams' features. "gate" (Arevalo et al., 1702.01992) brings both
    to the width of `fft` and mixes them feature by feature in shares that depend on the picture: where
    delivery has wiped out the frequencies, the net can turn to the pixels.

    `drop_fft`: share of the training pictures whose `fft` features are dropped, in [0, 1) (ModDrop, Neverova
    et al., 1501.00102). The frequencies of undamaged pictures are learnt sooner than their pixels, and a net
    that leans on them learns less from the pixels, which a delivery damages less.
    """

    def __init__(
        self,
        rgb: Net,
        fft: Net,
        spectrum: Net | None = None,
        fusion: Literal["concat", "gate"] = "concat",
        dropout: float = 0.2,
        drop_fft: float = 0.0,
    ):
        super().__init__()
        if not 0 <= drop_fft < 1:
            raise ValueError(
                f"drop_fft={drop_fft} is outside [0, 1). Use .5 as a start, or 0 to drop nothing."
            )
        spectrum = LogSpectrum() if spectrum is None else spectrum
        takes = getattr(fft, "in_channels", spectrum.out_channels)
        if takes != spectrum.out_channels:
            raise ValueError(
                f"{type(spectrum).__name__} gives {spectrum.out_channels} channels, but "
                f"fft={type(fft).__name__} "
                f"takes {takes}. Set in_channels={spectrum.out_channels} in fft's init_args."
            )
        self.rgb, self.fft, self.spectrum, self.drop_fft = rgb, fft, spectrum, drop_fft
        self.dropout = nn.Dropout(dropout)
        if fusion == "concat":
            self.fusion = _Concat()
            self.head = _head(rgb.num_features + fft.num_features)
        elif fusion == "gate":
            self.fusion = _Gate(rgb.num_features, fft.num_features)
            self.head = _head(fft.num_features)
        else:
            raise ValueError(f"fusion={fusion!r}: DualStream knows 'concat' and 'gate'.")

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        """Places in the picture: of the fft stream only where its spectrum is taken place by place."""
        layers = {"rgb": _cam_layer(self.rgb)}
        return layers | {"fft": _cam_layer(self.fft)} if self.spectrum.spatial else layers

    def forward(self, image: Tensor) -> Tensor:
        rgb, fft = self.rgb(image), self.fft(self.spectrum(image))  # (B, F), (B, K)
        if self.training and self.drop_fft:
            kept = torch.rand(len(fft), 1, device=fft.device) >= self.drop_fft
            fft = fft * kept / (1 - self.drop_fft)
        return self.head(self.dropout(self.fusion(rgb, fft))).squeeze(1)  # (B,)


class _Concat(nn.Module):
    def forward(self, rgb: Tensor, fft: Tensor) -> Tensor:
        return torch.cat([rgb, fft], dim=1)  # (B, F + K)


class _Gate(nn.Module):
    def __init__(self, rgb: int, fft: int):
        super().__init__()
        self.narrow = nn.Linear(rgb, fft)
        self.share = nn.Linear(rgb + fft, fft)

    def forward(self, rgb: Tensor, fft: Tensor) -> Tensor:
        share = self.share(torch.cat([rgb, fft], dim=1)).sigmoid()  # (B, K) in (0, 1): how much of the pixels
        return share * self.narrow(rgb) + (1 - share) * fft  # (B, K)


class _Head(nn.Linear):
    """Logits in the precision of its weights: in the eight bits of an autocast to bfloat16 many pictures
    would share one.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


def _head(num_features: int) -> nn.Linear:
    head = _Head(num_features, 1)
    nn.init.normal_(head.weight, std=0.01)  # starts undecided: first loss .69 instead of timm's 8
    nn.init.zeros_(head.bias)
    return head


def _cam_layer(backbone: Net) -> nn.Module:
    return backbone.cam_layers["features"]
