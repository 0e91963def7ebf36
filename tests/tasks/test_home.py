"""A fit learns what its own pictures are like, beside training and without changing it."""

import csv

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from pictures import patches

from dfd.batch import FAKE, REAL, HomeData
from dfd.callbacks import PredictionWriter
from dfd.data import ShardDataModule, View
from dfd.detector import load_net
from dfd.distributed import shards
from dfd.familiarity import Familiarity, Features
from dfd.models import EarlyLayers, SingleStream, SmallCNN, TimmBackbone
from dfd.shards.samples import NewSample, write_samples
from dfd.tasks import ClassificationTask
from dfd.tasks.home import frozen_features, learn_home


def split_of(number):
    return "train" if number < 64 else "val" if number < 112 else "test"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two sources: soft patches, and coarser ones in PNG."""
    folder = tmp_path_factory.mktemp("roots")
    for name, kind in {"soft": "JPEG", "coarse": "PNG"}.items():
        made = [
            NewSample(
                f"{name}-{i}",
                patches(hash((name, i)) % 2**32, kind, 48, 48),
                (REAL, FAKE)[i % 2],
                split_of(i),
                name,
            )
            for i in range(130)
        ]
        write_samples(made, folder / name, {"test": name})
    return [str(folder / "soft"), str(folder / "coarse")]


def data_of(roots, stage="fit"):
    data = ShardDataModule(roots, View(size=32, crops=5, longest=None), batch_size=16, num_workers=0)
    data.setup(stage)
    return data


def small(backbone=None):
    torch.manual_seed(0)
    return SingleStream(backbone or SmallCNN(width=4))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of pretrained weights."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.save(TimmBackbone("test_resnet").model.state_dict(), path)
    return str(path)


def fit(net, roots, folder, **kwargs):
    torch.manual_seed(0)
    task = ClassificationTask(net, **kwargs)
    best = ModelCheckpoint(folder, "best", monitor="val/auroc", mode="max", save_last=True)
    trainer = Trainer(
        max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        default_root_dir=folder, use_distributed_sampler=False, num_sanity_val_steps=1, callbacks=[best, PredictionWriter()],
        limit_train_batches=2,
    )  # fmt: skip
    trainer.fit(task, data_of(roots))
    return task, trainer


def test_pictures_of_home_are_the_same_each_time_and_draw_nothing_of_trainings(roots):
    data = data_of(roots)
    assert isinstance(data, HomeData)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, again = list(data.home("train", 40, 2)), list(data.home("train", 40, 2))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    row, label = (torch.cat([batch[name] for batch in first]).numpy() for name in ("row", "label"))
    assert len(set(row.tolist())) == 40 and set(row.tolist()) <= set(data.rows("train").tolist())
    source = data.describe(row)["source"]
    for name in ("soft", "coarse"):
        assert ((source == name) & (label == FAKE)).sum() == 10
    image = torch.cat([batch["image"] for batch in first])
    assert image.shape == (40, 3, 32, 32, 3) and image.dtype == torch.uint8
    assert not torch.equal(image[:, 0], image[:, 1])
    whole = {
        int(number): each
        for batch in first
        for number, each in zip(batch["row"], batch["image"], strict=True)
    }
    data.trainer = type("Trainer", (), {"global_rank": 1, "world_size": 2})
    for batch in data.home("train", 40, 2):
        for number, each in zip(batch["row"].tolist(), batch["image"], strict=True):
            assert torch.equal(each, whole[number])


def test_a_split_gives_no_more_than_it_has(roots):
    data = data_of(roots)
    assert sum(len(batch["row"]) for batch in data.home("val", 1000, 1)) == 96


@pytest.mark.slow
def test_the_first_layers_of_a_pretrained_backbone_are_kept_as_they_came(roots, weights, tmp_path):
    net = small(TimmBackbone("test_resnet", pretrained=weights))
    task, _ = fit(net, roots, tmp_path, optimizer=lambda params: torch.optim.SGD(params, lr=0.5))
    trained, card = load_net(tmp_path / "best.ckpt")
    assert "first layers of test_resnet as they were before training" in card.familiarity["facts"]["basis"]
    assert card.familiarity["facts"]["sources"] == 2
    gate = Familiarity.of(card.familiarity, trained, "it")
    came = dict(torch.load(weights, weights_only=True))
    name = "stem.conv1.weight" if "stem.conv1.weight" in came else next(iter(came))
    kept = gate.features.early.model.state_dict()[name]
    assert torch.allclose(kept, came[name], atol=1e-3)
    assert not torch.allclose(trained.backbone.model.state_dict()[name], came[name], atol=1e-3)
    assert not any(name.startswith(("_features", "familiarity")) for name in task.state_dict())
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["dfd"]["familiarity"]["facts"] == card.familiarity["facts"]


@pytest.mark.slow
def test_a_fit_ends_with_the_same_weights_whether_it_learns_its_home_or_not(roots, weights, tmp_path):
    ends = []
    for familiarity in (True, False):
        net = small(TimmBackbone("test_resnet", pretrained=weights))
        task, _ = fit(net, roots, tmp_path / str(familiarity), familiarity=familiarity)
        ends.append(task.state_dict())
        assert (task.familiarity is not None) == familiarity
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert load_net(tmp_path / "False" / "best.ckpt")[1].familiarity is None


@pytest.mark.slow
def test_a_net_without_a_pretrained_backbone_is_asked_itself(roots, tmp_path):
    fit(small(), roots, tmp_path)
    net, card = load_net(tmp_path / "best.ckpt")
    assert "no pretrained backbone" in card.familiarity["facts"]["basis"]
    gate = Familiarity.of(card.familiarity, net, "it")
    again = learn_home(Features(own=net), data_of(roots), torch.device("cpu"))
    assert np.allclose(gate.home, again.home, atol=1e-4)  # fitted for the weights that were saved


@pytest.mark.slow
def test_validating_gives_each_picture_its_rank_and_a_resumed_fit_keeps_its_gate(roots, weights, tmp_path):
    net = small(TimmBackbone("test_resnet", pretrained=weights))
    task, trainer = fit(net, roots, tmp_path)
    assert np.isnan(task.predictions.familiarity).all()  # within a fit nothing is said of strange pictures
    trainer.validate(task, data_of(roots, "validate"), verbose=False)
    ranks = task.predictions.familiarity
    assert ((ranks >= 0) & (ranks <= 1)).all() and (ranks >= 0.05).mean() > 0.85
    with (tmp_path / "predictions-val.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["familiarity"]) for line in lines] == ranks.tolist()
    assert all((line["prob"] == "") == (line["verdict"] == "unfamiliar") for line in lines)
    again = ClassificationTask(small(TimmBackbone("test_resnet", pretrained=weights)))
    again.on_load_checkpoint(torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert np.array_equal(again.familiarity.home, task.familiarity.home)  # as a resumed fit goes on


def test_what_is_frozen_is_found_and_a_data_module_of_ones_own_need_not_know_home(weights):
    assert isinstance(
        frozen_features(small(TimmBackbone("test_resnet", pretrained=weights))).early, EarlyLayers
    )
    assert frozen_features(small(TimmBackbone("test_resnet"))).early is None
    assert frozen_features(small()).early is None
    assert learn_home(Features(), object(), torch.device("cpu")) is None
    assert not list(shards(small()))
