"""Nets in plain torch, usable in a notebook or in ONNX without a Trainer.

Each module is imported when one of its names is asked for: timm takes half a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfd.models.backbones import EarlyLayers, TimmBackbone
    from dfd.models.cnn import SmallCNN
    from dfd.models.cues import CueFusion
    from dfd.models.detectors import DualStream, SingleStream
    from dfd.models.fusion import Concat, Gate
    from dfd.models.gan import Discriminator, Generator
    from dfd.models.net import Net, build, recipe
    from dfd.models.protocols import Backbone, Fusion, Spectrum, Streams
    from dfd.models.spectral import LocalSpectrum, LogSpectrum

_HOMES = {
    "backbones": ("EarlyLayers", "TimmBackbone"),
    "cnn": ("SmallCNN",),
    "cues": ("CueFusion",),
    "detectors": ("DualStream", "SingleStream"),
    "fusion": ("Concat", "Gate"),
    "gan": ("Discriminator", "Generator"),
    "net": ("Net", "build", "recipe"),
    "protocols": ("Backbone", "Fusion", "Spectrum", "Streams"),
    "spectral": ("LocalSpectrum", "LogSpectrum"),
}
__all__ = [
    "Backbone",
    "Concat",
    "CueFusion",
    "Discriminator",
    "DualStream",
    "EarlyLayers",
    "Fusion",
    "Gate",
    "Generator",
    "LocalSpectrum",
    "LogSpectrum",
    "Net",
    "SingleStream",
    "SmallCNN",
    "Spectrum",
    "Streams",
    "TimmBackbone",
    "build",
    "recipe",
]


def __getattr__(name: str):
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"dfd.models.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
