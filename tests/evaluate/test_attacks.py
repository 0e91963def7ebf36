"""Attacks on pictures: against closed forms, on the files' levels, and from other nets."""

import copy
import logging

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from dfd.augment import APGD, FGSM, PGD, Square
from dfd.batch import FAKE, REAL, Predictions
from dfd.detector import Card, Detector
from dfd.evaluate.attack_conditions import EPS, PictureAttack, parse_attack
from dfd.evaluate.attacks import PictureNet, attack_pictures, pick
from dfd.evaluate.gradient_masking import find_masking
from dfd.media.crops import View
from dfd.metrics import detection_metrics

SIZE = 32
VIEWS = [
    View(SIZE, 5, 64),
    View(SIZE, 9, None),
    View(SIZE, 1, 40),
    View(SIZE, 5, 48, resize=True),
    View(SIZE, 5, None, resize=True),
]


class Linear(nn.Module):
    """A logit that is linear in the pixels: what an attack reaches is known."""

    def __init__(self, seed=0, size=SIZE):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, size, size, generator=draw))

    def forward(self, image, cues=None):
        return ((image - 0.5) * self.weight).flatten(1).sum(1)


class Smooth(Linear):
    """Not linear: it sees the pictures' planted difference, red against blue, and a little else."""

    def forward(self, image, cues=None):
        reddish = (image[:, 0] - image[:, 2]).mean((1, 2))
        return 60 * reddish + 0.2 * torch.tanh(super().forward(image) / 20)


class Rounded(Smooth):
    """The same behind a front that rounds to 32 levels, whose gradient is exactly zero."""

    def forward(self, image, cues=None):
        return super().forward((image * 31).round() / 31)


class Saturated(Smooth):
    """The same behind a front of steps so steep that their slope is next to nothing between two levels."""

    def forward(self, image, cues=None):
        levels = image * 255 / 8
        whole = levels.detach().floor()
        part = levels - whole
        # a misleading slope: it falls within each step, while the steps rise
        return super().forward((whole - 0.02 * (part - 0.5)) * 8 / 255)


class NoGradients(Smooth):
    def forward(self, image, cues=None):
        with torch.no_grad():
            return super().forward(image)


def detector(net, view=VIEWS[0], balanced=0.0, batch_size=32):
    card = Card(
        {}, view={"size": view.size, "crops": view.crops, "longest": view.longest, "resize": view.resize}
    )
    card.thresholds = {**card.thresholds, "balanced": balanced}
    return Detector(net, card, batch_size=batch_size)


def pictures(num=24, height=56, width=48, strength=3):
    """Noise around grey; fakes are a little red, reals a little blue."""
    rng = np.random.default_rng(0)
    label = np.arange(num) % 2
    found = []
    for kind in label:
        picture = rng.integers(60, 196, (height, width, 3))
        picture[..., 0] += strength * (1 if kind == FAKE else -1)
        found.append(picture.astype(np.uint8))
    return found, label


def logits(judge, found):
    return np.array(judge.logits([judge.view.eval_crops(picture) for picture in found]))


# the picture as the net sees it


@pytest.mark.parametrize("view", VIEWS, ids=repr)
@pytest.mark.parametrize("shape", [(56, 48), (64, 64), (97, 130), (32, 32), (20, 70)])
def test_it_sees_a_picture_as_the_view_cuts_it(view, shape):
    """Up to the rounding of a shrunk picture, whose mean effect is a hundredth of what a level does."""
    judge = detector(Linear(), view)
    picture = cv2.GaussianBlur(pictures(1, *shape)[0][0], (0, 0), 2)
    image = torch.from_numpy(picture).movedim(-1, 0)[None].float() / 255
    net = PictureNet(judge, *shape)
    mine = net.cuts[0](image)[0]
    theirs = torch.from_numpy(view.eval_crops(picture)).movedim(-1, 1).float() / 255
    assert mine.shape == theirs.shape
    assert (mine - theirs).abs().max() <= (1.1 / 255 if view.longest or view.resize else 1e-6)
    assert float(net(image).detach()) == pytest.approx(logits(judge, [picture])[0], abs=0.5)


def test_zero_is_where_the_detector_decides():
    judge = detector(Linear(), balanced=3.0)
    picture = pictures(1)[0][0]
    image = torch.from_numpy(picture).movedim(-1, 0)[None].float() / 255
    assert float(PictureNet(judge, *picture.shape[:2])(image).detach()) == pytest.approx(
        logits(judge, [picture])[0] - 3, abs=1e-3
    )


# what they reach


def closed_form(judge, found, label, eps):
    """The worst logits of a linear net: every pixel at the end of its budget."""
    worst = []
    for picture, kind in zip(found, label, strict=True):
        image = torch.from_numpy(picture).movedim(-1, 0)[None].double() / 255
        image.requires_grad_()
        net = PictureNet(detector(copy.deepcopy(judge.net).double(), judge.view), *picture.shape[:2])
        (slope,) = torch.autograd.grad(net(image).sum(), image)
        way = -1 if kind == FAKE else 1
        moved = (image.detach() + way * eps / 255 * slope.sign()).clamp(0, 1)
        worst.append(float(net(moved).detach()))
    return np.array(worst)


@pytest.mark.parametrize("attack", [PictureAttack("fgsm", 4), PictureAttack("pgd", 4, 10)], ids=str)
def test_a_linear_net_is_beaten_as_far_as_the_budget_goes(attack):
    judge = detector(Linear())
    found, label = pictures(6)
    found[0][:20] = 0  # at the end of the scale there is nowhere to go
    found[1][:20] = 255
    reached, _ = attack_pictures(attack, judge, found, label)
    np.testing.assert_allclose(
        logits(judge, reached), closed_form(judge, found, label, 4), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("view", [VIEWS[0], VIEWS[3]], ids=repr)
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "apgd", "square"])
def test_within_the_budget_and_on_the_levels_of_a_file(kind, view):
    if kind in ("apgd", "square"):
        pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    found, label = pictures(5)
    found.append(pictures(1, 70, 90)[0][0])  # of another shape, in its own place afterwards
    label = np.append(label, FAKE)
    reached, flat = attack_pictures(PictureAttack(kind, 3, 5, 2), detector(Smooth(), view), found, label)
    assert [each.shape for each in reached] == [each.shape for each in found] and not flat.any()
    for before, after in zip(found, reached, strict=True):
        assert after.dtype == np.uint8 and np.abs(after.astype(int) - before).max() <= 3
    assert any((before != after).any() for before, after in zip(found, reached, strict=True))


def harm(attack, judge, found, label, by=None):
    """Mean movement of the logit in the wrong direction."""
    reached, _ = attack_pictures(attack, by or judge, found, label)
    return float(np.mean(np.where(label == FAKE, -1, 1) * (logits(judge, reached) - logits(judge, found))))


def test_the_same_seed_gives_the_same_pictures():
    judge, (found, label) = detector(Smooth()), pictures(4)
    attack = PictureAttack("pgd", 4, 2)
    one, two, other = (attack_pictures(attack, judge, found, label, seed)[0] for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, two)) and not all(map(np.array_equal, one, other))


def test_a_transferred_attack_harms_less_than_one_on_the_net_itself():
    judge, other = detector(Smooth(0)), detector(Smooth(1), VIEWS[1])
    found, label = pictures(12)
    own = harm(PictureAttack("pgd", 4, 10), judge, found, label)
    transferred = harm(PictureAttack("pgd", 4, 10, source="other.ckpt"), judge, found, label, by=other)
    assert 0 < transferred < own, "both look at red and blue, so what deceives one deceives the other in part"


def test_apgd_ends_where_pgd_does():
    """A second implementation: on pictures that both turn, the same verdicts."""
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    judge, (found, label) = detector(Smooth(), VIEWS[2]), pictures(16)
    for eps in (1, 2, 8):
        turned = []
        for attack in (PictureAttack("pgd", eps, 20), PictureAttack("apgd", eps, 20)):
            reached, _ = attack_pictures(attack, judge, found, label)
            turned.append(np.mean((logits(judge, reached) > 0) != (label == FAKE)))
        assert turned[0] == pytest.approx(turned[1], abs=1.5 / len(found)), eps
    assert turned[0] == 1


def test_square_is_never_better_than_the_white_box():
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    judge, (found, label) = detector(Smooth(), VIEWS[2]), pictures(16)
    for eps in (1, 2):
        rates = []
        for attack in (PictureAttack("pgd", eps, 10), PictureAttack("square", eps, 60)):
            reached, _ = attack_pictures(attack, judge, found, label)
            rates.append(np.mean((logits(judge, reached) > 0) != (label == FAKE)))
        assert rates[1] <= rates[0], eps


@pytest.mark.parametrize("make", [APGD, Square])
def test_the_toolbox_leaves_net_and_generators_as_they_were(make):
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 1), nn.Flatten(0)
    )
    net.train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    net[3].bias.requires_grad_(False)
    before, gradient = copy.deepcopy(net.state_dict()), net[0].weight.grad
    image, label = torch.randint(0, 256, (4, 3, 8, 8)).float() / 255, torch.tensor([0, 1, 0, 1])
    np.random.seed(3)
    with torch.inference_mode():
        one, two = (make(4, 5)(net, image, label, seed=1) for _ in range(2))
    assert torch.equal(one, two) and (one - image).abs().max() * 255 <= 4.001
    assert np.random.random() == np.random.RandomState(3).random_sample()
    assert all(module.training for module in net.modules())
    assert net[0].weight.grad is gradient and (gradient == 1).all() and net[0].weight.requires_grad
    assert not net[3].bias.requires_grad and net[3].weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert logging.getLogger("art").level == logging.NOTSET


def test_a_sure_net_is_no_shelter_from_apgd():
    """Its cross-entropy is exactly 0 in float32, and so would be the gradient."""
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    net = Smooth()
    judge, (found, label) = detector(net), pictures(8)
    plain = net.forward
    net.forward = lambda image, cues=None: 1000 * plain(image)
    reached, _ = attack_pictures(PictureAttack("apgd", 8, 10), judge, found, label)
    assert np.mean((logits(judge, reached) > 0) == (label == FAKE)) == 0


# nets that only look robust


def table(judge, attacks, found, label):
    """The tidy table's columns that the check reads, and the share of zero gradients."""

    def row(condition, severity, answers):
        unknown = np.full(len(label), "")
        told = Predictions(
            np.arange(len(label)),
            answers,
            label,
            unknown,
            unknown,
            np.arange(len(label)).astype(str),
            unknown,
        )
        metrics = detection_metrics(told)
        counts = {"num_real": int((label == REAL).sum()), "num_fake": int((label == FAKE).sum())}
        where = {"detector": "d", "root": "r", "condition": condition, "severity": severity}
        return {**where, **counts, "auroc": metrics["auroc"], "acc": metrics["acc"]}

    rows, flat = [row("clean", float("nan"), logits(judge, found))], {}
    for (condition, severity), attack in attacks.items():
        reached, zero = attack_pictures(attack, judge, found, label)
        rows.append(row(condition, severity, logits(judge, reached)))
        flat["d", "r", condition, severity] = float(zero.mean())
    return rows, flat


def grid(*kinds, eps=(4.0, 8.0)):
    made = {"fgsm": (1, 1), "pgd10": (10, 1), "pgd20": (20, 1), "square": (40, 1)}
    return {
        (name, each): PictureAttack(name.rstrip("0123456789"), each, *made[name])
        for name in kinds
        for each in eps
    }


def test_an_honest_net_is_not_suspected():
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    attacks, (found, label) = grid("fgsm", "pgd10", "pgd20", "square", eps=(1.0, 4.0)), pictures(40, 40, 40)
    rows, flat = table(detector(Smooth(), VIEWS[2]), attacks, found, label)
    assert rows[0]["auroc"] > 0.99 and min(row["acc"] for row in rows) < 0.2, (
        "or the attacks would say nothing"
    )
    assert find_masking(rows, attacks, flat) == []


def row_of(condition, severity, auroc, num):
    told = {"detector": "net", "root": "root", "condition": condition, "severity": severity, "auroc": auroc}
    return told | {"acc": auroc, "num_real": num, "num_fake": num}


@pytest.mark.parametrize(
    ("num", "auroc", "caught"), [(2, 0.0, False), (2, 1.0, False), (20, 0.0, False), (20, 1.0, True)]
)
def test_of_a_few_pictures_nobody_can_say_that_an_attack_did_no_harm(num, auroc, caught):
    rows = [row_of("clean", float("nan"), 1.0, num), row_of("fgsm", 4.0, auroc, num)]
    assert bool(find_masking(rows, {("fgsm", 4.0): PictureAttack("fgsm", 4.0)})) == caught


def test_a_net_that_rounds_is_caught_by_its_gradients():
    attacks, (found, label) = grid("pgd10"), pictures(40)
    rows, flat = table(detector(Rounded(), VIEWS[2]), attacks, found, label)
    assert any("does no harm at all" in str(sign) for sign in find_masking(rows, attacks))
    signs = [str(sign) for sign in find_masking(rows, attacks, flat)]
    assert any(
        "d on r: gradients are masked: the gradient is exactly zero in 100% of the pictures" in sign
        for sign in signs
    )


def test_a_net_with_misleading_gradients_is_caught_by_the_black_box():
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    attacks, (found, label) = grid("fgsm", "pgd10", "square", eps=(8.0,)), pictures(40)
    rows, flat = table(detector(Saturated(), VIEWS[2]), attacks, found, label)
    assert rows[0]["auroc"] == 1 and not any(flat.values())
    signs = find_masking(rows, attacks, flat)
    assert any(
        "square at 8/255, which does not follow this net's gradients, does more harm" in str(sign)
        for sign in signs
    )
    assert {cell for sign in signs for cell in sign.cells} >= {("pgd10", 8.0)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {("pgd10", 8.0): 0.5},
            "pgd10 at 8/255 does less harm than pgd10 at 4/255 (auroc 0.500 against 0.200)",
        ),
        (
            {("pgd20", 4.0): 0.5, ("pgd20", 8.0): 0.1},
            "pgd20 at 4/255 does less harm than the weaker pgd10 at 4/255",
        ),
        (
            {("moved", 4.0): 0.1},
            "moved at 4/255, which does not follow this net's gradients, does more harm than pgd10",
        ),
        (
            {("fgsm", 4.0): 0.1},
            "pgd10 at 4/255 does less harm than the weaker fgsm at 4/255 (auroc 0.200 against 0.100)",
        ),
        # within one level, rounding undoes what more steps gain
        ({("fgsm", 1.0): 0.25, ("pgd10", 1.0): 0.3}, ""),
        ({}, ""),
    ],
)
def test_what_must_not_be(changes, said):
    attacks = {
        **grid("fgsm", "pgd10", eps=(1.0, 4.0)),
        **grid("pgd10", "pgd20", eps=(4.0, 8.0)),
        ("moved", 4.0): PictureAttack("pgd", 4.0, 10, source="other.ckpt"),
    }
    values = {("clean", float("nan")): 0.9, ("pgd10", 4.0): 0.2, ("pgd20", 4.0): 0.2, ("pgd10", 8.0): 0.1}
    values |= {("pgd20", 8.0): 0.1, ("moved", 4.0): 0.6, **changes}
    rows = [
        {"detector": "d", "root": "r", "condition": name, "severity": severity, "num_real": 100, "num_fake": 100,
         "auroc": value, "acc": value}
        for (name, severity), value in values.items()
    ]  # fmt: skip
    signs = [str(sign) for sign in find_masking(rows, attacks)]
    assert any(f"gradients are masked: {said}" in sign for sign in signs) if said else not signs
    other = [{**row, "detector": "other"} if row["condition"] == "moved" else row for row in rows]
    assert not any("moved" in str(sign) for sign in find_masking(other, attacks)), "of another detector"


def test_a_net_without_gradients_is_refused_and_the_way_on_is_named():
    judge, (found, label) = detector(NoGradients()), pictures(4)
    for kind in ("fgsm", "pgd", "apgd"):
        if kind == "apgd":
            pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
        with pytest.raises(
            ValueError, match=r"\(NoGradients\) gives no gradients.*\{attack: square\}"
        ) as error:
            attack_pictures(PictureAttack(kind, 4, 2), judge, found, label)
        assert "\n" not in str(error.value)
    pytest.importorskip("art", reason="pip install 'dfd[attacks]'")
    reached, _ = attack_pictures(PictureAttack("square", 8, 60), judge, found, label)
    assert np.mean((logits(judge, reached) > 0) == (label == FAKE)) < 1


# which pictures, and what a file may ask for


def test_as_many_of_each_class_from_all_over_the_table():
    label = np.repeat([REAL, FAKE, -1, REAL], [50, 30, 10, 50])
    chosen = pick(label, 20)
    assert (np.diff(chosen) > 0).all() and np.bincount(label[chosen]).tolist() == [10, 10]
    assert (chosen >= 90).sum() == 5, "of both stretches of reals"
    assert np.bincount(label[pick(label, 100)]).tolist() == [50, 30], "no more than there are"
    assert len(pick(np.full(5, -1), 10)) == 0


def test_a_conditions_entry():
    (one, two) = parse_attack("p", {"name": "p", "attack": "pgd", "steps": 20, "restarts": 2, "eps": [1, 8]})
    assert one == PictureAttack("pgd", 1.0, 20, 2) and two.eps == 8 and one.white_box
    assert [each.eps for each in parse_attack("f", {"attack": "fgsm"})] == list(EPS)
    (moved,) = parse_attack("t", {"attack": "pgd", "eps": 4, "from": "other.ckpt", "images": 50})
    assert not moved.white_box and moved.images == 50 and "made on other.ckpt" in str(moved)
    assert not parse_attack("s", {"attack": "square"})[0].white_box


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"attack": "autoattack"}, "unknown attack 'autoattack'. Known are fgsm, pgd, apgd, square"),
        ({"attack": ["pgd"]}, "unknown attack"),
        ({"attack": "fgsm", "steps": 3}, "unknown key 'steps'. fgsm takes name, attack, eps, from, images"),
        ({"attack": "pgd", "eps": [0.015]}, "budgets in 255ths were expected, from 1 on"),
        ({"attack": "pgd", "eps": []}, "budgets in 255ths"),
        ({"attack": "pgd", "eps": [True]}, "budgets in 255ths"),
        ({"attack": "pgd", "steps": 0}, "steps: 0, where a whole number from 1"),
        ({"attack": "pgd", "images": 1e9}, "images: 1000000000.0, where a whole number"),
        ({"attack": "pgd", "from": 3}, "from: 3, where a checkpoint"),
    ],
)
def test_a_strangers_entry_is_one_clear_error(told, said):
    with pytest.raises(ValueError, match="the condition x has") as error:
        parse_attack("x", told)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_without_the_toolbox_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "art", None)
    for make in (APGD, Square):
        with pytest.raises(ValueError, match=r"pip install 'dfd\[attacks\]'"):
            make(4)
    FGSM(4), PGD(4)
