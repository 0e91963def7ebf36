import math

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.metrics import roc_auc_score
from small import FIT
from torch import nn

from dfd.calibration import Isotonic, Platt, certificate, fit_calibration, fit_thresholds
from dfd.cli import main
from dfd.data import ToyDataModule, View
from dfd.detector import load_net
from dfd.models import Net, SingleStream, SmallCNN
from dfd.tasks import ClassificationTask, LinearProbe
from dfd.tasks.classification import _distinct
from dfd.tasks.schedule import cosine_with_warmup


def tiny() -> SingleStream:
    torch.manual_seed(0)
    return SingleStream(SmallCNN(width=8))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Makes a data module of a small toy set; the set itself is made once."""
    folder = tmp_path_factory.mktemp("toy") / "shards"
    common = {"num_images": 120, "picture": 96, "folder": str(folder), "num_workers": 0, "batch_size": 16}

    def make(**kwargs):
        return ToyDataModule(**{**common, "view": View(size=48, crops=1, longest=96), **kwargs})

    make().prepare_data()
    return make


def fit(task, data, folder, **kwargs):
    options = {
        "max_epochs": 2,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = Trainer(
        default_root_dir=folder,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{**options, **kwargs},
    )
    trainer.fit(task, data)
    return trainer


class TwoLogits(Net):
    def __init__(self):
        super().__init__()
        self.head, self.cam_layers = nn.Linear(3, 2), {}

    def forward(self, image, cues=None):
        return self.head(image.mean((2, 3)))


class EachLoss(nn.Module):
    def forward(self, logit, label):
        return (logit - label) ** 2


def test_a_net_of_two_logits_a_loss_of_many_numbers_and_a_mix_of_no_batch_are_said(toy, tmp_path):
    for task, data, words in (
        (ClassificationTask(TwoLogits()), {}, r"TwoLogits gave \(16, 2\) for 16 pictures"),
        (ClassificationTask(tiny(), loss=EachLoss()), {}, r"model.loss=EachLoss gave numbers \(16,\)"),
        (
            ClassificationTask(tiny()),
            {"mix": lambda batch, rng: batch["image"]},
            "returned a Tensor, and has",
        ),
        (
            ClassificationTask(tiny()),
            {"mix": lambda batch, rng: {"image": batch["image"]}},
            "returned a batch without label, row, valid",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            fit(task, toy(**data), tmp_path, max_epochs=1, limit_train_batches=1)


class ShiftedLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(3.0))

    def forward(self, logit, label):
        return nn.functional.binary_cross_entropy_with_logits(logit + self.shift, label)


@pytest.mark.parametrize("finetune", [None, LinearProbe()])
def test_weights_of_a_loss_learn(toy, tmp_path, finetune):
    task = ClassificationTask(tiny(), loss=ShiftedLoss(), finetune=finetune)
    trainer = fit(task, toy(), tmp_path, max_epochs=1)
    assert float(task.loss.shift.detach()) < 3.0
    known = [weight for group in trainer.optimizers[0].param_groups for weight in group["params"]]
    assert sum(weight is task.loss.shift for weight in known) == 1


def test_the_learning_rate_rises_then_falls_to_zero():
    factors = [cosine_with_warmup(step, 100, 0.1) for step in range(100)]
    assert factors[0] < 0.2 and np.argmax(factors) in (9, 10, 11) and max(factors) <= 1
    assert all(np.diff(factors[12:]) < 0) and factors[-1] < 0.01
    assert factors[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))
    assert cosine_with_warmup(7, math.inf, 0.1) == 1.0


class Trace:
    """An optimizer factory that keeps the rate of each step that was really taken."""

    def __init__(self):
        self.rates: list[float] = []

    def __call__(self, parameters):
        trace = self

        class SGD(torch.optim.SGD):
            def step(self, closure=None):
                trace.rates.append(self.param_groups[0]["lr"])
                return super().step(closure)

        return SGD(parameters, lr=0.1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_schedule_really_steps_with_the_optimizer(toy, tmp_path, accumulate):
    trace = Trace()
    fit(
        ClassificationTask(tiny(), trace),
        toy(),
        tmp_path,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )
    total = 2 * math.ceil(6 / accumulate)  # 96 training images in batches of 16
    assert len(trace.rates) == total
    assert trace.rates == pytest.approx(
        [0.1 * cosine_with_warmup(step, total, 0.05) for step in range(total)]
    )


def test_balanced_loss_weighs_both_classes_alike():
    task = ClassificationTask(tiny(), class_weight="balanced")
    task.loss.balance(1, 3, torch.device("cpu"))
    logit, label = torch.tensor([0.3, 0.3, 0.3, 0.3]), torch.tensor([0, 1, 1, 1])
    real, fake = nn.functional.softplus(torch.tensor(0.3)), nn.functional.softplus(torch.tensor(-0.3))
    assert task.loss(logit, label) == pytest.approx(float((real + fake) / 2))


def test_label_smoothing_moves_both_targets():
    task = ClassificationTask(tiny(), label_smoothing=0.2)
    loss = task.loss(torch.tensor([1.0]), torch.tensor([1]))
    assert loss == pytest.approx(0.9 * math.log1p(math.exp(-1)) + 0.1 * math.log1p(math.exp(1)))


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(toy, tmp_path):
    torch.manual_seed(0)
    task = ClassificationTask(
        SingleStream(SmallCNN(width=8), dropout=0.0),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
    )
    data = toy(view=View(size=48, crops=1, longest=96, resize=True))
    trainer = fit(
        task,
        data,
        tmp_path,
        max_epochs=40,
        overfit_batches=1,
        limit_val_batches=0,
        enable_checkpointing=False,
    )
    assert trainer.callback_metrics["train/loss"] < 0.15


def test_short_epochs_stay_whole_past_the_end_of_the_data(toy, tmp_path):
    shown = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            shown.append((trainer.current_epoch, *batch["row"].tolist()))

    # 6 batches an epoch, 4 of them shown: the second epoch must not end at the sixth batch
    fit(
        ClassificationTask(tiny()),
        toy(),
        tmp_path,
        limit_train_batches=4,
        enable_checkpointing=False,
        callbacks=[Watch()],
    )
    assert [epoch for epoch, *_ in shown] == [0] * 4 + [1] * 4
    for number in range(2):
        rows = [row for epoch, *batch in shown for row in batch if epoch == number]
        assert len(rows) == len(set(rows)) == 64


def test_first_loss_is_that_of_a_coin(toy, tmp_path):
    task = ClassificationTask(tiny(), lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    trainer = fit(task, toy(), tmp_path, max_steps=1, limit_val_batches=0, enable_checkpointing=False)
    assert trainer.callback_metrics["train/loss"] == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize(("kind", "made"), [("platt", Platt), ("isotonic", Isotonic)])
def test_a_fit_may_choose_another_calibration(toy, tmp_path, kind, made):
    task = ClassificationTask(tiny(), calibration=kind)
    fit(task, toy(), tmp_path, max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, filename="last")])
    stored = load_net(tmp_path / "last.ckpt")[1].calibration
    assert isinstance(stored, made) and stored == task.calibration
    assert stored == fit_calibration(task.predictions.logit, task.predictions.label, kind)
    with pytest.raises(ValueError, match=r"model\.calibration='magic' is not known\. Use one of temperature"):
        ClassificationTask(tiny(), calibration="magic")


def test_a_checkpoint_answers_for_itself(toy, tmp_path):
    task = ClassificationTask(tiny(), ema_decay=0.5)
    best = ModelCheckpoint(
        tmp_path, monitor="val/auroc", mode="max", filename="best", auto_insert_metric_name=False
    )
    trainer = fit(task, toy(), tmp_path, callbacks=[best, ModelCheckpoint(tmp_path, filename="last")])
    net, card = load_net(tmp_path / "last.ckpt")
    assert card.view == {
        "size": 48,
        "crops": 1,
        "longest": 96,
        "resize": False,
        "margin": 1.35,
        "beside": None,
    }
    known = {"split": "val", "images": len(task.predictions), "groups": len(set(task.predictions.family))}
    known["step"] = trainer.global_step
    known["sources"] = certificate(task.predictions, task.thresholds)
    assert known["sources"]["toy"]["real"]["errors"] == 0, "too few pictures to say any word"
    assert card.calibrated_on == known | {"data": "toy drawings, no photographs"}
    assert card.thresholds == pytest.approx(fit_thresholds(task.predictions.logit, task.predictions.label))
    assert card.calibration == task.calibration and card.selected_on == task.selected_on
    assert "val/auroc" in load_net(tmp_path / "best.ckpt")[1].selected_on
    # the verdicts of validation are those of the stored net: here, the average
    data = trainer.datamodule
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    again = net(batch["image"][:, 0]).detach().double().numpy()
    assert again == pytest.approx(task.predictions.logit[: len(again)], abs=1e-5)
    assert any((a != b).any() for a, b in zip(task.net.parameters(), net.parameters(), strict=True))


def test_crops_fold_into_one_verdict_by_their_mean_logit():
    task = ClassificationTask(tiny()).eval()
    image = torch.rand(3, 5, 3, 32, 32)
    each = torch.stack([task.net(image[:, crop]) for crop in range(5)])
    assert torch.allclose(task(image), each.mean(0), atol=1e-6)


def test_validation_alone_changes_no_calibration(toy, tmp_path):
    task = ClassificationTask(tiny())
    trainer = fit(task, toy(), tmp_path, max_epochs=1, enable_checkpointing=False)
    before = task.calibration, task.thresholds
    trainer.validate(task, toy(view=View(size=32, crops=5)), verbose=False)
    assert (task.calibration, task.thresholds) == before


def test_before_calibration_nothing_is_certain():
    assert ClassificationTask(tiny()).thresholds == {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}


def test_a_net_that_could_not_be_rebuilt_is_refused_at_once():
    class Local(Net):
        def forward(self, image):
            return image.mean((1, 2, 3))

    with pytest.raises(ValueError, match="could not be rebuilt"):
        ClassificationTask(Local())


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"warmup": 2}, {"ema_decay": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClassificationTask(tiny(), **wrong)


def test_metrics_name_each_source_and_method(toy, tmp_path):
    task = ClassificationTask(tiny())
    trainer = fit(task, toy(), tmp_path, max_epochs=1, enable_checkpointing=False)
    methods = {name for name in np.unique(task.predictions.method) if name}
    assert len(methods) > 1 and all(f"val/auroc/{method}" in trainer.callback_metrics for method in methods)


FOCAL = """
import torch

class Focal(torch.nn.Module):
    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logit, label):
        prob = torch.where(label > 0.5, logit.sigmoid(), 1 - logit.sigmoid())
        return -((1 - prob) ** self.gamma * prob.clamp_min(1e-7).log()).mean()
"""


@pytest.mark.slow
def test_a_loss_is_named_in_yaml_and_its_checkpoint_is_judged_without_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "my_loss.py").write_text(FOCAL)
    focal = ["--model.loss=my_loss.Focal", "--model.loss.gamma=1.5"]
    assert main([*FIT, *focal, "--run_folder=run"]) == 0
    stored = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["init_args"]["loss"]
    assert stored == {"class_path": "my_loss.Focal", "init_args": {"gamma": 1.5}}
    assert main(["test", "run/checkpoints/last.ckpt"]) == 0, "a loss belongs to training"
    assert main([*FIT, *focal, "--model.label_smoothing=0.1"]) == 1
    assert "belongs to binary cross-entropy" in capsys.readouterr().err


class Watch(Callback):
    """Keeps the logits and labels of the training batches."""

    def __init__(self):
        self.logit, self.label = [], []

    def on_train_start(self, trainer, task):
        task.net.register_forward_hook(
            lambda net, image, logit: self.logit.append(logit.detach()) if net.training else None
        )

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        self.label.append(batch["label"])


def test_a_fit_logs_accuracy_and_auroc_of_the_images_as_they_were_trained_on(toy, tmp_path):
    watch = Watch()
    trainer = fit(ClassificationTask(tiny()), toy(), tmp_path, max_epochs=1, callbacks=[watch])
    logit, label = torch.cat(watch.logit), torch.cat(watch.label)
    metrics = trainer.callback_metrics
    assert metrics["train/acc"] == pytest.approx(float(((logit > 0) == label).float().mean()))
    assert metrics["train/auroc"] == pytest.approx(roc_auc_score(label, logit), abs=0.01), "of 512 bins"


def test_fingerprints_of_two_fits_are_one_sorted_set():
    rng = np.random.default_rng(0)
    for num_before, num_rows in ((0, 0), (0, 5), (5, 0), (300, 900)):
        before = np.unique(rng.integers(-(2**63), 2**63 - 1, num_before))
        prints = rng.integers(-99, 99, num_rows)
        both = np.unique(np.concatenate([before, prints]))
        assert (_distinct(before, prints) == both).all()
