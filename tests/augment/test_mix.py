import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.augment import CutMix, MixUp
from dfd.models import SingleStream, SmallCNN
from dfd.tasks import ClassificationTask

MIXES = [MixUp(), MixUp(1.0), CutMix(), CutMix(0.2)]


def name(mix):
    return f"{type(mix).__name__}-{mix.alpha}"


def batch(num=8, height=24, width=30):
    """Pictures that are as bright as their label says, all over."""
    label = torch.arange(num) % 2
    image = (
        label.float()[:, None, None, None]
        .expand(num, 3, height, width)
        .contiguous(memory_format=torch.channels_last)
    )
    return {"image": image, "label": label, "row": torch.arange(num)}


@pytest.mark.parametrize("mix", MIXES, ids=name)
@given(num=st.integers(1, 9), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_label_is_the_share_of_fake_pixels(mix, num, height, width, seed):
    given_batch = batch(num, height, width)
    mixed = mix(given_batch, np.random.default_rng(seed))
    assert mixed["image"].dtype == mixed["label"].dtype == torch.float32
    assert mixed["image"].shape == (num, 3, height, width) and mixed["label"].shape == (num,)
    torch.testing.assert_close(mixed["image"].mean((1, 2, 3)), mixed["label"], atol=1e-4, rtol=0)
    assert mixed["label"].min() >= 0 and mixed["label"].max() <= 1 and mixed["row"] is given_batch["row"]
    torch.testing.assert_close(given_batch["label"], torch.arange(num) % 2)  # what came in is left as it was


@pytest.mark.parametrize("mix", MIXES, ids=name)
def test_a_mixture_depends_on_its_generator_alone(mix):
    one, same, other = (mix(batch(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    torch.manual_seed(1)
    assert torch.equal(one["image"], same["image"]) and torch.equal(one["label"], same["label"])
    assert not torch.equal(one["label"], other["label"])
    assert one["image"].is_contiguous(memory_format=torch.channels_last)  # what convolutions like


def test_mixup_lets_two_pictures_show_through_each_other():
    image = torch.rand(6, 3, 8, 8)
    mixed = MixUp(1.0)(
        {"image": image, "label": torch.arange(6).float(), "row": torch.arange(6)}, np.random.default_rng(3)
    )
    for at in range(6):
        fits = [
            (share * image[at] + (1 - share) * image[other] - mixed["image"][at]).abs().max() < 1e-5
            for other in range(6)
            if other != at
            for share in [(mixed["label"][at] - other) / (at - other)]
        ]
        assert any(fits) or torch.allclose(mixed["image"][at], image[at])


def test_cutmix_shows_a_box_of_another_picture():
    image = torch.arange(1.0, 7)[:, None, None, None].expand(6, 3, 40, 50)
    given_batch, boxes = {"image": image, "label": torch.zeros(6), "row": torch.arange(6)}, 0
    for seed in range(20):
        for at, picture in enumerate(CutMix()(given_batch, np.random.default_rng(seed))["image"]):
            foreign = (picture != at + 1).all(0)
            assert len(picture.unique()) <= 2
            rows, columns = foreign.any(1), foreign.any(0)
            assert torch.equal(foreign, rows[:, None] & columns)  # a box and nothing else
            assert not (rows.diff() & rows[1:]).sum() > 1 and not (columns.diff() & columns[1:]).sum() > 1
            boxes += bool(foreign.any())
    assert boxes > 60


@pytest.mark.parametrize("alpha", [0, -1.0, float("inf"), float("nan")])
def test_settings_that_mean_nothing_are_refused(alpha):
    for kind in (MixUp, CutMix):
        with pytest.raises(ValueError, match="alpha"):
            kind(alpha)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, (0.4, 3.0)])
def test_the_loss_of_a_mixed_label_is_the_mixed_loss(smoothing, weight):
    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(SmallCNN(width=8)), label_smoothing=smoothing)
    task.loss.class_weight = None if weight is None else torch.tensor(weight)
    logit, share = torch.randn(16), torch.rand(16)
    each = [[task.loss(logit[at : at + 1], torch.tensor([label])) for label in (0, 1)] for at in range(16)]
    expected = (
        sum((1 - part) * real + part * fake for part, (real, fake) in zip(share, each, strict=True)) / 16
    )
    torch.testing.assert_close(task.loss(logit, share), expected)
