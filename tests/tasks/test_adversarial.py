import csv
import math

import pytest
import torch
from lightning import Callback, Trainer
from ranks import dfd
from small import SMALL
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from dfd.augment import FGSM, PGD
from dfd.models import SingleStream, SmallCNN
from dfd.tasks.adversarial import AdversarialTask, bernoulli_divergence, share_of


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


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (
            lambda net, image, label, seed=None: image[:, :, ::2],
            r"gave \(4, 3, 16, 32\) for pictures \(4, 3, 32, 32\)",
        ),
        (lambda net, image, label, seed=None: (image, label), "gave a tuple for pictures"),
    ],
)
def test_what_an_attack_gives_in_place_of_pictures_is_said(attack, words):
    with pytest.raises(ValueError, match=words):
        step(task(attack), batch())


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


def by_torch(clean, attacked):
    return kl_divergence(Bernoulli(logits=clean.double()), Bernoulli(logits=attacked.double())).mean()


def test_the_divergence_is_that_of_two_bernoullis():
    torch.manual_seed(0)
    clean, attacked = (8 * torch.randn(64)).requires_grad_(), (8 * torch.randn(64)).requires_grad_()
    ours, theirs = bernoulli_divergence(clean, attacked), by_torch(clean, attacked)
    torch.testing.assert_close(ours.double(), theirs)
    for one, two in zip(
        torch.autograd.grad(ours, (clean, attacked)),
        torch.autograd.grad(theirs, (clean, attacked)),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    sure = torch.tensor([200.0, -200.0])
    assert torch.isfinite(bernoulli_divergence(sure, -sure)) and bernoulli_divergence(sure, sure) == 0


def test_trades_learns_clean_pictures_and_to_answer_attacked_ones_alike():
    spy, given = Spy(), batch()
    trained, again = task(spy, mix=0.5, trades=3.0), task(spy)
    loss = step(trained, given)
    clean = again.net(given["image"])
    attacked = again.net(torch.ones_like(given["image"][:4]))
    natural = binary_cross_entropy_with_logits(clean, given["label"].float())
    expected = natural + 3 * by_torch(clean[:4], attacked)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    loss.backward(), expected.backward()
    for (name, one), two in zip(trained.net.named_parameters(), again.net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_attack_on_the_nets_own_answers_finds_the_largest_divergence():
    """A second implementation climbs the divergence itself, from several starts."""
    trained = task(PGD(8, steps=6, quantize=False), mix=1.0, trades=1.0)
    trained.log = lambda *args, **options: None
    image = batch(16)["image"][..., :16, :16] * torch.linspace(0.1, 1, 16)[:, None, None, None]
    trained.net(image)  # statistics that are not the initial ones
    net = trained.net.eval()
    clean = net(image).detach()
    head = net.head
    head.weight.data *= 2 / clean.std()
    head.bias.data -= 2 / clean.std() * clean.mean()
    clean = net(image).detach()

    def divergence(pixels):
        return kl_divergence(Bernoulli(logits=clean), Bernoulli(logits=net(pixels)))

    ours = divergence(trained._attacked(image, torch.zeros(16), None)).detach()
    theirs = torch.zeros(16)
    for _ in range(3):
        delta = (2 * torch.rand_like(image) - 1) * 8 / 255
        for _ in range(6):
            pixels = (image + delta).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(divergence(pixels).sum(), pixels)
            delta = (pixels.detach() + 3 / 255 * gradient.sign() - image).clamp(-8 / 255, 8 / 255)
        theirs = torch.maximum(theirs, divergence((image + delta).clamp(0, 1)).detach())
    assert (ours >= 0.8 * theirs).all() and ours.mean() >= theirs.mean() > 0.1


def test_trades_gets_gradients_under_autocast():
    trained = task(PGD(4, steps=1), mix=1.0, trades=6.0)
    with torch.autocast("cpu", torch.bfloat16):
        step(trained, batch()).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in trained.net.parameters())


def test_pairs_are_attacked_together_and_others_in_their_order():
    assert share_of(torch.tensor([7, 3, 9, 1, 5]), 0.5).tolist() == [0, 1, 2]
    assert share_of(torch.tensor([7, 7, 3, 3, 9, 1, 1]), 0.5).tolist() == [0, 1, 2, 3]
    assert share_of(torch.tensor([7, 3, 1, 7, 3, 1]), 0.3).tolist() == [0, 3]
    assert share_of(torch.tensor([4]), 0.1).tolist() == [0]


def test_an_attack_changes_pixels_and_leaves_each_picture_its_cues():
    class Cued(SingleStream):
        def forward(self, image, cues=None):
            return super().forward(image) * (1 if cues is None else cues[:, 0])

    given = batch()
    turned = {**given, "cues": -torch.ones(8, 1)}
    trained = task(FGSM(4), mix=1.0)
    trained.net.__class__, seen = Cued, []
    trained.learn = lambda batch: seen.append(batch["image"]) or (torch.tensor(0.0), None)
    for each in (given, turned, {**given, "label": 1 - given["label"]}):
        step(trained, each)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])


class Budgets(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, task, *given):
        self.seen.append(float(trainer.callback_metrics["train/attack_eps"]))


def quiet_trainer(**options):
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(accelerator="cpu", **dict.fromkeys(names, False), **options)


def loader(num=16, size=8):
    return DataLoader(range(num // size), batch_size=1, collate_fn=lambda numbers: batch(size))


def test_the_budget_rises_over_a_share_of_the_run():
    budgets = Budgets()
    trained = task(PGD(4, steps=1), eps_warmup=0.5)
    quiet_trainer(max_epochs=2, callbacks=[budgets]).fit(trained, loader(4, 2))
    assert budgets.seen == pytest.approx([4 * min(1, (at + 1) / 3) for at in range(4)])
    assert trained.attack.eps == 4 and trained.attack.quantize


def test_a_share_of_an_endless_run_is_refused():
    with pytest.raises(ValueError, match="no end"):
        quiet_trainer(max_epochs=-1).fit(task(PGD(4), eps_warmup=0.5), loader())


@pytest.mark.parametrize(
    ("attack", "options", "said"),
    [
        (FGSM(4), {"mix": 0}, "mix"),
        (FGSM(4), {"mix": 1.5}, "mix"),
        (FGSM(4), {"trades": -1.0}, "trades"),
        (FGSM(4), {"trades": math.nan}, "trades"),
        (FGSM(4), {"eps_warmup": 1.2}, "share of the run"),
        (Spy(), {"eps_warmup": 0.2}, "Spy has no budget"),
    ],
)
def test_impossible_numbers_are_refused(attack, options, said):
    with pytest.raises(ValueError, match=said):
        task(attack, **options)


OVERLAY = """
trainer:
  callbacks+:
    - {class_path: interrupter.Interrupter}
    - {class_path: dfd.callbacks.Preemption, init_args: {every_n_batches: 1}}
"""
INTERRUPTER = """
import os, signal
from lightning.pytorch import Callback

class Interrupter(Callback):
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        done = os.path.join(trainer.default_root_dir, "interrupted")
        if trainer.global_step == int(os.environ.get("AT", -1)) and trainer.is_global_zero and not os.path.exists(done):
            open(done, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
def test_a_fit_that_was_cut_ends_as_the_whole_one(tmp_path):
    """With all of it: TRADES in bfloat16, random starts, a rising budget, what the callbacks log."""
    (tmp_path / "cut.yaml").write_text(OVERLAY)
    (tmp_path / "interrupter.py").write_text(INTERRUPTER)
    options = ["fit", "--config", "small_cnn", "--config", "overlay/adversarial", "--config", "cut.yaml"]
    options += [*SMALL, "--config", "overlay/bf16", "--config", "overlay/cpu", "--model.familiarity=false"]
    options += ["--model.trades=3", "--model.attack=dfd.augment.FastFGSM", "--model.attack.eps=2"]
    options += ["--model.net.backbone.width=4", "--data.batch_size=4", "--data.num_workers=0"]
    options += ["--trainer.max_epochs=2", "--trainer.limit_train_batches=2"]
    options += ["--trainer.log_every_n_steps=1", "--run_folder"]
    dfd(*options, "whole", cwd=tmp_path)
    dfd(*options, "cut", cwd=tmp_path, code=143, AT="2")
    assert "goes on from" in dfd(*options, "cut", cwd=tmp_path)
    (whole, judged), (cut, judged_again) = (
        (
            torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"],
            list(csv.DictReader((tmp_path / run / "metrics.csv").read_text().splitlines())),
        )
        for run in ("whole", "cut")
    )
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []
    assert judged == judged_again
    logged = {name for line in judged for name, value in line.items() if value}
    wanted = {"attack_eps", "attack_l2", "divergence"}
    assert logged >= {f"train/{name}" for name in wanted} | {"val/robust_acc", "val/masking"}
