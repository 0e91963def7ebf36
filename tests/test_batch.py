"""What strangers may ask of one another: data modules, tasks and callbacks keep to the Protocols of
dfd.batch.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, LightningModule, Trainer

import dfd.callbacks
from dfd.batch import DetectionData, JudgingTask, Predictions
from dfd.data import ShardDataModule, ToyDataModule
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN
from dfd.tasks import AdversarialTask, ClassificationTask, DetectionTask, GANTask

CALLBACKS = sorted(Path(dfd.callbacks.__file__).parent.glob("*.py"))


def members(protocol) -> set[str]:
    return {name for name in {**protocol.__annotations__, **vars(protocol)} if not name.startswith("_")}


def test_data_modules_keep_to_the_contract(toy_shards, tmp_path):
    view = View(size=32, longest=64)
    toy = ToyDataModule(num_images=36, picture=64, folder=str(tmp_path), view=view)
    toy.prepare_data()
    for data in (toy, ShardDataModule(str(toy_shards), view=view)):
        data.setup("fit")
        assert isinstance(data, DetectionData), type(data)


def test_tasks_keep_to_the_contract():
    net = SingleStream(SmallCNN(width=8))
    attack = torch.nn.Identity()
    for task in (DetectionTask(net), ClassificationTask(net), AdversarialTask(net, attack)):
        assert isinstance(task, JudgingTask), type(task)


@pytest.mark.parametrize("path", CALLBACKS, ids=lambda path: path.stem)
def test_callbacks_ask_for_nothing_else(path):
    """Of a task and a data module they read what Lightning gives, and what the Protocols name."""
    allowed = {
        "task": members(JudgingTask)
        | set(dir(LightningModule))
        | {"samples", "pictures"},  # of tasks that draw, for the callbacks of these
        "data": members(DetectionData) | set(dir(LightningDataModule)),
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        of = ast.unparse(node.value)
        whose = "data" if of.endswith(("datamodule", "data")) else "task" if of == "task" else None
        if whose:
            assert node.attr in allowed[whose], f"{path.name}:{node.lineno}: {of}.{node.attr}"
    assert hasattr(GANTask, "samples") and hasattr(Trainer, "save_checkpoint")


def test_what_a_data_module_does_not_describe_is_unknown():
    table = Predictions.of(
        np.arange(3), np.zeros(3), np.array([0, 1, -1]), {"source": np.array(["a", "a", "b"])}
    )
    assert (
        table.source.tolist() == ["a", "a", "b"] and table.method.tolist() == table.clip.tolist() == [""] * 3
    )
    assert table.num_families == 3 and len(table.where(table.source == "a")) == 2
