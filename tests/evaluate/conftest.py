from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from grid_shards import BAND, CALIBRATED, VIEW, samples

from dfd.calibration import Temperature
from dfd.detector import Card
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.shards.samples import write_samples


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
