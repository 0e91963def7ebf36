"""Losses against second implementations in numpy, in plain loops."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from dfd.models import SingleStream, SmallCNN
from dfd.tasks import (
    AlignmentUniformity,
    BinaryCrossEntropy,
    ClassificationTask,
    Focal,
    SupervisedContrastive,
)

RNG = np.random.default_rng(0)
LOGIT, LABEL = RNG.normal(size=8) * 3, np.array([0, 1, 0, 1, 1, 0, 0, 1])
FEATURES = RNG.normal(size=(8, 5))
ROW = np.array([3, 3, 4, 4, 5, 6, 7, 7])  # of 5 and 6 the counterpart is not there


def torched(*arrays):
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def cross_entropy(logit, label):
    prob = 1 / (1 + np.exp(-logit))
    return np.mean([-math.log(p if y else 1 - p) for p, y in zip(prob, label, strict=True)])


def sphere(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, None), (0.5, 0.25), (0.0, None)])
def test_focal_loss(gamma, alpha):
    expected = []
    for logit, label in zip(LOGIT, LABEL, strict=True):
        prob = 1 / (1 + math.exp(-logit))
        true = prob if label else 1 - prob
        weight = 1 if alpha is None else (alpha if label else 1 - alpha)
        expected.append(-weight * (1 - true) ** gamma * math.log(true))
    loss = Focal(gamma, alpha)
    assert float(loss(*torched(LOGIT, LABEL))) == pytest.approx(np.mean(expected))
    if not gamma:
        assert np.mean(expected) == pytest.approx(cross_entropy(LOGIT, LABEL))
    half = torch.full((8,), 0.5, dtype=torch.float64)
    both = [float(loss(torch.from_numpy(LOGIT), torch.full((8,), label))) for label in (0, 1)]
    assert float(loss(torch.from_numpy(LOGIT), half)) == pytest.approx(np.mean(both))


def test_focal_loss_stays_finite_and_weighs_classes():
    loss = Focal()
    logit = torch.tensor([200.0, -200.0], requires_grad=True)
    for label in ([0, 1], [1, 0]):
        loss(logit, torch.tensor(label)).backward()
        assert logit.grad.isfinite().all()
    loss.balance(1, 3, torch.device("cpu"))
    logit, label = torch.tensor([0.0, 0.0, 0.0, 0.0]), torch.tensor([0, 1, 1, 1])
    each = 0.25 * math.log(2)
    assert float(loss(logit, label)) == pytest.approx((2 * each + 3 * each * 2 / 3) / 4)


def contrast(features, label, temperature):
    """Khosla et al., equation 2, anchors without another of their class left out."""
    unit, losses = sphere(features), []
    for i in range(len(unit)):
        others = [a for a in range(len(unit)) if a != i]
        alike = [p for p in others if label[p] == label[i]]
        total = sum(math.exp(unit[i] @ unit[a] / temperature) for a in others)
        shares = [math.log(math.exp(unit[i] @ unit[p] / temperature) / total) for p in alike]
        if alike:
            losses.append(-sum(shares) / len(alike))
    return np.mean(losses)


def align_uniform(features, label, uniformity, t):
    unit = sphere(features)
    pairs = [(i, j) for i in range(len(unit)) for j in range(i)]
    squared = {(i, j): np.sum((unit[i] - unit[j]) ** 2) for i, j in pairs}
    alignment = np.mean([squared[i, j] for i, j in pairs if label[i] == label[j]])
    return alignment + uniformity * math.log(np.mean([math.exp(-t * each) for each in squared.values()]))


LOSSES = {
    "contrast": (SupervisedContrastive(weight=0.7, temperature=0.3), lambda f, y: 0.7 * contrast(f, y, 0.3)),
    "alignment": (
        AlignmentUniformity(weight=0.7, uniformity=0.4, t=1.5),
        lambda f, y: 0.7 * align_uniform(f, y, 0.4, 1.5),
    ),
}


@pytest.mark.parametrize(("loss", "second"), LOSSES.values(), ids=LOSSES.keys())
def test_losses_on_features(loss, second):
    assert loss.needs_features
    given = torched(LOGIT, LABEL, FEATURES, ROW)
    given[2].requires_grad_()
    plain = cross_entropy(LOGIT, LABEL)
    found = loss(*given)
    assert float(found.detach()) == pytest.approx(plain + second(FEATURES, LABEL), rel=1e-5)
    found.backward()
    assert given[2].grad.isfinite().all() and given[2].grad.any()
    # of pictures with their counterparts alone
    loss.pairs_only = True
    kept = [0, 1, 2, 3, 6, 7]
    assert float(loss(*given).detach()) == pytest.approx(
        plain + second(FEATURES[kept], LABEL[kept]), rel=1e-5
    )
    alone = loss(*(each[4:6] for each in given))
    given[2].grad = None
    alone.backward()
    assert float(alone.detach()) == pytest.approx(cross_entropy(LOGIT[4:6], LABEL[4:6]))
    assert given[2].grad.isfinite().all(), "no pair at all leaves no NaN"
    loss.pairs_only = False


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, row):
        noise = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(row))
        return {"image": noise, "label": row % 2, "row": row // 2, "valid": True}


def test_a_task_hands_over_what_its_head_is_given():
    class Seen(SupervisedContrastive):
        def forward(self, logit, label, features, row):
            self.head_gives = torch.equal(task.net.head(features).squeeze(1), logit)
            self.rows = row.tolist()
            return super().forward(logit, label, features, row)

    loss = Seen(pairs_only=True)
    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(SmallCNN(4)), loss=loss, class_weight=None, familiarity=False)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_steps=1, accelerator="cpu", limit_val_batches=0, enable_model_summary=False, **options
    )
    trainer.fit(task, DataLoader(Pictures(), batch_size=8))
    assert loss.head_gives and loss.rows == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Focal(-1), "gamma=-1"),
        (lambda: Focal(alpha=1.0), r"alpha=1.0 .* outside \(0, 1\)"),
        (lambda: SupervisedContrastive(temperature=0), "temperature=0"),
        (lambda: SupervisedContrastive(weight=0), "weight=0"),
        (lambda: AlignmentUniformity(t=0), "t=0"),
        (
            lambda: ClassificationTask(
                SingleStream(SmallCNN(4)), loss=torch.nn.L1Loss(), class_weight="balanced"
            ),
            "model.loss=L1Loss weighs no classes",
        ),
        (
            lambda: ClassificationTask(
                SingleStream(SmallCNN(4)), loss=BinaryCrossEntropy(), label_smoothing=0.1
            ),
            "model.label_smoothing",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
