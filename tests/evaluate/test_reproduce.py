"""A listed detector is made again by one command, and has its name where it reaches the listed figures."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from released_lists import FIGURE, entry, write_list

from dfd.cli import main
from dfd.evaluate.reproduce import Reached
from dfd.released.entry import Figure
from dfd.released.signature import new_key
from dfd.released.store import held
from dfd.synthetic.toy import draw_sample

RECIPE = {
    "reader": "class_folders",
    "source": "drawn",
    "needs": "drawings in real and fake",
    "where": "The toy set draws them",
    "fit": ["--config", "small_cnn", "--data", "data/140k.yaml", "--config", "overlay/smoke"],
    "epochs": 2,
    "takes": "seconds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    new_key(tmp_path / "key.pem")
    return tmp_path


def of_list(place: Path, low: float, **changes) -> list[str]:
    """Options that name a list whose detector has at least so much AUROC."""
    figure = {**FIGURE, "source": "drawn", "value": max(low, 0.5), "low": low, "high": 1.0}
    made = entry(recipe=RECIPE, figures=[figure, FIGURE]) | changes
    return [
        "--list",
        str(write_list(place / "list.yaml", place / "key.pem", made)),
        "--trust",
        str(place / "key.pub"),
    ]


@pytest.fixture
def unlabelled(place) -> Path:
    """Drawings in folders that have nothing to do with what is forged, so that no net tells them all apart."""
    for number in range(100):
        split = ("train", "train", "train", "valid", "test")[number // 20]
        folder = place / "drawn" / split / ("real", "fake")[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(draw_sample(number, 100, 128, seed=0)["image_bytes"])
    return place / "drawn"


def test_a_figure_is_reached_from_the_lower_end_of_the_listed_interval_on():
    figure = Figure(**FIGURE)
    assert Reached(figure, 0.85, 0.8, 0.9, 340).enough and Reached(figure, 0.99, 0.98, 1.0, 340).enough
    below = Reached(figure, 0.84, 0.8, 0.9, 40)
    assert not below.enough
    assert str(below) == (
        "auroc of faces, clean: .840 (.800, .900) of 40 images. Listed: .900 (.850, .950) of 340. "
        "NOT reached, .010 below the interval"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--data", "nowhere"],
            "there is no folder nowhere. faces-small is made of drawings in real and fake",
        ),
        (["--data", ".", "--epochs", "0"], "--epochs 0: at least 1"),
        (["--data", ".", "--weights", "nowhere.safetensors"], "there is no such file"),
        (["--data", ".", "--weights", "key.pem"], "begins with no pretrained weights"),
        (["--data", "."], "which is only read"),
        (["--data", "cache", "--out", "full"], "is not empty, and `dfd reproduce` did not begin it"),
    ],
)
def test_what_cannot_begin_is_one_line_before_anything_is_made(place, words, said, capsys):
    (place / "cache").mkdir()
    (place / "full").mkdir()
    (place / "full" / "mine.txt").touch()
    out = [] if "--out" in words else ["--out", "made"]
    assert main(["reproduce", "faces-small", *words, *out, *of_list(place, 0.0)]) == 1
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out, captured.err
    assert not (place / "made").exists()


def test_without_a_recipe_there_is_nothing_to_make(place, capsys):
    file = {"name": "model.onnx", "bytes": 1, "sha256": "0" * 64, "mirrors": ["model.onnx"]}
    options = of_list(place, 0.0, recipe=None, files=[file])
    assert main(["reproduce", "faces-small", "--data", ".", "--out", "made", *options]) == 1
    assert "faces-small has no recipe in the list" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_killed_goes_on_falls_short_and_is_kept_once_it_reaches_the_list(place, unlabelled, capfd):
    words = ["reproduce", "faces-small", "--data", "drawn", "--out", "made"]
    out = place / "made"
    # told to end while it trains, by a signal that its training's own process does not get
    begun = subprocess.Popen([sys.executable, "-m", "dfd.cli", *words, *of_list(place, 1.0)])
    while not (out / "run" / "run.json").is_file():
        assert begun.poll() is None
        time.sleep(0.05)
    begun.terminate()
    assert begun.wait(timeout=120) == 128 + signal.SIGTERM and not (out / "run" / "summary.yaml").exists()

    capfd.readouterr()
    assert main([*words, *of_list(place, 1.0)]) == 1
    said = capfd.readouterr().out
    assert "$ dfd prepare" not in said and "$ dfd fit --config small_cnn" in said
    assert "NOT reached" in said and "1 of 1 figures are below the list's intervals" in said
    assert held("faces-small") is None
    made = {path.name for path in (out / "faces-small").iterdir()}
    assert made == {"model.safetensors", "config.json", "README.md"}
    assert (out / "faces-small" / "README.md").read_text() == (out / "MODEL_CARD.md").read_text()

    assert main([*words, *of_list(place, 0.0)]) == 0
    said = capfd.readouterr().out
    assert "$ dfd" not in said  # all was done before
    one = held("faces-small")
    assert one.how == "reproduced" and one.reached[0].endswith("reached") and not one.faults()
    assert main(["score", "faces-small", str(next(unlabelled.rglob("*.jpg"))), "--whole", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["status"] == "ok"
    assert main([*words, "--epochs", "1", *of_list(place, 0.0)]) == 1
    assert "was begun with epochs 2, not 1" in capfd.readouterr().err
