import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, Dataset

from dfd.batch import FAKE, REAL
from dfd.detector import load_net
from dfd.models import Autoencoder
from dfd.tasks import AutoencoderTask
from dfd.tasks.autoencoder import edge_error


def autoencoder(**options) -> AutoencoderTask:
    torch.manual_seed(0)
    return AutoencoderTask(Autoencoder("nearest", 4, width=8), **options)


def batch(num: int = 8, at: int = 0) -> dict:
    """Smooth pictures of 32 px, every second one real."""
    dice = torch.Generator().manual_seed(at)
    small = torch.rand(num, 3, 4, 4, generator=dice)
    return {
        "image": torch.nn.functional.interpolate(small, (32, 32), mode="bicubic").clamp(0, 1),
        "label": torch.tensor([REAL, FAKE] * (num // 2)),
        "row": torch.arange(num),
        "valid": torch.ones(num, dtype=torch.bool),
    }


class Pictures(Dataset):
    def __init__(self, num: int, judged: bool):
        self.num, self.judged = num, judged

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, at: int) -> dict:
        given = batch(at=at)
        return given | {"image": given["image"][:, None]} if self.judged else given


def fit(task: AutoencoderTask, folder, steps: int) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, enable_checkpointing=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loaders = (DataLoader(Pictures(*given), batch_size=None) for given in ((steps, False), (2, True)))
    trainer.fit(task, *loaders)
    return trainer


def test_it_learns_to_reconstruct_and_its_checkpoint_is_the_average(tmp_path):
    task = autoencoder(optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=5e-3), ema_decay=0.9)
    trainer = fit(task, tmp_path, steps=25)
    assert trainer.callback_metrics["val/psnr"] > 15 and 0 < trainer.callback_metrics["val/ssim"] <= 1
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    net, card = load_net(tmp_path / "last.ckpt", role="generator")
    assert isinstance(net, Autoencoder) and net.kind == "nearest4" and card.weights_in == "average.module."
    real, made = task.pictures(6)[::2], task.pictures(6)[1::2]
    torch.testing.assert_close(net(real), made)
    given = batch(at=0)
    assert torch.equal(real, given["image"][given["label"] == REAL][:3])


def test_fakes_teach_it_nothing():
    losses = []
    for paint in (0.0, 1.0):
        task, given = autoencoder(), batch()
        task.log_dict = lambda logs: None
        given["image"][given["label"] == FAKE] = paint
        losses.append(task.training_step(given, 0).item())
    assert losses[0] == losses[1] > 0


def test_a_batch_of_fakes_alone_moves_nothing():
    task, given = autoencoder(), batch()
    task.log_dict = lambda logs: None
    given["label"][:] = FAKE
    task.training_step(given, 0).backward()
    assert all(not parameter.grad.any() for parameter in task.net.parameters())


def test_blur_costs_more_at_edges_than_in_pixels():
    real = torch.zeros(1, 1, 8, 8)
    real[..., ::2] = 1
    assert edge_error(real, real) == 0
    assert edge_error(torch.full_like(real, 0.5), real) == pytest.approx(1.0)  # 1 across, 0 down


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edges": -1.0}, "edges=-1.0 is negative"),
        ({"ema_decay": 1.0}, r"ema_decay=1.0"),
        ({"warmup": 2.0}, "warmup=2"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        autoencoder(**options)
