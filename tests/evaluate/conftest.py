import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfd.calibration import Temperature
from dfd.detector import Card
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.shards.samples import NewSample, write_samples

VIEW = dict(vars(View(size=32, crops=5, longest=64, margin=1.35)))
BAND = {"balanced": 1.98, "fpr5": 2.06, "fnr5": 1.92}
CALIBRATED = {"split": "val", "images": 300, "groups": 120, "data": "faces"}


def pixels(rng: np.random.Generator, label: int, size: tuple[int, int] = (40, 48)) -> bytes:
    """A noisy picture, brighter where it is fake."""
    image = rng.integers(0, 200, (*size, 3)) + 20 * label
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def samples(seed: int = 0, num: int = 24, flip: bool = False) -> list[NewSample]:
    """`num` pictures of two sources, in families of two and clips of three, half of them fake by two methods."""
    rng, made = np.random.default_rng(seed), []
    for at in range(num):
        label = at // 6 % 2
        source = ("cam", "phone")[at // 12 % 2]
        data = pixels(rng, label)
        shown = 1 - label if flip else label
        made.append(
            NewSample(
                key=f"images/{source}{at // 3}/{at:04d}",
                image_bytes=data,
                label=shown,
                split="test",
                source=source,
                method=("", ("swap", "gan")[at // 3 % 2])[shown],
                groups=(f"{source}{at // 2}",),
            )
        )
    return made


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """Finished shards of 24 pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("roots") / "lab"
    write_samples(samples(), folder, {"what": "test"})
    return folder


@pytest.fixture(scope="session")
def other_root(tmp_path_factory) -> Path:
    """The same, of other pictures."""
    folder = tmp_path_factory.mktemp("roots") / "street"
    write_samples(samples(seed=1), folder, {"what": "test"})
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Callable[..., Path]:
    """Makes NAME.ckpt of a net that is drawn from a seed."""

    def make(name: str = "mine", seed: int = 0, **facts) -> Path:
        torch.manual_seed(seed)
        net = SingleStream(SmallCNN(width=8))
        torch.nn.init.normal_(net.head.weight, std=100.0)  # a fresh head says .5 of everything
        facts = {"view": VIEW, "thresholds": BAND, "calibrated_on": CALIBRATED, "seen": {}} | facts
        card = Card(recipe(net), calibration=Temperature(1.7), selected_on="val/auroc", **facts)
        state = {f"{card.weights_in}{key}": value for key, value in net.state_dict().items()}
        path = tmp_path / f"{name}.ckpt"
        torch.save({"dfd": card.to_plain(), "state_dict": state}, path)
        return path

    return make
