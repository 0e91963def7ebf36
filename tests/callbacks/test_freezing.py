import copy

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from dfd.callbacks.freezing import FreezeThenUnfreeze


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rgb = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1))

    def forward(self, image):
        return self.head(self.rgb(image)).squeeze(1)


class Task(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = Net()

    def training_step(self, batch, batch_idx):
        return (self.net(batch) - batch.sum(1)).square().mean()

    def validation_step(self, batch, batch_idx): ...

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.5)


class Diary(Callback):
    """State and modes at the end of each epoch, and the norm of the gradients that are left for clipping."""

    def __init__(self):
        self.states, self.modes, self.norms = [], [], []

    def on_train_batch_end(self, trainer, task, *_):
        self.norms.append(
            [
                None if weight.grad is None else weight.grad.norm().item()
                for weight in task.net.rgb.parameters()
            ]
        )

    def on_train_epoch_end(self, trainer, task):
        self.states.append(copy.deepcopy(task.net.state_dict()))
        self.modes.append((task.net.rgb[1].training, task.net.head[0].training))


def fit(epochs, *callbacks, task=None, ckpt_path=None, folder=None):
    data = DataLoader(torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), batch_size=8)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=folder is not None,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(task or Task(), data, data, ckpt_path=ckpt_path)
    return trainer


def moved(before, after, part):
    return [name for name in before if name.startswith(part) and not torch.equal(before[name], after[name])]


def test_frozen_parts_stand_still_to_the_bit_and_move_afterwards():
    diary, start = Diary(), Task().net.state_dict()
    fit(3, FreezeThenUnfreeze(["net.rgb"], epochs=2), diary)
    first, second, third = diary.states
    assert not moved(start, second, "rgb")  # weights, statistics and counters: no weight decay, no momentum
    assert moved(start, first, "head") and moved(first, second, "head")
    assert set(moved(second, third, "rgb")) == {name for name in start if name.startswith("rgb")}
    assert diary.modes == [(False, True), (False, True), (True, True)]
    assert all(norm is None for norms in diary.norms[:6] for norm in norms)
    assert all(norm is not None for norms in diary.norms[6:] for norm in norms)


def test_parameters_stay_trainable_in_the_same_groups():
    task = Task()
    trainer = fit(1, FreezeThenUnfreeze(["net.rgb"], epochs=1), task=task)
    assert all(weight.requires_grad for weight in task.parameters())
    grouped = [weight for group in trainer.optimizers[0].param_groups for weight in group["params"]]
    assert {id(weight) for weight in grouped} == {id(weight) for weight in task.parameters()}


def test_a_resumed_run_unfreezes_when_the_whole_one_does(tmp_path):
    whole = Diary()
    fit(3, FreezeThenUnfreeze(["net.rgb"], epochs=2), whole)
    first = fit(1, FreezeThenUnfreeze(["net.rgb"], epochs=2), folder=tmp_path)
    first.save_checkpoint(tmp_path / "cut.ckpt")
    resumed = Diary()
    fit(
        3,
        FreezeThenUnfreeze(["net.rgb"], epochs=2),
        resumed,
        ckpt_path=tmp_path / "cut.ckpt",
        folder=tmp_path,
    )
    for name, value in whole.states[-1].items():
        assert torch.equal(value, resumed.states[-1][name]), name


def test_layers_that_their_owner_stilled_are_left_alone():
    class Owner(Callback):
        def on_train_start(self, trainer, task):
            task.net.rgb[1].eval()

    diary = Diary()
    fit(2, Owner(), FreezeThenUnfreeze(["net.rgb"], epochs=1), diary)
    assert diary.modes == [(False, True), (False, True)]


@pytest.mark.parametrize(
    ("name", "said"), [("net.rgbb", "Did you mean net.rgb"), ("zzz", "Try one of net,"), ("", "no module ''")]
)
def test_an_unknown_module_is_named_with_what_was_meant(name, said):
    with pytest.raises(ValueError, match=said):
        fit(1, FreezeThenUnfreeze([name]))


def test_holding_for_no_epoch_is_refused():
    with pytest.raises(ValueError, match="epochs=0"):
        FreezeThenUnfreeze(["net.rgb"], epochs=0)
