"""Masked gradients and catastrophic overfitting: found where they are, and not in a plain net."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dfd.augment.attack import pixel_gradient
from dfd.callbacks.masking_stats import MaskingStats, find_signs


class Plain(nn.Module):
    """Sees a planted difference, red against blue, and a little texture, smoothly."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 16, 16, generator=draw))

    def forward(self, image):
        reddish = (image[:, 0] - image[:, 2]).mean((1, 2))
        return 40 * reddish + 0.5 * torch.tanh(((image - 0.5) * self.weight).flatten(1).sum(1) / 4)


class Rounded(Plain):
    """The same behind a front that rounds to 32 levels, whose gradient is exactly zero."""

    def forward(self, image):
        return super().forward((image * 31).round() / 31)


class Misleading(Plain):
    """The same behind steps that rise while they fall within: the gradient points the wrong way."""

    def forward(self, image):
        levels = image * 255 / 4
        whole = levels.detach().floor()
        return super().forward((whole - 0.02 * (levels - whole - 0.5)) * 4 / 255)


class Blind(Plain):
    def forward(self, image):
        return super().forward(image).detach()


def pictures(num=64):
    draw = torch.Generator().manual_seed(1)
    image = torch.randint(64, 192, (num, 3, 16, 16), generator=draw).float() / 255
    label = torch.arange(num) % 2
    image[:, 0] += 0.06 * (label[:, None, None] - 0.5)
    return image, label


def shares(net, eps=4):
    image, label = pictures()
    stats = MaskingStats(eps)
    with torch.inference_mode():  # as in Lightning's validation
        found = stats.measure(net.eval(), image, label, seed=0)
    return {name: float(each.double().mean()) for name, each in zip(stats.names, found, strict=True)}


def test_a_plain_net_shows_no_sign():
    share = shares(Plain())
    assert find_signs(share, 64) == []
    assert (
        share["noise"] > share["fgsm"] >= share["pgd"]
        and share["pgd_half"] > share["pgd"]
        and share["zero"] == 0
    )


@pytest.mark.parametrize(
    ("net", "said"),
    [(Rounded(), "exactly zero"), (Misleading(), "random changes")],
)
def test_masked_gradients_are_found(net, said):
    assert any(said in sign for sign in find_signs(shares(net), 64))


def test_a_stronger_attack_that_does_less_harm_is_a_sign():
    honest = {"fgsm": 0.5, "pgd": 0.4, "pgd_half": 0.6, "noise": 0.8, "zero": 0.0}
    assert find_signs(honest, 100) == []
    (one_step,) = find_signs({**honest, "fgsm": 0.3}, 100)
    (budget,) = find_signs({**honest, "pgd_half": 0.3}, 100)
    assert "FGSM" in one_step and "half of its budget" in budget
    # two pictures are chance
    assert find_signs({**honest, "fgsm": 0.381}, 100) == find_signs({**honest, "fgsm": 0.31}, 20) == []


def test_the_gradient_is_that_of_the_logit():
    net, (image, _) = Plain(), pictures(4)
    pixels = image.clone().requires_grad_()
    net(pixels).sum().backward()
    torch.testing.assert_close(pixel_gradient(net, image), pixels.grad)
    assert not pixel_gradient(Blind(), image).any()


def watched(*epochs, **options):
    """A callback that has reported accuracies (fgsm, pgd) of some epochs, its trainer, and what it logged."""
    stats, logged = MaskingStats(4, **options), []
    stats.log_dict = logged.append
    trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), should_stop=False, is_global_zero=True)
    for fgsm, pgd in epochs:
        share = {"fgsm": fgsm, "pgd": pgd, "pgd_half": 1.0, "noise": 1.0, "zero": 0.0, "fake": 0.5}
        stats.report(trainer, 100, {name: 100 * value for name, value in share.items()})
    return stats, trainer, [each["val/masking"] for each in logged]


@pytest.mark.usefixtures("messages_on_stderr")
def test_catastrophic_overfitting_is_said_and_stops_the_fit(capsys):
    stats, trainer, signs = watched((0.75, 0.7), (0.8, 0.72), (0.95, 0.1), stop=True)
    assert signs == [0, 0, 1] and trainer.should_stop
    (line,) = capsys.readouterr().err.splitlines()
    assert "catastrophic overfitting: accuracy under PGD fell from 0.720 to 0.100, while it is 0.950" in line
    assert not watched((0.8, 0.72), (0.95, 0.1))[1].should_stop
    resumed, trainer, _ = watched(stop=True)
    resumed.load_state_dict(stats.state_dict())
    share = {"fgsm": 95, "pgd": 10, "pgd_half": 100, "noise": 100, "zero": 0, "fake": 50}
    resumed.log_dict = lambda values: None
    resumed.report(trainer, 100, share)
    assert trainer.should_stop


def test_what_falls_for_every_attack_or_was_never_learnt_is_no_overfitting():
    assert watched((0.75, 0.7), (0.4, 0.3))[2] == [0, 0]
    # a net that answers alike to all is right in half, whatever the attack, and falls as it begins to learn
    assert watched((0.5, 0.5), (0.6, 0.2))[2] == [0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"eps": 0}, "255ths"), ({"eps": 1, "drop": 2}, "drop"), ({"eps": 1, "steps": 0}, "steps")],
)
def test_impossible_numbers_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        MaskingStats(**options)
