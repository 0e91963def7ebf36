"""`--allow PACKAGE` in every verb that opens a checkpoint."""

import sys

import pytest
import torch
from small import FIT

from dfd.cli import main
from dfd.cli.error_messages import UsageError
from dfd.cli.lightning_verbs import _allowed
from dfd.models import SingleStream, SmallCNN, recipe

NET = '''
from dfd.models import SmallCNN

class Backbone(SmallCNN):
    """A net of one's own."""
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "my_package.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    yield "my_package"
    sys.modules.pop("my_package", None)


@pytest.fixture
def checkpoint(tmp_path):
    net = SingleStream(SmallCNN(4))
    made = recipe(net)
    made["init_args"]["backbone"]["class_path"] = "my_package.Backbone"
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": {"net": made}, "state_dict": weights}, tmp_path / "own.ckpt")
    return str(tmp_path / "own.ckpt")


def test_packages_are_taken_out_of_a_command_line():
    args = ["best.ckpt", "--allow", "a", "--data.x=1", "--allow=b.", "--data.allow", "c"]
    assert _allowed(args) == (("a", "b."), ["best.ckpt", "--data.x=1", "--data.allow", "c"])
    with pytest.raises(UsageError, match="--allow my_package"):
        _allowed(["best.ckpt", "--allow"])


@pytest.mark.parametrize("verb", ["test", "validate", "predict", "score", "export", "generate"])
def test_each_verb_says_its_own_option_and_takes_it(verb, checkpoint, package, tmp_path, capsys):
    more = {
        "score": [checkpoint],
        "export": ["--out", "x.safetensors"],
        "generate": ["--num=1", "--like=x", "--out=y"],
    }.get(verb, [])
    assert main([verb, checkpoint, *more]) == 1
    said = capsys.readouterr().err
    assert f"{checkpoint}: the net is a my_package.Backbone" in said and "PYTHONPATH" in said
    assert "--allow my_package;" in said and "allow=" not in said and "my_package" not in sys.modules
    main([verb, checkpoint, *more, "--allow", "my_package"])
    assert "outside dfd" not in capsys.readouterr().err and "my_package" in sys.modules


def test_a_package_that_is_not_found_asks_for_pythonpath(checkpoint, tmp_path, capsys):
    assert main(["test", checkpoint, "--allow", "my_package"]) == 1
    assert "no package 'my_package' here: is its folder on PYTHONPATH?" in capsys.readouterr().err
    assert main(["fit", "--config", "small_cnn", "--model.net", "my_package.nets.MyNet"]) == 2
    assert "no package 'my_package' here" in (said := capsys.readouterr().err) and "PYTHONPATH" in said


@pytest.mark.slow
def test_a_net_of_ones_own_is_trained_judged_and_trained_on(package, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    own = ["--model.net.backbone=my_package.Backbone", "--model.net.backbone.width=4"]
    assert main([*FIT, *own, "--run_folder=run"]) == 0
    assert main(["test", "run/checkpoints/best.ckpt"]) == 1
    assert main(["test", "run/checkpoints/best.ckpt", "--allow", "my_package"]) == 0
    more = ["--run_folder=more", "--ckpt_path=run/checkpoints/last.ckpt", "--trainer.max_epochs=2"]
    assert main([*FIT, *own, *more, "--allow=my_package"]) == 0
