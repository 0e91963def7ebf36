import sys
from pathlib import Path

import pytest
import torch
import yaml

import dfd.augment
import dfd.data
import dfd.models
import dfd.tasks
from dfd.cli.checkpoint_config import experiment_of
from dfd.cli.config_files import config_folder
from dfd.cli.trusted_classes import _types, foreign
from dfd.models import SingleStream, SmallCNN, recipe

DATA = {
    "class_path": "dfd.data.ToyDataModule",
    "init_args": {"num_images": 36, "view": {"size": 32}, "val_augment": None},
}
TASK = {
    "class_path": "dfd.tasks.ClassificationTask",
    "init_args": {"class_weight": "balanced", "ema_decay": None},
}
VIEW = {"size": 32, "crops": 5}
NET = SingleStream(SmallCNN(2))


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module whose import leaves a trace."""
    trace = tmp_path / "imported"
    (tmp_path / "planted.py").write_text(
        f"open({str(trace)!r}, 'w')\nclass Thing: pass\ndef thing(*args): return args[0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield trace
    sys.modules.pop("planted", None)


@pytest.fixture
def checkpoint(tmp_path):
    def write(**facts):
        weights = {f"net.{name}": value for name, value in NET.state_dict().items()}
        made = {"net": recipe(NET), "task": TASK, "data": DATA, "view": VIEW, **facts}
        torch.save({"dfd": made, "state_dict": weights}, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt"

    return write


def with_argument(made: dict, **arguments) -> dict:
    return {**made, "init_args": {**made["init_args"], **arguments}}


THINGS = [
    "planted.thing",
    "planted.Thing",
    {"class_path": "planted.Thing"},
    {"class_path": "planted.Thing", "init_args": {}},
    "{class_path: planted.Thing}",
    '{"class\\x5fpath": "planted.Thing", "init_args": {}}',
    "class_path: planted.Thing",
    "dfd.media.decode.os.system",
    {"class_path": "dfd.cli.main", "init_args": {}},
    {"class_path": "dfd.cli.__main__.main", "init_args": {}},
    {"class_path": "dfd.media.decode.os.system", "init_args": {}},
    {"class_path": "dfd.models.checkpoint.Path", "init_args": {}},
    {"class_path": ["dfd.models.SmallCNN"], "init_args": {}},
    {"class_path": "dfd.models.../../", "init_args": {}},
]


@pytest.mark.parametrize("thing", THINGS, ids=str)
def test_a_file_cannot_name_code_wherever_it_hides_it(planted, checkpoint, thing):
    places = [
        {"task": thing},
        {"task": with_argument(TASK, attack=thing)},
        {"task": with_argument(TASK, penalty=[1, {"deep": thing}])},
        {"data": thing},
        {"data": with_argument(DATA, val_augment=thing)},
        {"data": with_argument(DATA, val_augment=[thing])},
        {"data": with_argument(DATA, mix=thing)},
        {"data": with_argument(DATA, view=thing)},
        {"data": {**DATA, "dict_kwargs": {"more": thing}}},
        {"view": thing},
    ]
    for facts in places:
        with pytest.raises(ValueError, match=r"code from outside dfd|dfd did not write it"):
            experiment_of(checkpoint(**facts))
    assert not planted.exists()


def test_a_net_cannot_carry_it_past_its_own_constructor(planted, checkpoint):
    made = with_argument(recipe(NET), backbone="planted.Thing")
    with pytest.raises(ValueError, match="another version"):
        experiment_of(checkpoint(net=made))
    assert list(foreign(made)) == ["planted.Thing"]
    backbone = {
        "class_path": "dfd.models.TimmBackbone",
        "init_args": {"name": "test_resnet", "pretrained": False},
    }
    for text, found in (("silu", []), ("{class_path: planted.Thing}", ["{class_path: planted.Thing}"])):
        assert list(foreign(with_argument(backbone, options={"act_layer": text}))) == found
    assert not planted.exists()


def test_what_dfd_writes_is_never_foreign(checkpoint):
    experiment, view = experiment_of(checkpoint())
    assert experiment["data"] == DATA and view == VIEW
    roots = ["/home/first.last/shards.v2", "my.shards", "{odd}: name"]
    assert not list(foreign(with_argument(DATA, class_path="dfd.data.ShardDataModule", roots=roots)))
    cached = with_argument(
        DATA, class_path="dfd.data.ShardDataModule", cache={"folder": "/mnt/cache", "gb": 3, "patience": 9.0}
    )
    assert not list(foreign(cached))
    assert list(
        foreign(with_argument(DATA, class_path="dfd.data.ShardDataModule", cache={"class_path": "os.system"}))
    ) == ["os.system"]
    folder = config_folder()
    for path in sorted(Path(folder).glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        task = config["model"]
        task["init_args"].pop("optimizer", None)
        assert not list(foreign(task)), path
        data = config["data"]
        data = yaml.safe_load((folder / data).read_text()) if isinstance(data, str) else data
        assert not list(foreign(data)), path


@pytest.mark.parametrize(
    "home", [dfd.models, dfd.tasks, dfd.data, dfd.augment], ids=lambda home: home.__name__
)
def test_the_types_of_what_configs_name_are_known(home):
    for name in home.__all__:
        if isinstance(cls := getattr(home, name), type):
            assert isinstance(_types(cls), dict), name
