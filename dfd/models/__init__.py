"""Nets in plain torch: usable in a notebook or in ONNX without a Trainer."""

from dfd.models.backbones import TimmBackbone
from dfd.models.checkpoint import Net, build, load_net, recipe
from dfd.models.cnn import SmallCNN
from dfd.models.detectors import DualStream, SingleStream
from dfd.models.gan import Discriminator, Generator
from dfd.models.spectral import LocalSpectrum, LogSpectrum

__all__ = [
    "Discriminator",
    "DualStream",
    "Generator",
    "LocalSpectrum",
    "LogSpectrum",
    "Net",
    "SingleStream",
    "SmallCNN",
    "TimmBackbone",
    "build",
    "load_net",
    "recipe",
]
