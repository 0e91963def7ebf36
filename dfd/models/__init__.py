"""Nets in plain torch, usable in a notebook or in ONNX without a Trainer.

Each module is imported when one of its names is asked for: timm takes half a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.models.autoencoder import Autoencoder
    from dfd.models.backbones import EarlyLayers, TimmBackbone, TimmBlock
    from dfd.models.cnn import SmallCNN
    from dfd.models.cues import CueFusion
    from dfd.models.detectors import DualStream, SingleStream
    from dfd.models.ensemble import Ensemble
    from dfd.models.f3net import FAD, LFS
    from dfd.models.face_context import FaceContext
    from dfd.models.fusion import Concat, CrossAttention, Gate
    from dfd.models.gan import Discriminator, Generator
    from dfd.models.lora import LoRANet
    from dfd.models.mask_stream import MaskStream
    from dfd.models.mlp import MLP
    from dfd.models.net import Net, build, recipe
    from dfd.models.phase import PhaseSpectrum
    from dfd.models.protocols import Backbone, Fusion, MapBackbone, Spectrum, Streams
    from dfd.models.residuals import SRM, BayarConv
    from dfd.models.spectral import AzimuthalSpectrum, DCTSpectrum, LocalSpectrum, LogSpectrum

_HOMES = {
    "autoencoder": ("Autoencoder",),
    "backbones": ("EarlyLayers", "TimmBackbone", "TimmBlock"),
    "cnn": ("SmallCNN",),
    "cues": ("CueFusion",),
    "detectors": ("DualStream", "SingleStream"),
    "ensemble": ("Ensemble",),
    "f3net": ("FAD", "LFS"),
    "fusion": ("Concat", "CrossAttention", "Gate"),
    "gan": ("Discriminator", "Generator"),
    "lora": ("LoRANet",),
    "face_context": ("FaceContext",),
    "mask_stream": ("MaskStream",),
    "mlp": ("MLP",),
    "net": ("Net", "build", "recipe"),
    "phase": ("PhaseSpectrum",),
    "protocols": ("Backbone", "Fusion", "MapBackbone", "Spectrum", "Streams"),
    "residuals": ("SRM", "BayarConv"),
    "spectral": ("AzimuthalSpectrum", "DCTSpectrum", "LocalSpectrum", "LogSpectrum"),
}
__all__ = [
    "FAD",
    "LFS",
    "MLP",
    "SRM",
    "Autoencoder",
    "AzimuthalSpectrum",
    "Backbone",
    "BayarConv",
    "Concat",
    "CrossAttention",
    "CueFusion",
    "DCTSpectrum",
    "Discriminator",
    "DualStream",
    "EarlyLayers",
    "Ensemble",
    "FaceContext",
    "Fusion",
    "Gate",
    "Generator",
    "LoRANet",
    "LocalSpectrum",
    "LogSpectrum",
    "MapBackbone",
    "MaskStream",
    "Net",
    "PhaseSpectrum",
    "SingleStream",
    "SmallCNN",
    "Spectrum",
    "Streams",
    "TimmBackbone",
    "TimmBlock",
    "build",
    "recipe",
]


def __getattr__(name: str):
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"dfd.models.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
