"""dfd: train, judge and use detectors of deepfake images."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfd import _torchvision

if TYPE_CHECKING:
    from dfd.detector import Detector, load
    from dfd.inference import Predictor

__all__ = ["Detector", "Predictor", "__version__", "load"]
__version__ = "0.1.0"

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for news at import
_torchvision.install()  # before lightning, torchmetrics or timm are imported


def __getattr__(name: str) -> Any:
    """`load`, `Detector` and `Predictor`, imported when asked for: `dfd --help` needs none of them."""
    homes = {"Detector": "dfd.detector", "Predictor": "dfd.inference", "load": "dfd.detector"}
    if name not in homes:
        raise AttributeError(f"module 'dfd' has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)
