"""Detectors, with one stream or two: image (B, 3, H, W) in [0, 1] -> logit (B,); above zero means FAKE.

`forward(image, cues=None)` may also be given the forensic cues of the files, (B, C) float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfd.models.fusion import Concat
from dfd.models.net import Net
from dfd.models.protocols import Fusion, MapBackbone
from dfd.models.spectral import LogSpectrum


class SingleStream(Net):
    """A backbone and a linear head, on pixels or on frequencies. It has no use for forensic cues.

    Args:
        backbone: a `dfd.models.Backbone`: image (B, 3, H, W), or the maps of `spectrum` -> features (B, F).
        dropout: share of the features that are dropped in training.
        spectrum: a `dfd.models.Spectrum`: image -> the maps that `backbone` reads; None for the image itself.
        rectify: take features below zero as zero, as `dfd.tasks.StayPositive` needs them.

    Raises:
        ValueError: `backbone` does not take the channels of `spectrum`.
    """

    def __init__(
        self, backbone: Net, *, dropout: float = 0.2, spectrum: Net | None = None, rectify: bool = False
    ):
        super().__init__()
        if spectrum is not None:
            _check_channels(spectrum, backbone, "backbone")
        self.backbone, self.spectrum, self.rectify = backbone, spectrum, rectify
        self.dropout = nn.Dropout(dropout)
        self.head = linear_head(backbone.num_features)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        """Places in the image: none where the spectrum keeps no places."""
        if self.spectrum is None:
            return {"rgb": self.backbone.cam_layers["features"]}
        return {"fft": self.backbone.cam_layers["features"]} if self.spectrum.spatial else {}

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        features = self.backbone(image if self.spectrum is None else self.spectrum(image))  # (B, F)
        if self.rectify:
            features = features.relu()
        return self.head(self.dropout(features)).squeeze(1)  # (B,)


class DualStream(Net):
    """Pixels and frequencies, each through a net of its own, and a head on the features of both.

    The idea of two streams is F3-Net's (Qian et al., 2007.09355) and SPSL's (Liu et al., 2103.01856).

    Args:
        rgb: a `dfd.models.Backbone`: image (B, 3, H, W) -> features (B, F).
        fft: a `dfd.models.Backbone`: maps of `spectrum` -> features (B, K).
        spectrum: a `dfd.models.Spectrum`: image -> the maps that `fft` reads. By default `LogSpectrum`, of
            the whole image.
        fusion: a `dfd.models.Fusion`: features (B, F) and (B, K), and cues (B, C) where there are any -> one
            vector (B, D) for the head. By default `Concat`. One that says `needs_maps` reads the features of
            each place.
        dropout: share of the fused features that are dropped in training.
        drop_fft: share of the training images whose `fft` features are dropped, in [0, 1) (ModDrop, Neverova
            et al., 1501.00102). Frequencies of undamaged images are learnt sooner than their pixels, and a
            net that leans on them learns less from the pixels, which compression damages less.

    Raises:
        ValueError: `fft` does not take the channels of `spectrum`; `fusion` is none, or needs maps that a
            stream does not give; `drop_fft` is outside [0, 1).
    """

    def __init__(
        self,
        rgb: Net,
        fft: Net,
        spectrum: Net | None = None,
        fusion: Net | None = None,
        dropout: float = 0.2,
        drop_fft: float = 0.0,
    ):
        super().__init__()
        if not 0 <= drop_fft < 1:
            raise ValueError(
                f"drop_fft={drop_fft} is outside [0, 1). Use .5 as a start, or 0 to drop nothing."
            )
        spectrum = LogSpectrum() if spectrum is None else spectrum
        _check_channels(spectrum, fft, "fft")
        fusion = Concat() if fusion is None else fusion
        if not isinstance(fusion, Fusion):
            raise ValueError(
                f"fusion={fusion!r} has no connect(num_rgb, num_fft). Use dfd.models.Concat, dfd.models.Gate "
                "or a subclass of dfd.models.Net with the methods of dfd.models.Fusion."
            )
        self.of_maps = getattr(fusion, "needs_maps", False)
        for name, backbone in (("rgb", rgb), ("fft", fft)):
            if self.of_maps and not isinstance(backbone, MapBackbone):
                raise ValueError(
                    f"{type(fusion).__name__} needs the features of each place, which "
                    f"{name}={type(backbone).__name__} does not give. Give it a method maps(image) -> "
                    "(B, num_features, h, w), or take dfd.models.Concat or Gate."
                )
        self.rgb, self.fft, self.spectrum, self.drop_fft = rgb, fft, spectrum, drop_fft
        self.dropout = nn.Dropout(dropout)
        num_fused = fusion.connect(rgb.num_features, fft.num_features)
        self.fusion = fusion
        self.head = linear_head(num_fused)

    @property
    def cam_layers(self) -> dict[str, nn.Module]:
        """Places in the image: of the fft stream only where its spectrum is taken place by place."""
        layers = {"rgb": self.rgb.cam_layers["features"]}
        return layers | {"fft": self.fft.cam_layers["features"]} if self.spectrum.spatial else layers

    def streams(self, image: Tensor) -> dict[str, Tensor]:
        """What the fusion reads of the pixels and of the frequencies: rgb (B, F) and fft (B, K), or the maps
        (B, F, h, w) and (B, K, i, j) where it needs them.
        """
        spectrum = self.spectrum(image)
        if self.of_maps:
            return {"rgb": self.rgb.maps(image), "fft": self.fft.maps(spectrum)}
        return {"rgb": self.rgb(image), "fft": self.fft(spectrum)}

    def judge(self, rgb: Tensor, fft: Tensor, cues: Tensor | None = None) -> Tensor:
        """The logits (B,) of such features."""
        fused = self.fusion(rgb, fft) if cues is None else self.fusion(rgb, fft, cues)  # (B, D)
        return self.head(self.dropout(fused)).squeeze(1)

    def forward(self, image: Tensor, cues: Tensor | None = None) -> Tensor:
        rgb, fft = self.streams(image).values()
        if self.training and self.drop_fft:
            kept = torch.rand(len(fft), *[1] * (fft.dim() - 1), device=fft.device) >= self.drop_fft
            fft = fft * kept / (1 - self.drop_fft)
        return self.judge(rgb, fft, cues)  # (B,)


class _Head(nn.Linear):
    """Linear layer in the precision of its weights.

    In the eight bits of an autocast to bfloat16 many images would share one logit.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


def _check_channels(spectrum: Net, backbone: Net, name: str) -> None:
    """ValueError unless the backbone, an argument called `name`, reads what the spectrum gives."""
    if backbone.in_channels != spectrum.out_channels:
        raise ValueError(
            f"{type(spectrum).__name__} gives {spectrum.out_channels} channels, but "
            f"{name}={type(backbone).__name__} takes {backbone.in_channels}. Set "
            f"in_channels={spectrum.out_channels} in {name}'s init_args."
        )


def check_places(backbone: nn.Module) -> None:
    """ValueError for a backbone that does not give the features of each place."""
    if not isinstance(backbone, MapBackbone):
        raise ValueError(
            f"backbone={type(backbone).__name__} gives no features of places, which this net reads: a method "
            "maps(image) -> (B, num_features, h, w). Take dfd.models.TimmBackbone or SmallCNN."
        )


def linear_head(num_features: int) -> nn.Linear:
    head = _Head(num_features, 1)
    nn.init.normal_(head.weight, std=0.01)  # starts undecided: first loss .69 instead of timm's 8
    nn.init.zeros_(head.bias)
    return head
