"""A gate of 140K's faces on real pictures: three sources that it must refuse, and deliveries that it must not."""

import numpy as np
import pytest
import torch

from dfd.augment import Augment, corrupt
from dfd.familiarity import UNFAMILIAR, Familiarity, Features, Home
from dfd.familiarity.alarm import strange_sources
from dfd.media.crops import View
from dfd.media.decode import decode
from dfd.models import EarlyLayers, TimmBackbone

pytestmark = pytest.mark.slow
FACES = "140k-real-and-fake-faces/real_vs_fake/real-vs-fake"
STRANGE = {
    "manjilkarki": "deepfake-and-real-images/Dataset/Test/*/*",
    "dagnelies": "deepfake-faces/faces_224/*",
    "casia": "casia1/*/*",
}


def pictures(folder, pattern, num):
    """As many of each folder that the pattern finds, so of each class."""
    found = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = np.random.default_rng(0).permutation(len(found))[:num]
    assert len(chosen) == num, f"{folder}/{pattern}"
    return [found[number] for number in sorted(chosen.tolist())]


@pytest.fixture(scope="module")
def measure(real_weights):
    weights = real_weights / "mobilenetv2_100.fp16.safetensors"
    features = Features(EarlyLayers.of(TimmBackbone("mobilenetv2_100", pretrained=str(weights))))
    view = View()

    def tensor(images):
        crops = np.stack([view.eval_crops(image)[-1] for image in images])
        return torch.from_numpy(crops).movedim(-1, 1).float() / 255

    return features, tensor


@pytest.fixture(scope="module")
def gate(real_data, measure):
    features, tensor = measure
    deliver = Augment("delivery", p=1.0)
    homes = []
    for split, num in {"train": 300, "valid": 240}.items():
        paths = pictures(real_data, f"{FACES}/{split}/*/*", num)
        images = [decode(path.read_bytes()) for path in paths]
        sent = [
            deliver({"image": image}, np.random.default_rng(at))["image"] for at, image in enumerate(images)
        ]
        measured = [features(tensor(each)) for each in (images, sent)]
        stacked = {name: torch.stack([part[name] for part in measured], 1).numpy() for name in measured[0]}
        label = np.array([path.parent.name == "fake" for path in paths], int)
        homes.append(Home(stacked, np.full(num, "140k"), label))
    return Familiarity.fit(features, *homes)


def ranks(gate, measure, paths, change=None):
    images = [decode(path.read_bytes()) for path in paths]
    images = [change(image) for image in images] if change else images
    return gate.rank(gate.distance(measure[1](images)))


@pytest.mark.parametrize("name", ["clean", "jpeg", "delivery"])
def test_home_is_let_through_after_a_delivery(gate, measure, real_data, name):
    paths = pictures(real_data, f"{FACES}/test/*/*", 120)
    change = None if name == "clean" else lambda image: corrupt(image, name, 75)
    found = ranks(gate, measure, paths, change)
    assert (found >= UNFAMILIAR).mean() >= 0.9
    assert strange_sources(gate, found, np.full(len(found), "home")) == {}


@pytest.mark.parametrize("name", STRANGE)
def test_another_world_is_refused(gate, measure, real_data, name):
    num = 60 if name != "casia" else 40
    found = ranks(gate, measure, pictures(real_data, STRANGE[name], num))
    assert (found >= UNFAMILIAR).mean() <= (0.1 if name == "casia" else 0.65)
    rng = np.random.default_rng(0)
    for _ in range(20):
        folder = rng.choice(found, 20, replace=False)
        assert strange_sources(gate, folder, np.full(20, name))
