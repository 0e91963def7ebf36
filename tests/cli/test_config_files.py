"""Configs that name files of their own, and what they say over those."""

import json

import pytest
import yaml

from dfd.cli import main
from dfd.cli.config_files import config_folder, find_config, with_paths
from dfd.cli.error_messages import UsageError, shortened

MODEL = """
seed_everything: 0
model:
  class_path: dfd.tasks.ClassificationTask
  init_args:
    net:
      class_path: dfd.models.SingleStream
      init_args:
        backbone: {class_path: dfd.models.SmallCNN, init_args: {width: 8}}
"""


@pytest.fixture
def resolved(tmp_path, monkeypatch, capsys):
    """What a config is, on top of MODEL, once all files are read."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, *options: str) -> dict:
        (tmp_path / "mine.yaml").write_text(text if text.startswith("{") else MODEL + text)
        code = main(["fit", "--config", "mine.yaml", *options, "--print_config"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return yaml.safe_load(said.out)

    return read


def callbacks(config) -> list[str]:
    return [each["class_path"].rpartition(".")[2] for each in config["trainer"]["callbacks"]]


SUPERVISED = ["ModelCheckpoint", "ModelCheckpoint", "EarlyStopping", "Curves"]


def test_a_trainer_may_be_a_file(resolved):
    config = resolved("data: data/toy.yaml\ntrainer: trainer/supervised.yaml\n")
    assert callbacks(config) == SUPERVISED and config["trainer"]["max_epochs"] == 12
    assert config["data"]["class_path"] == "dfd.data.ToyDataModule"


def test_a_config_that_is_written_as_json_is_read_alike(resolved):
    lines = {
        "data": "data/toy.yaml",
        "data.batch_size": 48,
        "trainer": "trainer/supervised.yaml",
        "trainer.max_epochs": 8,
    }
    config = resolved(json.dumps(yaml.safe_load(MODEL) | lines))
    assert callbacks(config) == SUPERVISED and config["trainer"]["max_epochs"] == 8
    assert config["data"]["class_path"] == "dfd.data.ToyDataModule"
    assert config["data"]["init_args"]["batch_size"] == 48


LINES = """
data: data/toy.yaml
data.batch_size: 64
data.augment.preset: strong  # a word

# in between
data.view: {size: 32,
  longest: 64}
trainer: trainer/supervised.yaml
trainer.max_epochs: 8
trainer.callbacks+:
# two more
- class_path: dfd.callbacks.AttributionGrid
  init_args:
    num_images: 4
- class_path: dfd.callbacks.Compile
trainer.precision: null
"""


def test_lines_with_a_dot_lie_over_the_file_beside_them(resolved):
    config = resolved(LINES)
    assert callbacks(config) == [*SUPERVISED, "AttributionGrid", "Compile"]
    assert config["trainer"]["callbacks"][4]["init_args"]["num_images"] == 4
    assert config["trainer"]["max_epochs"] == 8 and config["trainer"]["precision"] is None
    data = config["data"]["init_args"]
    assert (data["batch_size"], data["view"]["size"], data["view"]["margin"]) == (64, 32, 1.84)
    assert data["augment"][0]["init_args"]["preset"] == "strong"


def test_later_configs_and_options_lie_over_such_lines(resolved):
    lines = "data: data/toy.yaml\ntrainer: trainer/supervised.yaml\ntrainer.max_epochs: 8\n"
    more = "trainer.callbacks+: [{class_path: dfd.callbacks.AttributionGrid}]"
    config = resolved(lines + more, "--config", "overlay/smoke", "--config", "overlay/compile")
    assert config["trainer"]["max_epochs"] == 1
    assert callbacks(config) == [*SUPERVISED, "AttributionGrid", "Compile"]
    assert resolved(lines + more, "--trainer.max_epochs=3")["trainer"]["max_epochs"] == 3


def test_a_line_with_a_dot_that_is_no_option_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"{MODEL}data: data/toy.yaml\ntrainer.max_epoch: 8\n")
    assert main(["fit", "--config", "mine.yaml", "--print_config"]) == 2
    assert "no option trainer.max_epoch. Did you mean" in capsys.readouterr().err


def test_data_that_would_undo_such_lines_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "over.yaml").write_text("data.batch_size: 4\n")
    overlay = ["--config", "small_cnn", "--config", "over.yaml", "--data", "data/toy.yaml"]
    assert main(["fit", *overlay, "--print_config"]) == 2
    assert "--data data/toy.yaml would undo what --config over.yaml says" in capsys.readouterr().err


def test_two_ways_of_fine_tuning_are_refused(capsys):
    one = ["--config", "single_stream", "--config", "overlay/linear_probe"]
    assert main(["fit", *one, "--config", "overlay/gradual", "--print_config"]) == 2
    said = capsys.readouterr().err
    assert "overlay/linear_probe and --config overlay/gradual each say which weights learn" in said
    assert main(["fit", *one, "--config", "overlay/cpu", "--print_config"]) == 0


@pytest.mark.parametrize("name", ["small_cnn", "small_cnn.yaml", "data/toy.yaml"])
def test_a_name_of_dfds_own_is_not_taken_over_by_the_current_folder(name, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    file = name if name.endswith(".yaml") else f"{name}.yaml"
    (tmp_path / file).write_text("evil: 1\n")
    with caplog.at_level("INFO", "dfd"):
        assert find_config(name) == (config_folder() / file).resolve()
    assert f"config {name}: the one that dfd ships" in caplog.text and f"./{name}" in caplog.text
    caplog.clear()
    for own in (f"./{name}", str(tmp_path / name)):
        assert find_config(own) == (tmp_path / file).resolve()


def test_a_name_that_is_the_current_folders_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seed_everything: 0\n")
    with caplog.at_level("INFO", "dfd"):
        assert find_config("mine.yaml") == find_config("mine") == (tmp_path / "mine.yaml").resolve()
    assert caplog.text.count("config mine: mine.yaml of this folder") == 1


def test_a_data_config_goes_by_its_name_too():
    for name in ("data/blends", "data/blends.yaml"):
        _, args = with_paths(["--config", "single_stream", "--data", name])
        assert args[-1].endswith("configs/data/blends.yaml")
    for value in ("dfd.data.ToyDataModule", '{"class_path": "x", "init_args": {"roots": "a/b"}}', "null"):
        assert with_paths(["--data", value])[1] == ["--data", value]
    with pytest.raises(UsageError, match=r"there is no config 'data/blend'.*Did you mean data/blends"):
        with_paths(["--data", "data/blend"])


def test_a_long_line_keeps_its_end_which_says_what_to_do():
    said = shortened(f"it came: {'x' * 3000}. Do this next.")
    assert said.startswith("it came: xxx") and said.endswith("Do this next.") and len(said) < 820


def test_a_long_line_loses_its_middle_between_words():
    names = [f"layer{number}.weight" for number in range(200)]
    said = shortened(f"these differ: {', '.join(names)}. Do this next.")
    kept = said.removeprefix("these differ: ").removesuffix(". Do this next.").replace(" ... ", " ")
    assert set(kept.split(", ")) <= set(names) and len(said) < 820
