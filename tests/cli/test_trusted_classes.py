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
SHARDS = {"class_path": "dfd.data.ShardDataModule", "init_args": {"roots": ["shards/mine"]}}
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
        {"data": thing},
        {"data": with_argument(DATA, val_augment=thing)},
        {"data": with_argument(DATA, val_augment=[thing])},
        {"data": with_argument(DATA, view=thing)},
        {"view": thing},
    ]
    left_out = [
        {"task": with_argument(TASK, attack=thing)},
        {"task": with_argument(TASK, penalty=[1, {"deep": thing}])},
        {"data": with_argument(DATA, mix=thing)},
        {"data": with_argument(SHARDS, cache=thing)},
        {"data": with_argument(DATA, folder=thing)},
        {"data": {**DATA, "dict_kwargs": {"more": thing}}},
    ]
    for facts in places:
        with pytest.raises(ValueError, match=r"code from outside dfd|dfd did not write it|dfd alone"):
            experiment_of(checkpoint(**facts))
    for facts in left_out:
        experiment, _ = experiment_of(checkpoint(**facts))
        assert repr(thing) not in repr(experiment), facts
    assert not planted.exists()


def test_a_file_chooses_neither_where_to_write_nor_whom_to_ask(checkpoint):
    """Only what judges is taken from a checkpoint."""
    made = with_argument(
        SHARDS,
        view={"size": 32},
        batch_size=8,
        val_augment=[{"class_path": "dfd.augment.Corruption", "init_args": {"name": "jpeg"}}],
        cache={"folder": "/home/ada/pictures", "gb": 0.001},
        augment=[{"class_path": "dfd.augment.Augment"}],
        window=3,
        max_undecodable=1.0,
    )
    experiment, _ = experiment_of(checkpoint(data=made))
    kept = {"roots", "view", "batch_size", "val_augment"}
    assert experiment["data"] == {
        "class_path": made["class_path"],
        "init_args": {name: made["init_args"][name] for name in kept},
    }
    toy = with_argument(DATA, folder="/home/ada/pictures", num_workers=0)
    assert experiment_of(checkpoint(data=toy))[0]["data"] == with_argument(DATA, num_workers=0)
    task = with_argument(TASK, ema_decay=None, channels_last=False, warmup=0.1)
    assert experiment_of(checkpoint(task=task))[0]["model"]["init_args"].keys() == {
        "ema_decay",
        "channels_last",
        "net",
    }
    for roots in (
        "s3://bucket/x",
        ["here", "http://127.0.0.1:9/x"],
        {"https://host/x": 1.0},
        "simplecache::file://x",
    ):
        away = checkpoint(data=with_argument(SHARDS, roots=roots))
        with pytest.raises(ValueError, match=r"may not choose an address.*--data\.roots=ADDRESS"):
            experiment_of(away)
        experiment_of(away, roots=False)  # the user has named others
    attacked = {
        "class_path": "dfd.tasks.AdversarialTask",
        "init_args": {"attack": {"class_path": "dfd.augment.PGD"}},
    }
    assert (
        experiment_of(checkpoint(task=attacked))[0]["model"]["class_path"] == "dfd.tasks.ClassificationTask"
    )
    for roots in (None, 3, [None], [""], {3: 1}, [["a"]]):
        with pytest.raises(ValueError, match="dfd did not write it"):
            experiment_of(checkpoint(data=with_argument(SHARDS, roots=roots)))
    for costly in (
        {"num_images": 10**6},
        {"picture": 10**5},
        {"batch_size": 10**9},
        {"num_workers": 10**4},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match="a file is believed from 0 to"):
            experiment_of(checkpoint(data=with_argument(DATA, **costly)))


def test_a_file_has_nothing_downloaded(checkpoint):
    """No net as a transform, whose constructor would fetch its weights."""
    backbone = {
        "class_path": "dfd.models.TimmBackbone",
        "init_args": {"name": "test_resnet", "pretrained": True},
    }
    for made in (
        with_argument(DATA, val_augment=[backbone]),
        with_argument(
            DATA, val_augment=[{"class_path": "dfd.augment.Augment", "init_args": {"x": [backbone]}}]
        ),
    ):
        with pytest.raises(ValueError, match=r"names dfd\.models\.TimmBackbone as data"):
            experiment_of(checkpoint(data=made))
    net = with_argument(recipe(NET), backbone=with_argument(backbone, options={"pretrained": True}))
    with pytest.raises(ValueError, match="pretrained=PATH alone"):
        experiment_of(checkpoint(net=net))


def test_an_allowed_package_may_be_named_and_no_other(planted, checkpoint):
    own = with_argument(
        DATA, val_augment={"class_path": "planted.Thing", "init_args": {"word": "planted.thing"}}
    )
    with pytest.raises(ValueError, match=r'data is a planted\.Thing.*allow=\("planted\.",\)') as refused:
        experiment_of(checkpoint(data=own))
    assert "--allow planted;" in refused.value.on_command_line
    for allow in (("planted",), ("planted.",)):
        experiment, _ = experiment_of(checkpoint(data=own), allow)
        assert experiment["data"] == own
    with pytest.raises(ValueError, match="code from outside dfd"):
        experiment_of(checkpoint(data=own), ("plant",))
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
