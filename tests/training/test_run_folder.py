"""A run folder is the run's; what else lies there, and whose folder it is, stays."""

import os
import re
from pathlib import Path

import pytest

from dfd import run_record
from dfd.run_record import STAGES
from dfd.training.folder_owner import config_head
from dfd.training.run_folder import SHARED, discard, hold, open_run_folder, remember, restore


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


@pytest.mark.parametrize(
    ("ended", "trainer", "more"),
    [
        ("epochs: 3\nsteps: 12", "max_epochs: 3\n  max_steps: -1", "a --trainer.max_epochs above 3."),
        ("epochs: 0\nsteps: 4", "max_epochs: 3\n  max_steps: 4", "a --trainer.max_steps above 4."),
        (
            "epochs: 2\nsteps: 8\nstopped early: val/loss has not improved for 1 validations",
            "max_epochs: 9\n  max_steps: -1",
            "without what stopped it early (val/loss has not improved for 1 validations).",
        ),
    ],
)
def test_a_finished_run_says_what_it_takes_to_train_on(ended, trainer, more):
    fill("fit", old=False)
    put("config.yaml", f"trainer:\n  {trainer}\n")
    put("summary.yaml", ended)
    with pytest.raises(ValueError, match=r"finished run\. To train anew, give another --run_folder\.$"):
        open_run_folder(Path("mine"), fresh=False, rank=0)
    put("checkpoints/last.ckpt", "")
    on = f"To train on where it ended, give that, --ckpt_path mine/checkpoints/last.ckpt, and {more}"
    with pytest.raises(ValueError, match=re.escape(on)):
        open_run_folder(Path("mine"), fresh=False, rank=0)
    with pytest.raises(ValueError, match=r"holds what dfd fit wrote(?!.*train)"):
        open_run_folder(Path("mine"), fresh=False, rank=0, verb="test")


def test_what_a_refused_start_replaced_is_as_it_was():
    fill("fit", old=False)
    put("wandb/data.json", "{}")
    put("wandb/offline-run-1/run.wandb", "first")
    Path("mine/wandb/latest-run").symlink_to("offline-run-1")

    def seen() -> dict[Path, bytes | str]:
        return {
            path: os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in Path("mine").rglob("*")
            if path.is_symlink() or path.is_file()
        }

    before = seen()
    kept = remember(Path("mine"))
    run_record.begin(Path("mine"), ["fit", "--data.seed=7"])
    Path("mine/metrics.csv").unlink()
    for name in ("config.yaml", "wandb/data.json", "wandb/debug.log", "wandb/offline-run-2/run.wandb"):
        put(name, "other")
    Path("mine/wandb/latest-run").unlink()
    Path("mine/wandb/latest-run").symlink_to("offline-run-2")
    restore(kept)
    assert seen() == before and not Path("mine/wandb/offline-run-2").exists()


FIT_WRITES = [
    "run.json", "config.yaml", ".lock", "metrics.csv", "summary.yaml", "undecodable.csv", "not_finite.csv",
    "checkpoints/last.ckpt", "plots/val.png", "wandb/data.json",
]  # fmt: skip
JUDGING_WRITES = ["config.yaml", "metrics.csv", "undecodable.csv", "plots/val.png"]


def put(name: str, text: str) -> Path:
    path = Path("mine", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        *(("fit", name) for name in FIT_WRITES),
        *((verb, name) for verb in ("validate", "test", "predict") for name in JUDGING_WRITES),
        ("validate", "predictions-val.csv"),
        ("test", "predictions-test.csv"),
        ("predict", "predictions-predict.csv"),
    ],
)
def test_a_file_that_dfd_did_not_write_is_named_before_anything_is_written(verb, name):
    path = put(name, '{"state": "mine"}')
    named = rf"mine/{name.partition('/')[0]} is there already, and dfd did not write it.* --run_folder"
    with pytest.raises(ValueError, match=named):
        open_run_folder(Path("mine"), fresh=False, rank=0, verb=verb)
    assert path.read_text() == '{"state": "mine"}'
    assert [each for each in Path("mine").rglob("*") if each.is_file()] == [path]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_other_files_and_what_a_killed_start_left_may_lie_in_a_run_folder(verb):
    for name, text in (("notes.txt", "mine"), (".lock", "pid 7 on node1"), (".fault", "")):
        put(name, text)
    Path("mine/plots").mkdir()
    open_run_folder(Path("mine"), fresh=False, rank=0, verb=verb)


def fill(verb: str, old: bool) -> None:
    """A folder that a run of the verb wrote; an old one does not say so in its config."""
    put("config.yaml", "seed_everything: 0\n" if old else config_head(verb) + "seed_everything: 0\n")
    put("metrics.csv", "epoch,step\n")
    if verb == "fit":
        run_record.begin(Path("mine"), ["fit"])
    elif old:
        put(f"predictions-{STAGES[verb]}.csv", "key,path,label,logit,prob\n")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_a_verb_takes_its_own_folder_again_and_no_other_verbs(verb, old):
    fill(verb, old)
    before = {path: path.read_bytes() for path in Path("mine").iterdir()}
    open_run_folder(Path("mine"), fresh=False, rank=0, verb=verb)
    for other in {"fit", *STAGES} - {verb}:
        words = rf"mine holds what dfd {verb} wrote, and dfd {other} would replace its config.yaml"
        with pytest.raises(ValueError, match=words):
            open_run_folder(Path("mine"), fresh=False, rank=0, verb=other)
    assert {path: path.read_bytes() for path in Path("mine").iterdir()} == before
