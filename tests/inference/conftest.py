import io

import numpy as np
import pytest
import torch
from PIL import Image

from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe

VIEW = View(size=64, crops=5, longest=256, margin=1.35)
BAND = {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3}


@pytest.fixture(scope="session")
def save(tmp_path_factory):
    """Writes a checkpoint as `dfd fit` lays it out, and returns its path; words change its facts."""

    def write(**changes):
        torch.manual_seed(0)
        net = SingleStream(SmallCNN(width=8))
        torch.nn.init.normal_(net.head.weight, std=2.0)  # a fresh head says .5 of everything
        facts = {
            "version": "0",
            "net": recipe(net),
            "view": dict(vars(VIEW)),
            "calibration": {"kind": "temperature", "temperature": 1.7},
            "thresholds": BAND,
            "calibrated_on": {"split": "val", "images": 300, "groups": 120},
            "selected_on": "val/auroc",
            **changes,
        }
        path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
        torch.save(
            {"dfd": facts, "state_dict": {f"net.{name}": value for name, value in net.state_dict().items()}},
            path,
        )
        return path

    return write


@pytest.fixture(scope="session")
def checkpoint(save):
    return save()


@pytest.fixture(autouse=True)
def no_weights_from_elsewhere(monkeypatch):
    """A variable or an extra of this machine must not decide what a test sees."""
    import dfd.media.faces

    monkeypatch.delenv("DFD_YUNET", raising=False)
    monkeypatch.setattr(dfd.media.faces, "PACKAGE", "no-such-package")


@pytest.fixture(scope="session")
def yunet(real_weights):
    return real_weights / "yunet_n_640_640.onnx"


@pytest.fixture(scope="session")
def faces_140k(real_data):
    return sorted((real_data / "140k-real-and-fake-faces").rglob("*.jpg"))


@pytest.fixture(scope="session")
def noise():
    """Pixels with some structure: (height, width, seed) -> (height, width, 3) uint8."""

    def draw(height, width, seed=0):
        rough = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))

    return draw


@pytest.fixture(scope="session")
def encoded():
    """Pixels as the bytes of a file."""

    def encode(image, kind="PNG", **options):
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind, **options)
        return file.getvalue()

    return encode
