"""dfd: train, judge and use detectors of deepfake images."""

import os

from dfd import _torchmetrics, _torchvision

__version__ = "0.1.0"

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for news at import
_torchvision.install()  # before lightning, torchmetrics or timm are imported
_torchmetrics.install()
