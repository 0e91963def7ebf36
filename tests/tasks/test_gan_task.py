import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from dfd.batch import FAKE, REAL
from dfd.callbacks import StepSeed
from dfd.cli import main
from dfd.data import View
from dfd.detector import load_net
from dfd.models import Discriminator, Generator
from dfd.tasks import GANTask
from dfd.tasks.ema import rising_average

LATENT = 8


def gan(**options) -> GANTask:
    torch.manual_seed(0)
    return GANTask(Generator(64, width=2, latent=LATENT), Discriminator(64, width=4), **options)


def batch(num: int = 8, at: int = 0) -> dict:
    dice = torch.Generator().manual_seed(at)
    image = torch.rand(num, 3, 64, 64, generator=dice)
    return {
        "image": image,
        "label": torch.tensor([REAL, FAKE] * (num // 2)),
        "row": torch.arange(num),
        "valid": torch.ones(num, dtype=torch.bool),
    }


class Whole(Dataset):
    """Three batches; in evaluation of one crop."""

    def __init__(self, judged: bool):
        self.judged = judged

    def __len__(self) -> int:
        return 3

    def __getitem__(self, at: int) -> dict:
        given = batch(at=at)
        return given | {"image": given["image"][:, None]} if self.judged else given


@pytest.fixture
def fit(tmp_path):
    def run(task: GANTask, epochs: int = 1, checkpoint: str | None = None) -> Trainer:
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path, enable_checkpointing=False, num_sanity_val_steps=1, callbacks=[StepSeed(5)],
        )  # fmt: skip
        train, val = (DataLoader(Whole(judged), batch_size=None) for judged in (False, True))
        trainer.fit(task, train, val, ckpt_path=checkpoint, weights_only=True)
        return trainer

    return run


def test_a_batch_is_one_step_of_both_nets(fit):
    task = gan()
    before = {name: value.clone() for name, value in task.named_parameters()}
    trainer = fit(task)
    assert trainer.global_step == 3
    for name, value in task.named_parameters():  # those of the average are among them
        assert not torch.equal(before[name], value), f"{name} has not moved"
    assert {"train/loss_generator", "train/logit_real", "val/logit_real"} <= trainer.callback_metrics.keys()


def step(task: GANTask, given: dict) -> torch.Tensor:
    """The loss of one training step that moves nothing."""
    losses = []
    task._step, task.log_dict = losses.append, lambda logs: None
    torch.manual_seed(3)
    task.training_step(given, 0)
    return losses[0]


def test_one_backward_pass_gives_each_net_the_gradient_of_its_own_loss():
    """Against the usual two passes."""
    task, given = gan(augment=[], mirror=False), batch()
    step(task, given).backward()

    again = gan(augment=[], mirror=False)
    torch.manual_seed(3)
    real = given["image"][given["label"] == REAL]
    fake = again.net(torch.randn(len(real), LATENT))
    seen, made = again.discriminator(real), again.discriminator(fake.detach())
    loss = torch.relu(1 - seen.logit).mean() + torch.relu(1 + made.logit).mean()
    loss = loss + again.discriminator.reconstruction_loss(seen, real)
    wanted = torch.autograd.grad(loss, list(again.discriminator.parameters()))
    for (name, parameter), gradient in zip(task.discriminator.named_parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=name)
    wanted = torch.autograd.grad(-again.discriminator(fake).logit.mean(), list(again.net.parameters()))
    for (name, parameter), gradient in zip(task.net.named_parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_fakes_teach_it_nothing():
    losses = []
    for paint in (0.0, 1.0):
        given = batch()
        given["image"][given["label"] == FAKE] = paint
        losses.append(step(gan(), given))
    assert losses[0] == losses[1]


def test_a_batch_without_reals_is_refused():
    given = batch()
    given["label"][:] = FAKE
    with pytest.raises(ValueError, match=r"batch of 8 pictures holds no real.*batch_size"):
        gan()._reals(given)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(fit, tmp_path):
    straight = gan()
    fit(straight, epochs=2)
    fit(gan(), epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    resumed = gan()
    assert fit(resumed, epochs=2, checkpoint=str(tmp_path / "half.ckpt")).global_step == 6
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_average_forgets_the_first_weights_soon():
    net = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(net, multi_avg_fn=rising_average(0.998))
    by_hand = 0.0
    for num in range(200):
        net.weight.data.fill_(float(num > 0))  # zero at first, one ever after
        average.update_parameters(net)
        decay = min(0.998, (1 + num) / (10 + num)) if num else 0.0
        by_hand = decay * by_hand + (1 - decay) * (num > 0)
    assert average.module.weight.item() == pytest.approx(by_hand, abs=1e-5) and by_hand > 0.99


@pytest.mark.slow
def test_a_checkpoint_gives_the_average_back_and_is_no_detector(fit, tmp_path, capsys):
    task = gan()
    fit(task).save_checkpoint(tmp_path / "gan.ckpt")
    net, _ = load_net(tmp_path / "gan.ckpt", role="generator")
    latent = torch.randn(2, LATENT)
    torch.testing.assert_close(net(latent), task.samples(latent))
    assert torch.equal(task.pictures(3), task.pictures(3)), (
        "of the same latents, to follow them through a run"
    )
    assert task.average.training, "left in the mode in which it was"
    with pytest.raises(
        ValueError, match=r"holds a generator \(Generator\), where a detector is needed: `dfd generate`"
    ):
        load_net(tmp_path / "gan.ckpt")
    (tmp_path / "face.jpg").touch()
    for verb, *rest in (["score", str(tmp_path / "face.jpg")], ["test"], ["validate"]):
        assert main([verb, str(tmp_path / "gan.ckpt"), *rest]) == 1
        error = capsys.readouterr().err
        assert "dfd generate" in error and error.count("\n") == 1


@pytest.mark.slow
def test_two_ranks_train_one_gan(tmp_path):
    small = ["--data.num_images=120", "--data.picture=128", "--data.view.size=64", "--data.view.longest=128"]
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        "fit",
        "--config",
        "gan",
        "--config",
        "overlay/smoke.yaml",
        *small,
    ]
    here = {**os.environ, "DFD_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [*command, "--config", "overlay/ddp.yaml", "--trainer.max_epochs=2", "--run_folder", "two"],
        cwd=tmp_path, env=here, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "steps: 4" in done.stdout
    net, _ = load_net(tmp_path / "two" / "checkpoints" / "last.ckpt", role="generator")
    assert all(value.isfinite().all() for value in net.state_dict().values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ema_decay": 1.0}, r"ema_decay=1.0 .*\(0, 1\)"),
        ({"reconstruction": -1.0}, "reconstruction=-1.0 is negative"),
        ({"augment": ["flip"]}, "DiffAugment knows color"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        gan(**options)


def test_both_nets_have_one_size():
    with pytest.raises(ValueError, match="makes 64 px, the discriminator takes 128"):
        GANTask(Generator(64, width=2), Discriminator(128, width=2))


@pytest.mark.parametrize(
    ("view", "precision", "words"),
    [
        (View(64), "32-true", r"crops of 64 px. Use --data.view.size=64 --data.view.resize=true"),
        (View(96, resize=True), "32-true", "whole pictures of 96 px"),
        (View(64, resize=True), "16-mixed", "Use bf16-mixed"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(view, precision, words):
    task = gan()
    task._trainer = SimpleNamespace(precision=precision, datamodule=SimpleNamespace(view=view))
    with pytest.raises(ValueError, match=words):
        task.on_fit_start()
