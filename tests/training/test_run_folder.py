"""A run folder is the run's; what else lies there, and whose folder it is, stays."""

import os
from pathlib import Path

import pytest

from dfd.training.run_folder import SHARED, discard, hold, open_run_folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SHARED, "")  # set by what is tested, and restored


def write(folder: Path) -> None:
    """What a run writes before it trains."""
    for name in ("run.json", "config.yaml", ".lock", "run.json.part-0123abcd"):
        (folder / name).touch()
    for name in ("checkpoints", "wandb/offline-run/files"):
        (folder / name).mkdir(parents=True)
    (folder / "wandb/offline-run/run.wandb").touch()
    (folder / "wandb/latest-run").symlink_to("offline-run")


def test_a_run_that_failed_at_once_removes_what_it_made():
    wanted = Path("runs/small_cnn/1").absolute()
    made = [parent for parent in wanted.parents if not parent.exists()]
    folder = open_run_folder(wanted, fresh=False, rank=0)
    write(folder)
    discard(folder, made)
    assert os.listdir() == []


def test_an_empty_folder_of_the_users_own_stays():
    Path("mine").mkdir()
    folder = open_run_folder(Path("mine"), fresh=False, rank=0)
    write(folder)
    discard(folder, [])
    assert os.listdir() == ["mine"] and os.listdir("mine") == []


@pytest.mark.parametrize("kind", ["file", "link", "link to a folder", "link to nothing", "pipe"])
def test_a_folder_with_anything_else_is_left_as_it_is(kind, tmp_path):
    folder = open_run_folder(Path("run"), fresh=False, rank=0)
    write(folder)
    other = folder / "run.json.part-mine"
    if kind == "file":
        other.touch()
    elif kind == "pipe":
        os.mkfifo(other)
    else:
        other.symlink_to({"link": "config.yaml", "link to a folder": tmp_path}.get(kind, "nowhere"))
    before = sorted(folder.rglob("*"))
    discard(folder, [])
    assert sorted(folder.rglob("*")) == before


def test_what_killed_runs_left_goes_when_the_run_goes_on():
    folder = open_run_folder(Path("run"), fresh=False, rank=0)
    for name in ("run.json.part-0123abcd", "metrics.csv.part-0123abcd", "thesis.part-0123abcd"):
        (folder / name).touch()
    hold(folder)
    assert sorted(os.listdir(folder)) == [".lock", "thesis.part-0123abcd"]


def test_a_pipe_in_the_place_of_a_file_is_refused_before_the_run():
    Path("run").mkdir()
    os.mkfifo("run/metrics.csv")
    with pytest.raises(ValueError, match=r"run/metrics.csv is a named pipe, where a file is to be written"):
        open_run_folder(Path("run"), fresh=False, rank=0)
