"""Classes of somebody, named by path: what they need not write, and what is said of what they lack."""

import sys

import pytest
import yaml
from small import FIT

from dfd.cli import main

OWN = '''
class Inverted:
    """A maker of pairs, as the guide describes it, without types."""

    method, needs_landmarks, needs_remade = "inverted", False, False

    def __init__(self, by=255):
        self.by = by

    def __call__(self, real, rng):
        return {**real, "image": self.by - real["image"], "label": 1}


class Brighter:
    """An attack, as the guide describes it, without types."""

    def __call__(self, net, image, label, seed=None):
        return (image + 0.01).clamp(0, 1)


class Nameless:
    def __call__(self, real, rng):
        return real


class Broken:
    def __call__(self, sample, rng):
        raise ValueError("no such thing")
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_classes.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_classes", raising=False)  # of another test's folder


def config_of(capsys, *args):
    assert main(["fit", *args, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("args", "group", "name", "class_path"),
    [
        (
            ("--config", "small_cnn", "--data", "data/140k.yaml", "--data.pairs", "own_classes.Inverted"),
            "data",
            "pairs",
            "own_classes.Inverted",
        ),
        (
            ("--config", "adversarial", "--model.attack", "own_classes.Brighter"),
            "model",
            "attack",
            "own_classes.Brighter",
        ),
    ],
)
def test_a_class_without_types_is_taken(own, capsys, args, group, name, class_path):
    made = config_of(capsys, *args)[group]["init_args"][name]
    assert made["class_path"] == class_path


def test_its_arguments_are_options(own, capsys):
    made = config_of(
        capsys,
        *("--config", "small_cnn", "--data", "data/140k.yaml"),
        *("--data.pairs", "own_classes.Inverted", "--data.pairs.by", "254"),
    )
    assert made["data"]["init_args"]["pairs"]["init_args"] == {"by": 254}


def test_what_a_maker_of_pairs_lacks_is_said(own, capsys, tmp_path):
    given = [
        "fit",
        "--config",
        "small_cnn",
        "--data",
        "data/140k.yaml",
        "--data.pairs",
        "own_classes.Nameless",
    ]
    assert main([*given, "--data.roots", str(tmp_path), "--run_folder", str(tmp_path / "run")]) in (1, 2)
    said = capsys.readouterr().err
    assert "Nameless is no maker of pairs: it has no method, needs_landmarks, needs_remade" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_its_code_says_where_it_was_raised(own, capsys, tmp_path, monkeypatch, workers):
    monkeypatch.chdir(tmp_path)
    assert (
        main([*FIT, "--run_folder=run", "--data.augment=own_classes.Broken", f"--data.num_workers={workers}"])
        == 1
    )
    line = OWN.splitlines().index('        raise ValueError("no such thing")') + 1
    said = f"dfd fit: no such thing (own_classes.py:{line}, in __call__; DFD_TRACEBACK=1 shows"
    assert said in capsys.readouterr().err


def test_an_error_of_dfd_names_no_line(capsys):
    assert main(["score", "nowhere.ckpt", "nothing.jpg"]) == 1
    assert ".py" not in capsys.readouterr().err
