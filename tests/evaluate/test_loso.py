"""Leave-one-source-out: the fits, what each is judged on, kill -9 on the way, and what cannot be asked."""

import csv
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import noise

from dfd.cli import main
from dfd.data import ShardDataModule
from dfd.detector.card import load_net
from dfd.evaluate import loso
from dfd.evaluate.conditions import Condition
from dfd.evaluate.folder import missing_cells, read_grid
from dfd.evaluate.loso_fits import BEGUN, Fits, check_begun, fit_command, fits_of
from dfd.evaluate.loso_sources import LeftOut
from dfd.evaluate.loso_table import said
from dfd.evaluate.prediction_file import read_predictions
from dfd.shards.samples import NewSample, write_samples

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'dfd[sweep]'")

TINY = """
seed_everything: 0
model:
  class_path: dfd.tasks.ClassificationTask
  init_args:
    net:
      class_path: dfd.models.SingleStream
      init_args:
        backbone: {class_path: dfd.models.SmallCNN, init_args: {width: 4}}
data:
  class_path: dfd.data.ShardDataModule
  init_args: {roots: x, view: {size: 32, crops: 1, longest: null, margin: 1.3}, batch_size: 8, num_workers: 0}
trainer:
  max_epochs: 1
  accelerator: cpu
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {monitor: val/auroc, mode: max, filename: best, auto_insert_metric_name: false, enable_version_counter: false}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: last, enable_version_counter: false}
"""
COUNTS = {"train": 8, "val": 4, "test": 6}


def shards(folder: Path, sources: dict[str, tuple[int, ...]], counts=COUNTS) -> str:
    """A root of these sources, each of these labels in turn."""
    made = [
        NewSample(
            f"{source}-{split}-{i}",
            noise(hash((source, split, i)) % 2**32),
            labels[i % len(labels)],
            split,
            source,
        )
        for source, labels in sources.items()
        for split, count in counts.items()
        for i in range(count)
    ]
    write_samples(made, folder, {"what": "test"})
    return str(folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_each_source_is_judged_by_a_net_that_has_not_seen_it_through_kill_9(here, forked):
    """Two roots of three sources, the last of fakes alone: trained on, never left out."""
    one, two = (
        shards(here / "one", {"a": (0, 1), "b": (0, 1)}),
        shards(here / "two", {"c": (0, 1), "fakes": (1,)}),
    )
    command = ["evaluate", "--loso", "tiny.yaml", "--on", one, "--on", two, "--out", "out", "--workers", "0"]
    first = subprocess.Popen([*forked, "-m", "dfd.cli", *command], stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not (Path("out/cells").is_dir() and list(Path("out/loso/b").glob("seed0/run.json"))):
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not Path("out/loso.csv").exists()
    assert len(missing_cells(Path("out"))) >= 1 and len(read_grid(Path("out"))["cells"]) == 3
    kept = {path: path.stat().st_mtime_ns for path in Path("out/cells").rglob("*.parquet")}
    kept |= {path: path.stat().st_mtime_ns for path in Path("out/loso/a").rglob("best.ckpt")}
    assert len(kept) == 2
    done = subprocess.run([*forked, "-m", "dfd.cli", *command], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items()), (
        "what was done is not done again"
    )
    table = rows("out/loso.csv")
    assert [line["left_out"] for line in table] == ["a", "b", "c"]
    assert {line["num_images"] for line in table} == {"6"} and {line["num_seen"] for line in table} == {"0"}
    assert all("left_out" in line["flags"].split() for line in table)
    data = ShardDataModule([one, two], num_workers=0)
    data.setup("test")
    every = np.arange(len(data.contents))
    source, split, prints = (
        *(data.describe(every)[name] for name in ("source", "split")),
        data.fingerprints(every),
    )
    for name in "abc":
        checkpoint = Path(f"out/loso/{name}/seed0/checkpoints/best.ckpt")
        _, card = load_net(checkpoint)
        for learnt in ("train", "val"):
            expected = set(prints[(split == learnt) & (source != name)].tolist())
            assert (
                set(card.seen[learnt].tolist()) <= expected
                and expected - set(card.seen[learnt].tolist()) < expected
            )
        assert set(card.seen["val"].tolist()) == set(prints[(split == "val") & (source != name)].tolist())
        told, _, _, facts = read_predictions(f"out/cells/without-{name}-seed0/{name}/clean.parquet")
        assert set(told.source) == {name} and facts["left_out"] == name and facts["num_seen"] == 0
    assert "fakes is trained on and never left out: no real pictures in its test split" in done.stdout
    assert "in the mean of 3 sources" in done.stdout and done.stdout.index("left out") >= 0
    # and another time there is nothing left to do
    again = subprocess.run([*forked, "-m", "dfd.cli", *command], capture_output=True, text=True, timeout=100)
    assert again.returncode == 0 and rows("out/loso.csv") == table
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


@pytest.mark.slow
def test_two_processes_of_one_folder_share_the_fits(here, forked):
    root = shards(here / "one", {"a": (0, 1), "b": (0, 1)})
    command = ["evaluate", "--loso", "tiny.yaml", "--on", root, "--out", "out", "--workers", "0"]
    both = [
        subprocess.Popen(
            [*forked, "-m", "dfd.cli", *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=550) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    begun = [line for out, _ in told for line in out.splitlines() if "data.leave_out=" in line]
    assert sorted(line.partition("leave_out=")[2].split()[0] for line in begun) == ['["a"]', '["b"]']
    ended = [line for out, _ in told for line in out.splitlines() if " done" in line]
    assert len(ended) == 2 and ended[-1].startswith("trial")
    assert {path.name for path in Path("out/loso").glob("*/*") if path.is_dir()} == {"seed0"}
    assert [line["left_out"] for line in rows("out/loso.csv")] == ["a", "b"]
    assert not missing_cells(Path("out")) and not list(Path("out").rglob("*.part-*"))
    assert any("2 nets, each on the source that it has not seen" in out for out, _ in told)


def test_the_second_of_two_processes_may_come_before_there_is_a_grid(here):
    root = shards(here / "one", {"a": (0, 1), "b": (0, 1)})
    (here / "out" / loso.FITS).mkdir(parents=True)
    loso.check_out(here / "out", [root], loso.FITS)
    with pytest.raises(ValueError, match="is not empty and no grid"):
        loso.check_out(here / "out", [root])


@pytest.mark.slow
def test_a_fit_that_fails_is_said_with_its_reason(here, capsys):
    root = shards(here / "one", {"a": (0, 1), "b": (0, 1)})
    Path("bad.yaml").write_text(TINY.replace("width: 4", "width: -4"))
    assert main(["evaluate", "--loso", "bad.yaml", "--on", root, "--out", "out"]) == 1
    said = capsys.readouterr().err
    assert "none of 2 fits ended well" in said and "width" in said and "loso" in said


@pytest.mark.parametrize(
    ("sources", "options", "said"),
    [
        ({"a": (0, 1)}, [], "the roots hold one source alone, a: nothing is left to train on without it"),
        ({"a": (0,), "b": (1,)}, [], "no source has both classes in its test split"),
        ({"a": (0, 1), "b": (1,)}, [], "without the source a the train split has 0 real and 8 fake pictures"),
        ({"a": (0, 1), "b": (0, 1)}, ["--loso", "no_such"], "--loso no_such: there is no such config"),
        ({"a": (0, 1), "b": (0, 1)}, ["--seeds", "0"], "--seeds 0: from 1 to 100"),
        ({"a": (0, 1), "b": (0, 1)}, ["--fits", "0"], "--fits 0: at least one"),
        ({"a": (0, 1), "b": (0, 1)}, ["--task", "1/2"], "--task shares out the cells of a grid"),
        ({"a": (0, 1), "b": (0, 1)}, ["--split", "val", "--limit", "0"], "--limit 0"),
    ],
)
def test_what_cannot_be_asked_is_one_error_before_anything_is_trained(here, capsys, sources, options, said):
    root = shards(here / "one", sources)
    assert main(["evaluate", "--loso", "tiny.yaml", *options, "--on", root, "--out", "out"]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") <= 2 and not list(Path().glob("out/loso/*/*"))


def test_checkpoints_and_other_peoples_folders_are_refused(here, capsys):
    root = shards(here / "one", {"a": (0, 1), "b": (0, 1)})
    assert main(["evaluate", "net.ckpt", "--loso", "tiny.yaml", "--on", root, "--out", "out"]) == 1
    assert "--loso trains the nets that it judges: leave net.ckpt out" in capsys.readouterr().err
    Path("out").mkdir()
    Path("out/grid.json").write_text("{}")
    assert main(["evaluate", "--loso", "tiny.yaml", "--on", root, "--out", "out"]) == 1
    assert "--out out holds another evaluation" in capsys.readouterr().err


def test_one_table_does_not_mix_two_recipes(here):
    roots = {"one": shards(here / "one", {"a": (0, 1), "b": (0, 1)})}
    place = here / "loso" / BEGUN
    place.parent.mkdir()
    check_begun(place, ["tiny.yaml"], roots)
    check_begun(place, ["tiny.yaml"], roots)
    Path("tiny.yaml").write_text(TINY + "# another\n")
    with pytest.raises(ValueError, match=r"tiny.yaml changed since the fits in .* were begun"):
        check_begun(place, ["tiny.yaml"], roots)
    Path("tiny.yaml").write_text(TINY)
    shutil.rmtree(roots["one"])
    shards(here / "one", {"a": (0, 1), "b": (0, 1), "c": (0, 1)})
    with pytest.raises(ValueError, match="one changed since"):
        check_begun(place, ["tiny.yaml"], roots)


def test_the_fits_are_each_source_with_the_first_seed_and_then_with_the_next():
    told = fits_of(("fit",), {"r": "root"}, ["a", 'b "x"/y'], 2)
    assert isinstance(told, Fits) and told.points == 4 and len(set(told.names)) == 4
    assert [told.point(number)["data.seed"] for number in range(4)] == [0, 0, 1, 1]
    assert told.point(1)["data.leave_out"] == told.point(3)["data.leave_out"] == '["b \\"x\\"/y"]'
    assert told.names[0] == "a/seed0" and told.folder_name(2) == "a/seed1" and "/y" not in told.names[1]
    command = ("fit", "${args}")
    words = fits_of(command, {"r": "root"}, ["a"], 1).trial_command({"data.leave_out": '["a"]'}, Path("run"))
    assert words == ["fit", '--data.roots=["root"]', '--data.leave_out=["a"]', "--run_folder=run"]


def test_a_config_of_the_toy_set_takes_shards_instead():
    shipped = fit_command(["small_cnn", "overlay/smoke"])
    at = shipped.index("--data")
    assert shipped[at + 1] == "data/140k.yaml" and shipped.index("small_cnn") < at < shipped.index(
        "overlay/smoke"
    )


def test_a_config_of_ones_own_keeps_its_data(here):
    assert "--data" not in fit_command(["tiny.yaml"])


def test_words_name_the_worst_source_first_and_what_is_missing():
    def line(source, seed, auroc, fpr=0.02, flags="left_out"):
        return {
            "left_out": source, "seed": seed, "condition": "clean", "auroc": auroc, "auroc_low": auroc - 0.1,
            "auroc_high": auroc + 0.1, "balanced_acc": 0.7, "ece": 0.2, "num_images": 40, "num_families": 30,
            "fpr_certified": fpr, "flags": flags,
        }  # fmt: skip

    lines = [line("easy", 0, 0.9), line("easy", 1, 0.8), line("hard", 0, 0.55, None, "left_out limited")]
    texts = said(lines, {"fakes": "no real pictures in its test split"}, {"easy/seed2": "exit code 1: boom"})
    assert (
        texts[0].startswith("left out hard: AUROC 0.550 (0.450..0.650)")
        and "no certified threshold" in texts[0]
    )
    assert texts.pop(1) == "left out hard: a quick look at some of the pictures, and no figure to quote"
    assert "false alarms at the certified threshold 0.020" in texts[1]
    assert texts[1].startswith("left out easy: AUROC 0.850 in the mean of 2 fits (0.800..0.900)")
    assert texts[2] == "AUROC at worst 0.550 (hard), 0.700 in the mean of 2 sources"
    assert "never left out" in texts[3] and texts[4].endswith("exit code 1: boom")


def test_the_cells_that_are_to_be_there_are_known_before_any_fit(tmp_path):
    sources = [
        LeftOut("a", ("one",)),
        LeftOut("b/c", ("one", "two")),
        LeftOut("fakes", ("one",), "why"),
    ]
    told = fits_of(("fit",), {"one": "1", "two": "2"}, ["a", "b/c"], 2)
    study = loso.Loso(tmp_path, told, sources, {}, [Condition("clean")], {}, loso.OPTIONS)
    assert study.cells() == [
        "cells/without-a-seed0/a/clean.parquet",
        "cells/without-b_c-seed0/b_c-one/clean.parquet",
        "cells/without-b_c-seed0/b_c-two/clean.parquet",
        "cells/without-a-seed1/a/clean.parquet",
        "cells/without-b_c-seed1/b_c-one/clean.parquet",
        "cells/without-b_c-seed1/b_c-two/clean.parquet",
    ]
    again = study.place / f"{told.names[3]}-2"
    assert study._number(again) == 3 and study._number(study.place / told.names[0]) == 0
