import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from dfd.augment import FGSM, PGD
from dfd.models import SingleStream, SmallCNN
from dfd.tasks.adversarial import AdversarialTask


class Spy:
    """An attack that paints its pictures white and remembers what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, net, image, label, seed=None):
        self.calls.append((net, image.clone(), label.clone()))
        return torch.ones_like(image)


def batch(num=8):
    torch.manual_seed(2)
    image = torch.randint(0, 256, (num, 3, 32, 32)).float() / 255
    return {
        "image": image,
        "label": torch.arange(num) % 2,
        "row": torch.arange(num),
        "valid": torch.ones(num, dtype=torch.bool),
    }


def task(attack, **options):
    torch.manual_seed(0)
    return AdversarialTask(SingleStream(SmallCNN(width=8), dropout=0.0), attack, **options)


def step(task, given):
    task.log = lambda *args, **options: None
    return task.training_step(given, 0)


@pytest.mark.parametrize(("mix", "num_attacked"), [(0.5, 4), (0.01, 1), (1.0, 8)])
def test_a_share_of_each_batch_is_attacked_and_all_of_it_is_learned(mix, num_attacked):
    spy, given = Spy(), batch()
    trained = task(spy, mix=mix)
    loss = step(trained, given)
    (net, image, label), = spy.calls  # fmt: skip
    assert net is trained.net
    torch.testing.assert_close(image, given["image"][:num_attacked])
    assert torch.equal(label, given["label"][:num_attacked])
    mixed = torch.cat([torch.ones_like(image), given["image"][num_attacked:]])
    again = task(spy)
    torch.testing.assert_close(loss, again.loss(again.net(mixed), given["label"]))


def test_only_the_mixed_batch_leaves_gradients_and_statistics():
    trained, given = task(PGD(8, steps=2)), batch()
    torch.manual_seed(4)
    attacked = PGD(8, steps=2)(trained.net, given["image"][:4], given["label"][:4])
    torch.manual_seed(4)
    step(trained, given).backward()
    plain = task(PGD(8))
    plain.loss(plain.net(torch.cat([attacked, given["image"][4:]])), given["label"]).backward()
    for (name, one), two in zip(trained.net.named_parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad), name
    for (name, one), two in zip(trained.net.named_buffers(), plain.net.buffers(), strict=True):
        assert torch.equal(one, two), name
    assert trained.net.training


def test_it_fits_under_the_trainer():
    data = DataLoader(
        batch(16)["image"], batch_size=8, collate_fn=lambda images: {**batch(), "image": torch.stack(images)}
    )
    trained = task(FGSM(4))
    before = {name: value.clone() for name, value in trained.net.named_parameters()}
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(trained, data)
    assert any(not torch.equal(before[name], value) for name, value in trained.net.named_parameters())
    assert all(torch.isfinite(value).all() for value in trained.net.state_dict().values())


@pytest.mark.parametrize("mix", [0, 1.5])
def test_an_impossible_mix_is_refused(mix):
    with pytest.raises(ValueError, match="mix"):
        task(FGSM(4), mix=mix)
