import copy
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from dfd.calibration import Temperature
from dfd.detector import load_net
from dfd.models import (
    DualStream,
    Gate,
    LogSpectrum,
    Net,
    SingleStream,
    SmallCNN,
    TimmBackbone,
    build,
    recipe,
)


class Tilted(SingleStream):
    """A subclass with arguments of its own."""

    def __init__(self, tilt: float, **more):
        super().__init__(SmallCNN(8), **more)
        self.tilt = tilt


class Plain(SmallCNN):
    """A subclass without an __init__."""


class Listed(Net):
    def __init__(self, parts: list, table: dict | None = None):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.table = table
        parts.append("written after the call")


@pytest.fixture
def saved(tmp_path):
    """Writes what Lightning would write of a task that holds `net`."""

    def save(net, average=None, **changes):
        weights = {f"net.{name}": value for name, value in net.state_dict().items()}
        if average is not None:
            weights |= {f"average.module.{name}": value for name, value in average.state_dict().items()}
            weights["average.n_averaged"] = torch.tensor(3)
        weights["temperature_"] = torch.ones(())
        checkpoint = {
            "state_dict": weights,
            "optimizer_states": [],
            "dfd": {"net": recipe(net), "temperature": 1.5},
        } | changes
        torch.save(checkpoint, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt"

    return save


def plain(value) -> bool:
    if type(value) in (dict, list):
        return all(plain(item) for item in (value.values() if type(value) is dict else value))
    return type(value) in (bool, int, float, str, type(None))


def test_recipe_names_class_arguments_and_defaults():
    found = recipe(
        DualStream(
            TimmBackbone("test_resnet"), fft=SmallCNN(width=8, in_channels=1), spectrum=LogSpectrum("luma")
        )
    )
    assert found["class_path"] == "dfd.models.DualStream"
    assert found["init_args"]["rgb"]["init_args"] == {
        "name": "test_resnet",
        "pretrained": False,
        "options": None,
    }
    assert found["init_args"]["fft"] == {
        "class_path": "dfd.models.SmallCNN",
        "init_args": {"width": 8, "in_channels": 1},
    }
    assert found["init_args"]["spectrum"]["init_args"] == {"color": "luma", "bins": 128}
    assert found["init_args"]["dropout"] == 0.2
    assert plain(found)


def test_recipe_of_subclasses_is_seen_from_the_outside():
    allow = (f"{__name__}.",)
    tilted = recipe(Tilted(2.0, dropout=0.4))
    assert tilted == {"class_path": f"{__name__}.Tilted", "init_args": {"tilt": 2.0, "dropout": 0.4}}
    again = build(tilted, allow)
    assert type(again) is Tilted and again.dropout.p == 0.4
    assert recipe(Plain(8)) == {
        "class_path": f"{__name__}.Plain",
        "init_args": {"width": 8, "in_channels": 3},
    }


def test_recipe_takes_nets_in_lists_and_plain_values_of_any_make(tmp_path):
    net = Listed([SmallCNN(8), SmallCNN(10)], {"sizes": (1, 2), "rate": np.float64(0.5), "where": tmp_path})
    found = recipe(net)["init_args"]
    # and not what was appended later
    assert [part["init_args"]["width"] for part in found["parts"]] == [8, 10]
    assert found["table"] == {"sizes": [1, 2], "rate": 0.5, "where": str(tmp_path)} and plain(found)
    assert [part.num_features for part in build(recipe(net), (f"{__name__}.",)).parts] == [32, 40]


def test_copies_keep_their_recipe_and_saving_draws_nothing():
    net = SingleStream(SmallCNN(8), dropout=0.5)
    state = torch.get_rng_state()
    expected = recipe(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe(copy.deepcopy(net)) == recipe(pickle.loads(pickle.dumps(net))) == expected


def changed_net():
    net = SingleStream(SmallCNN(8))
    net.head = nn.Linear(32, 2)
    return net


def local_net():
    class Local(SmallCNN):
        pass

    return Local(8)


def main_net():
    cls = type("Sketch", (SmallCNN,), {"__module__": "__main__"})
    return cls(8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(2, 1), "torch.nn.modules.linear.Linear could not be rebuilt"),
        (lambda: SingleStream(nn.Identity()), "Identity"),
        (lambda: Tilted(torch.tensor(1.0)), "given a Tensor"),
        (local_net, "a function or a class"),
        (main_net, "a notebook, a script"),
        (changed_net, r"was changed after it was made \(of another shape: head"),
    ],
)
def test_a_net_that_could_not_be_rebuilt_is_refused(make, words, monkeypatch):
    monkeypatch.setattr(nn.Identity, "num_features", 4, raising=False)
    with pytest.raises(ValueError, match=words):
        recipe(make())


@pytest.mark.parametrize(
    ("class_path", "words"),
    [
        ("os.system", r'allow=\("os.",\)'),
        ("dfdx.Net", r'allow=\("dfdx.",\)'),
        ("builtins.eval", r'allow=\("builtins.",\)'),
        ("eval", r'allow=\("eval.",\)'),
        ("", r"allow="),
        ("dfd", r'allow=\("dfd.",\)'),
        ("dfd.", "cannot be imported|not a dfd.models.Net"),
        ("dfd.models.../../", "dfd did not write this"),
        ("dfd..os.system", "cannot be imported"),
        ("dfd.models.checkpoint.os.system", "cannot be imported"),
        ("dfd.models.checkpoint.read_checkpoint", "not a dfd.models.Net"),
        ("dfd.models.checkpoint.Path", "not a dfd.models.Net"),
        ("dfd.cli.main", "not a dfd.models.Net"),
        ("dfd.cli.__main__.main", "not a dfd.models.Net"),  # importing it would run dfd
        ("dfd.tasks.ClassificationTask", "not a dfd.models.Net"),
        ("dfd.models.checkpoint.torch.load", "cannot be imported"),
        ("dfd.models.cnn.LargeCNN", "cannot be imported"),
    ],
)
def test_build_imports_our_nets_only(class_path, words):
    with pytest.raises(ValueError, match=words):
        build({"class_path": class_path, "init_args": {}})
    nested = recipe(SingleStream(SmallCNN(8)))
    nested["init_args"]["backbone"]["class_path"] = class_path
    with pytest.raises(ValueError, match=words):
        build(nested)


@pytest.mark.parametrize(
    "made",
    [
        None,
        [],
        "dfd.models.SmallCNN",
        {},
        {"class_path": "dfd.models.SmallCNN"},
        {"class_path": 3, "init_args": {}},
    ],
)
def test_what_is_no_recipe_is_refused(made, saved):
    with pytest.raises(ValueError, match="A net's recipe is a class path and its arguments"):
        build(made)
    with pytest.raises(ValueError, match=r"class path and (its )?arguments"):
        load_net(saved(SmallCNN(8), dfd={"net": made}))


@pytest.mark.parametrize("arguments", [{"depth": 3}, {"width": "wide"}])
def test_build_refuses_arguments_of_another_version(arguments):
    with pytest.raises(ValueError, match="another version"):
        build({"class_path": "dfd.models.cnn.SmallCNN", "init_args": arguments})
    with pytest.raises(ValueError, match="another version"):
        build({"class_path": "dfd.models.SingleStream", "init_args": {"backbone": "os.system"}})


def test_a_net_from_elsewhere_loads_when_it_is_allowed(saved, monkeypatch):
    module = types.ModuleType("elsewhere")
    module.Theirs = type("Theirs", (SmallCNN,), {"__module__": "elsewhere"})
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    path = saved(SingleStream(module.Theirs(8)))
    with pytest.raises(ValueError, match=r'allow=\("elsewhere.",\)'):
        load_net(path)
    assert type(load_net(path, allow=("elsewhere.",))[0].backbone) is module.Theirs


def test_load_net_gives_the_same_verdicts_and_the_facts(saved):
    torch.manual_seed(0)
    net = DualStream(TimmBackbone("test_efficientnet"), SmallCNN(8), fusion=Gate())
    image = torch.rand(2, 3, 64, 64)
    net(image)  # statistics move
    again, card = load_net(saved(net))
    assert not any(module.training for module in again.modules())
    assert card.calibration == Temperature(1.5), "as earlier versions stored it"
    assert torch.equal(again(image), net.eval()(image))


def test_load_net_prefers_the_average(saved):
    net, average = SmallCNN(8), SmallCNN(8)
    image = torch.rand(2, 3, 32, 32)
    again, _ = load_net(saved(net, average=average))
    assert torch.equal(again(image), average.eval()(image))


def test_load_net_needs_no_pretrained_file(saved, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(TimmBackbone("test_resnet").model.state_dict(), weights)
    net = SingleStream(TimmBackbone("test_resnet", pretrained=str(weights)))
    path = saved(net)
    weights.unlink()
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_net(path)[0](image), net.eval()(image))


def test_load_net_says_what_is_wrong_with_a_file(saved, tmp_path):
    with pytest.raises(ValueError, match="There is no checkpoint"):
        load_net(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match=r"There is no checkpoint .*\. That is a folder\. Give the path"):
        load_net(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"is a picture\. The checkpoint comes first"):
        load_net(tmp_path / "photo.jpg")
    path = saved(SmallCNN(8))
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is incomplete"):
            load_net(path)
    for content in (b"", b"just a text\n", b"\x80\x02junk", np.random.default_rng(0).bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a checkpoint that dfd wrote\. Give a \.ckpt file\.$"):
            load_net(path)
    torch.save({"state_dict": {}, "epoch": 3}, path)
    with pytest.raises(ValueError, match="names no net"):
        load_net(path)


def test_load_net_runs_no_code_of_a_file(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict": {}, "dfd": {"net": Trap()}}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load_net(tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_load_net_refuses_weights_of_another_net(saved):
    with pytest.raises(ValueError, match=r"do not fit the dfd.models.SmallCNN.*another shape"):
        load_net(saved(SmallCNN(8), dfd={"net": recipe(SmallCNN(10))}))
    with pytest.raises(ValueError, match="missing"):
        load_net(saved(SmallCNN(8), state_dict={}))
