from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dfd.batch import FAKE, REAL
from dfd.callbacks import FrechetDistance
from dfd.callbacks.frechet import FEWEST, frechet_distance


@pytest.mark.parametrize(("num", "others", "features"), [(40, 60, 12), (20, 17, 64), (200, 200, 8)])
def test_the_distance_is_that_of_the_formula(num, others, features):
    """Against a matrix root, which more features than pictures make singular."""
    rng = np.random.default_rng(0)
    a, b = (
        rng.normal(size=(num, features)) * 2,
        rng.normal(size=(others, features)) @ rng.normal(size=(features, features)) + 1,
    )
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(cov_a @ cov_b)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-4)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_a_set_is_at_no_distance_from_itself_and_a_moved_one_as_far_as_it_moved():
    a = np.random.default_rng(0).normal(size=(50, 10))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a[::-1] + 3) == pytest.approx(10 * 9)


def batch_of(image, label):
    return {"image": image, "label": label, "valid": torch.ones(len(label), dtype=torch.bool)}


class Painter:
    """A task whose pictures are the latent's mean: gray."""

    device, net = torch.device("cpu"), SimpleNamespace(latent=4)

    def __init__(self):
        self.logged = {}

    def samples(self, latent):
        return (latent.mean(1).sigmoid())[:, None, None, None].expand(-1, 3, 64, 64)

    def log_dict(self, found):
        self.logged |= found


@pytest.fixture
def callback(real_weights):
    return FrechetDistance("mobilenetv2_100", str(real_weights / "mobilenetv2_100.fp16.safetensors"), size=64)


TRAINER = SimpleNamespace(sanity_checking=False, world_size=1, global_rank=0)


def judged(callback, image, label):
    task = Painter()
    callback.on_validation_start(TRAINER, task)
    for at in range(0, len(image), 10):
        callback.on_validation_batch_end(
            TRAINER, task, None, batch_of(image[at : at + 10], label[at : at + 10]), 0
        )
    callback.on_validation_epoch_end(TRAINER, task)
    return task.logged


def test_it_compares_with_the_reals_alone_and_says_how_many_there_were(callback):
    latent = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    real = Painter().samples(latent)[:, None]  # as evaluation shows it: one crop
    label = torch.tensor([REAL, FAKE] * 40)
    image = torch.rand(80, 1, 3, 64, 64)
    image[label == REAL] = real
    found = judged(callback, image, label)
    assert found == {"val/frechet_mobilenetv2_100": pytest.approx(0, abs=1e-6), "val/frechet_images": 40}
    image[label == REAL] = torch.rand_like(real)
    assert judged(callback, image, label)["val/frechet_mobilenetv2_100"] > 1


def test_too_few_reals_are_refused(callback):
    with pytest.raises(ValueError, match=f"showed 4 reals.*takes {FEWEST} or more"):
        judged(callback, torch.rand(8, 1, 3, 64, 64), torch.tensor([REAL, FAKE] * 4))


def test_it_asks_for_trained_weights():
    with pytest.raises(ValueError, match="needs pretrained weights"):
        FrechetDistance("mobilenetv2_100", pretrained=False)
    with pytest.raises(ValueError, match="there is no such file"):
        FrechetDistance("mobilenetv2_100", pretrained="nowhere.safetensors")
