import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dfd.augment import FGSM, PGD, FastFGSM

EPS = 4
ATTACKS = [
    FGSM(EPS),
    PGD(EPS, steps=5),
    PGD(EPS, steps=3, restarts=2),
    PGD(2.5, steps=3),
    PGD(0.5, steps=3, quantize=False),
    FastFGSM(EPS),
]


class Net(nn.Module):
    """Wavy enough that one step is not the best, with the layers that an attack could disturb."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.SiLU()
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 1))
        self.features[0].eval()  # a layer that its owner holds still

    def forward(self, image):
        return self.head(self.features(8 * image).mean((2, 3))).squeeze(1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    net(torch.rand(8, 3, 16, 16))  # running statistics that are not the initial ones
    return net


@pytest.fixture
def batch():
    torch.manual_seed(1)
    image = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8).float() / 255
    image[0], image[1] = 0, 1  # nowhere to go in one direction
    return image, torch.arange(12) % 2


def loss(net, image, label):
    with torch.no_grad():
        return binary_cross_entropy_with_logits(
            copy.deepcopy(net).eval()(image), label.float(), reduction="none"
        )


@pytest.mark.parametrize("attack", ATTACKS)
def test_within_the_budget_and_on_the_levels_of_a_file(attack, net, batch):
    image, label = batch
    attacked = attack(net, image, label)
    assert attacked.shape == image.shape and attacked.dtype == image.dtype
    assert attacked.min() >= 0 and attacked.max() <= 1
    if attack.quantize:
        levels = (attacked.double() * 255).round()
        assert torch.equal((levels / 255).float(), attacked)
        assert (levels - (image.double() * 255).round()).abs().max() <= attack.eps
    assert (attacked - image).abs().max() * 255 <= attack.eps + 1e-4
    assert loss(net, attacked, label).mean() > loss(net, image, label).mean()


def test_fgsm_is_the_sign_of_the_losses_gradient(net, batch):
    image, label = batch
    pixels = image.clone().requires_grad_()
    frozen = copy.deepcopy(net).eval()
    binary_cross_entropy_with_logits(frozen(pixels), label.float()).backward()
    expected = (image + EPS / 255 * pixels.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(FGSM(EPS, quantize=False)(net, image, label), expected)


def test_the_fast_step_is_the_papers(net, batch):
    """A start in the cube, 1.25 eps along the sign, and back into the cube and the range of pixels."""
    image, label = batch
    frozen = copy.deepcopy(net).eval()
    start = torch.rand(image.shape, generator=torch.Generator().manual_seed(3))
    delta = (EPS / 255 * (2 * start - 1)).clamp(-image, 1 - image).requires_grad_()
    binary_cross_entropy_with_logits(frozen(image + delta), label.float()).backward()
    moved = (delta + 1.25 * EPS / 255 * delta.grad.sign()).clamp(-EPS / 255, EPS / 255)
    expected = (image + moved.clamp(-image, 1 - image)).detach()
    torch.testing.assert_close(FastFGSM(EPS, quantize=False)(net, image, label, seed=3), expected)


def test_a_share_of_a_budget_is_kept_and_not_rounded_away(net, batch):
    image, label = batch
    for attack in (FGSM(2), FastFGSM(2), PGD(2, steps=3)):
        weaker = attack.scaled(0.25)
        change = (weaker(net, image, label, seed=0) - image).abs() * 255
        assert 0.4 < change.max() <= 0.5 + 1e-4 and attack.eps == 2 and attack.quantize


def test_a_mixed_label_counts_as_the_nearer_one(net, batch):
    image, label = batch
    mixed = torch.where(label == 1, 0.7, 0.3)
    assert torch.equal(FGSM(EPS)(net, image, mixed), FGSM(EPS)(net, image, label))


def test_pgd_does_more_harm_than_fgsm_and_restarts_more_still(net, batch):
    image, label = batch
    harm = [
        loss(net, attack(net, image, label, seed=0), label).mean()
        for attack in (FGSM(16), PGD(16, steps=20), PGD(16, steps=20, restarts=3))
    ]
    assert harm[1] > harm[0] and harm[2] >= harm[1]


def test_restarts_keep_the_worst_of_each_image(net, batch):
    image, label = batch
    torch.manual_seed(5)
    runs = [loss(net, PGD(EPS, steps=1)(net, image, label), label) for _ in range(4)]
    torch.manual_seed(5)
    worst = loss(net, PGD(EPS, steps=1, restarts=4)(net, image, label), label)
    torch.testing.assert_close(worst, torch.stack(runs).amax(0))
    # or the choice was never put to the test
    assert len({int(index) for index in torch.stack(runs).argmax(0)}) > 1


def test_a_saturated_net_is_no_shelter(net, batch):
    """Its sigmoid is exactly 0 or 1, so the loss has no gradient; the attack must still find the way."""
    image, _ = batch
    net.head[1].weight.data *= 1e4
    label = (copy.deepcopy(net).eval()(image) > 0).long()  # right, and sure
    pixels = image.clone().requires_grad_()
    binary_cross_entropy_with_logits(copy.deepcopy(net).eval()(pixels).double(), label.double()).backward()
    moved = (FGSM(EPS)(net, image, label) - image).abs().flatten(1).mean(1)
    assert (moved > 1 / 255).all()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("training", [True, False])
def test_the_net_is_left_as_it_was(attack, training, net, batch):
    net.train(training)
    net.features[0].eval()
    net.head[1].weight.requires_grad_(False)
    for index, weight in enumerate(net.parameters()):
        weight.grad = torch.full_like(weight, index) if index % 2 else None
    before, gradients = copy.deepcopy(net), [weight.grad for weight in net.parameters()]
    attack(net, *batch)
    for (name, now), then in zip(net.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(now, then), name
    for index, (now, then, gradient) in enumerate(
        zip(net.parameters(), before.parameters(), gradients, strict=True)
    ):
        assert now.requires_grad == then.requires_grad and now.grad is gradient
        assert gradient is None or (gradient == index).all()
    assert [module.training for module in net.modules()] == [module.training for module in before.modules()]


def test_modes_come_back_after_a_failure(net):
    with pytest.raises(RuntimeError):
        FGSM(EPS)(net, torch.rand(2, 5, 16, 16), torch.tensor([0, 1]))
    assert net.training and net.head[0].training and torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_works_where_lightning_validates(mode, net, batch):
    with mode():
        image, label = batch[0].clone(), batch[1].clone()
        inside = PGD(EPS, steps=3)(net, image, label, seed=3)
        net.eval()(inside)
    assert torch.equal(inside, PGD(EPS, steps=3)(net, *batch, seed=3))


def test_a_seed_decides_and_spares_the_global_generator(net, batch):
    torch.manual_seed(9)
    one, two, other = (PGD(EPS, steps=2, restarts=2)(net, *batch, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    after = torch.rand(3)
    torch.manual_seed(9)
    assert torch.equal(after, torch.rand(3))
    torch.manual_seed(9)
    unseeded = PGD(EPS, steps=2)(net, *batch)
    torch.manual_seed(9)
    assert torch.equal(unseeded, PGD(EPS, steps=2)(net, *batch))


def test_training_under_autocast_gets_its_gradients_after_an_attack(net, batch):
    image, label = batch
    with torch.autocast("cpu", torch.bfloat16):
        attacked = PGD(EPS, steps=1, restarts=2)(net, image, label)
        binary_cross_entropy_with_logits(net(attacked).float(), label.float()).backward()
    assert attacked.dtype == torch.float32
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.head.parameters())
    assert net.features[3].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FGSM(4 / 255), "255ths"),
        (lambda: PGD(0), "eps"),
        (lambda: PGD(4, steps=0), "steps"),
        (lambda: PGD(4, restarts=0), "restarts"),
        (lambda: PGD(4, step_size=-1), "step_size"),
    ],
)
def test_impossible_budgets_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_budget_written_as_a_share_is_told_from_one_below_a_level():
    for eps, meant in ((4 / 255, 4), (0.0157, 4), (8 / 255, 8), (1 / 255, 1)):
        with pytest.raises(ValueError, match=rf"is {meant}/255, and budgets count 255ths: use eps={meant}\."):
            PGD(eps, quantize=False)
    for eps in (0.25, 0.5, 0.1, 0.05, 0.0005):
        PGD(eps, quantize=False)
