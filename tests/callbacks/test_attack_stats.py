import math

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from dfd.augment import FGSM, PGD
from dfd.callbacks.attack_stats import AttackStats

EPS = 8


class Task(LightningModule):
    """As much of a dfd task as the callback asks for."""

    def __init__(self, lr=0.0):
        super().__init__()
        torch.manual_seed(0)
        features = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.2)
        self.net = nn.Sequential(*features, nn.Linear(4 * 36, 1), nn.Flatten(0))
        self.lr, self.history = lr, []

    @property
    def eval_net(self):
        return self.net

    def forward(self, image):
        return self.net(image)

    def training_step(self, batch, batch_idx):
        return binary_cross_entropy_with_logits(self.net(batch["image"]), batch["label"].float())

    def validation_step(self, batch, batch_idx): ...

    def on_train_epoch_end(self):
        self.history.append({name: float(value) for name, value in self.trainer.callback_metrics.items()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def batches(num=40, crops=None):
    """Sorted by label, as a split may be."""
    generator = torch.Generator().manual_seed(3)
    shape = (num, 3, 8, 8) if crops is None else (num, crops, 3, 8, 8)
    image = torch.randint(0, 256, shape, generator=generator).float() / 255
    label = (torch.arange(num) >= num // 2).long()
    return DataLoader(
        [{"image": image[i], "label": label[i], "row": i, "valid": True} for i in range(num)], batch_size=8
    )


def fit(task, *callbacks, epochs=1, val=None):
    torch.manual_seed(11)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), **quiet)
    trainer.fit(task, batches(16), val or batches())
    return trainer


def by_hand(task, image, label):
    task.eval()
    attacked = FGSM(EPS)(task.net, image, label)
    with torch.no_grad():
        before, after = ((task.net(pixels) > 0) == (label == 1) for pixels in (image, attacked))
    change = (attacked - image).double()
    (gradient,) = torch.autograd.grad(task.net(pixels := image.clone().requires_grad_()).sum(), pixels)
    return {
        "val/clean_acc": before.float().mean(),
        "val/robust_acc": after.float().mean(),
        "val/clean_gap": before.float().mean() - after.float().mean(),
        "val/attack_success_rate": (before & ~after).sum() / before.sum(),
        "val/attack_linf": change.abs().amax((1, 2, 3)).mean() * 255,
        "val/attack_l2": change.square().sum((1, 2, 3)).sqrt().mean(),
        "val/gradient_l2": gradient.square().sum((1, 2, 3)).sqrt().mean(),
    }


@pytest.mark.parametrize("crops", [None, 3])
def test_the_log_says_what_the_attack_did(crops):
    task, val = Task(), batches(crops=crops)
    fit(task, AttackStats(FGSM(EPS), num_images=40), val=val)
    image, label = (torch.cat([batch[name] for batch in val]) for name in ("image", "label"))
    expected = by_hand(task, image if crops is None else image[:, -1], label)
    logged = task.history[0]
    assert logged == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)
    assert 0 < logged["val/attack_success_rate"] < 1 and logged["val/attack_linf"] == pytest.approx(EPS)


def test_a_part_of_a_sorted_split_still_holds_both_labels():
    seen = []

    def watch(net, image, label, seed=None):
        seen.append(label.tolist())
        return image

    task = Task()
    fit(task, AttackStats(watch, num_images=16), epochs=2)
    assert len(seen) == 4 and seen[:2] == seen[2:]  # the same two of five batches, both times
    assert {label for labels in seen for label in labels} == {0, 1}
    logged = task.history[0]
    assert logged["val/robust_acc"] == logged["val/clean_acc"]
    assert logged["val/attack_success_rate"] == logged["val/attack_linf"] == logged["val/attack_l2"] == 0


def test_the_same_net_gets_the_same_figures():
    task = Task()
    fit(task, AttackStats(PGD(EPS, steps=2)), epochs=2)
    assert task.history[0] == task.history[1]


def test_training_does_not_feel_it():
    watched, alone = Task(lr=0.1), Task(lr=0.1)
    fit(watched, AttackStats(PGD(EPS, steps=2)), epochs=2)
    fit(alone, epochs=2)
    assert all(
        torch.equal(one, two) for one, two in zip(watched.parameters(), alone.parameters(), strict=True)
    )


def test_attacks_every_nth_epoch_and_whenever_validating():
    seen = []

    def watch(net, image, label, seed=None):
        seen.append(net)
        return image

    stats, task = AttackStats(watch, num_images=1, every_n_epochs=3), Task()
    trainer = fit(task, stats, epochs=7)
    assert len(seen) == 2
    trainer.validate(task, batches(), verbose=False)
    assert len(seen) == 3


def test_a_net_that_is_never_right_has_no_success_rate():
    task = Task()
    with torch.no_grad():
        task.net[4].bias += 100
    real = DataLoader(
        [{"image": torch.rand(3, 8, 8), "label": 0, "row": i, "valid": True} for i in range(4)], batch_size=4
    )
    trainer = Trainer(
        accelerator="cpu", callbacks=[AttackStats(FGSM(1))], logger=False, enable_progress_bar=False
    )
    logged = trainer.validate(task, real, verbose=False)[0]
    assert logged["val/clean_acc"] == 0 and math.isnan(logged["val/attack_success_rate"])
