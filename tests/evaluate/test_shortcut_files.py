"""A grid over shards with a planted shortcut: marked in every line that it can match, asked once and kept."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from dfd.augment import Corruption
from dfd.evaluate import shortcut_files, shortcuts, tidy
from dfd.evaluate.conditions import CLEAN, Condition
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.tidy import cell_lines, read_metrics, write_metrics
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.parallel import ProcessPool
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import read_bytes

NUM = 48
CONDITIONS = [Condition(CLEAN), Condition("jpeg", 60.0, Corruption("jpeg", 60))]


def picture(seed: int, quality: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 250, (8, 8, 3), dtype=np.uint8)).resize((36, 36), Image.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def plain(root, qualities: tuple[int, int], num: tuple[int, int]):
    """One source; of each label so many pictures, all of one JPEG quality."""
    made = [
        NewSample(f"{label}_{at}", picture(1000 * at + label, qualities[label]), label, "test", "s", groups=(f"{label}{at}",))
        for label in (0, 1)
        for at in range(num[label])
    ]  # fmt: skip
    write_samples(made, root, {"what": "test"})
    return root


def shards(root, quality_of_fakes: int):
    """Two sources; clips of two frames."""
    made = [
        NewSample(
            f"{at // 4}_{at // 2 % 2}/{at % 2}", picture(at, quality_of_fakes if at // 2 % 2 else 90), at // 2 % 2,
            "test", f"source{at // (NUM // 2)}", groups=(f"g{at // 2}",),
        )
        for at in range(NUM)
    ]  # fmt: skip
    write_samples(made, root, {"what": "test"})
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    net = SingleStream(SmallCNN(width=4))
    facts = {
        "version": "0",
        "net": recipe(net),
        "view": dict(vars(View(size=32, crops=1, longest=None, margin=1.0))),
    }
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    torch.save(
        {"dfd": facts, "state_dict": {f"net.{name}": value for name, value in net.state_dict().items()}}, path
    )
    return path


@pytest.fixture(scope="module")
def grid(tmp_path_factory, checkpoint):
    place = tmp_path_factory.mktemp("grid")
    roots = [f"{name}={shards(place / name, quality)}" for name, quality in (("planted", 60), ("even", 90))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shortcuts, "TREES", 20)
        patch.setattr(shortcut_files, "TREES", 20)
        evaluate([checkpoint], roots, place / "out", CONDITIONS, Options(workers=0))
    return place, roots


def lines(folder):
    return [line for line in read_metrics(folder).to_pylist() if line["root"] != "*"]


def test_a_planted_shortcut_is_marked_in_every_line_and_no_other_root_is(grid):
    table = lines(grid[0] / "out")
    assert {(line["condition"], line["part"]) for line in table} >= {
        ("clean", "all"), ("jpeg", "all"), ("clean", "source:source0"), ("jpeg", "source:source1"),
        ("clean", "pooled:source0|source1"),
    }  # fmt: skip
    for line in table:
        marked = "file_facts_match" in line["flags"].split()
        if line["root"] == "planted":
            assert marked and line["file_facts_auroc"] > 0.9 and line["file_facts_auroc_low"] > 0.6
        elif line["part"] == "all":  # of a dozen families, as in a part, chance can make a shortcut
            assert not marked and line["file_facts_auroc_low"] < 0.5
        assert 0 <= line["color_auroc"] <= 1


@pytest.mark.slow
def test_each_is_asked_once_for_all_detectors_and_kept(grid, checkpoint, monkeypatch):
    place, roots = grid
    kept = {path: path.read_bytes() for path in (place / "out" / "shortcuts").rglob("*.parquet")}
    assert {str(path.relative_to(place / "out" / "shortcuts")) for path in kept} == {
        f"{root}/{name}.parquet" for root in ("planted", "even") for name in ("file_facts", "cues", "color/clean", "color/jpeg@60")
    }  # fmt: skip
    before = lines(place / "out")
    monkeypatch.setattr(shortcuts, "TREES", 20)
    monkeypatch.setattr(shortcut_files, "TREES", 20)
    monkeypatch.setattr(shortcut_files, "file_table", None)
    monkeypatch.setattr(shortcut_files, "color_table", None)
    evaluate([checkpoint, f"again={checkpoint}"], roots, place / "out", CONDITIONS, Options(workers=0))
    assert {path: path.read_bytes() for path in kept} == kept
    after = lines(place / "out")
    assert len(after) == 2 * len(before)
    of_other = next(line for line in after if line["detector"] == "again" and line["root"] == "planted")
    assert "file_facts_match" in of_other["flags"]


def test_other_pictures_or_another_way_to_ask_are_asked_anew(grid, tmp_path, checkpoint, monkeypatch):
    place, _ = grid
    path = place / "out" / "shortcuts" / "planted" / "color" / "jpeg@60.parquet"
    told = pq.read_schema(path).metadata[b"dfd"]
    assert b'"limit": null' in told and b"Corruption('jpeg', 60" in told and b'"split": "test"' in told
    assert not shortcut_files._is_of(path, {}) and not shortcut_files._is_of(tmp_path / "none.parquet", {})


def test_a_grid_without_shortcut_files_has_no_figure_and_no_mark(grid, tmp_path):
    place, _ = grid
    cell = tmp_path / "cells" / "tiny" / "planted" / "clean.parquet"
    cell.parent.mkdir(parents=True)
    cell.write_bytes((place / "out" / "cells" / "tiny" / "planted" / "clean.parquet").read_bytes())
    for line in cell_lines(cell):
        assert np.isnan(line["file_facts_auroc"]) and "match" not in line["flags"]


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setattr(shortcuts, "TREES", 20)
    monkeypatch.setattr(shortcut_files, "TREES", 20)


def together(folder, condition="clean"):
    """Lines of all roots together, by their part."""
    table = read_metrics(folder).to_pylist()
    return {line["part"]: line for line in table if line["root"] == "*" and line["condition"] == condition}


@pytest.mark.slow
def test_of_all_roots_together_it_is_one_model_of_all_their_pictures(grid):
    place, roots = grid
    for condition in ("clean", "jpeg"):
        found = together(place / "out", condition)
        assert len(found) == 1 + 8  # two sources of each root, reals of one and fakes of the other
        for line in found.values():
            assert (
                0 <= line["file_facts_auroc_low"] <= line["file_facts_auroc"] <= line["file_facts_auroc_high"]
            )
            assert 0 <= line["color_auroc_low"] <= line["color_auroc"] <= line["color_auroc_high"] <= 1
    # a second implementation: scikit-learn's folds and forest, quality and size as Pillow reads them
    label, family, facts = [], [], []
    for number, root in enumerate(roots):
        folder = root.partition("=")[2]
        table = pq.read_table(f"{folder}/samples.parquet").to_pylist()
        for line in table:
            data = read_bytes(Path(folder), line)
            tables = Image.open(io.BytesIO(data)).quantization
            label.append(line["label"])
            family.append(f"{number}-{line['key'].split('/')[0]}")
            facts.append([sum(tables[0]), sum(tables[1]), len(data)])
    label, family = np.array(label), np.unique(family, return_inverse=True)[1]
    prob = cross_val_predict(
        ExtraTreesClassifier(200, min_samples_leaf=3, random_state=1), np.array(facts), label, groups=family,
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=1), method="predict_proba",
    )[:, 1]  # fmt: skip
    expected = roc_auc_score(label, prob)
    assert 0.6 < expected < 0.95  # one root of two gives its labels away
    assert together(place / "out")["all"]["file_facts_auroc"] == pytest.approx(expected, abs=0.08)


def test_roots_of_one_class_each_are_told_apart_and_said_to_be(tmp_path, checkpoint, few_trees, capsys):
    roots = [
        f"{name}={plain(tmp_path / name, (90, 60), num)}"
        for name, num in (("reals", (24, 0)), ("fakes", (0, 24)))
    ]
    evaluate([checkpoint], roots, tmp_path / "out", CONDITIONS[:1], Options(workers=0))
    assert all(np.isnan(line["file_facts_auroc"]) for line in lines(tmp_path / "out"))
    found = together(tmp_path / "out")
    assert set(found) == {"all", "pooled:reals/s|fakes/s"}
    for line in found.values():
        assert line["file_facts_auroc_low"] > 0.9 and "file_facts_match" in line["flags"].split()
    shown = " ".join(capsys.readouterr().out.split())
    assert "file facts alone reach as much" in shown and "tiny on all roots: 1.000 against" in shown


@pytest.mark.slow
def test_that_files_differ_between_roots_is_no_shortcut_to_the_label(tmp_path, checkpoint, few_trees):
    """Nor where one root has more reals: then its name would tell much of the label."""
    roots = [
        f"{name}={plain(tmp_path / name, (quality, quality), num)}"
        for name, quality, num in (("mostly_real", 90, (60, 20)), ("mostly_fake", 50, (20, 60)))
    ]
    evaluate([checkpoint], roots, tmp_path / "out", CONDITIONS[:1], Options(workers=0))
    for part, line in together(tmp_path / "out").items():
        assert line["file_facts_auroc_low"] < 0.6, part
        assert "file_facts_match" not in line["flags"].split()


@pytest.mark.slow
def test_where_one_root_was_not_asked_all_together_are_not(grid, tmp_path, few_trees):
    place, _ = grid
    out = tmp_path / "out"
    shutil.copytree(place / "out", out)
    (out / "shortcuts" / "even" / "file_facts.parquet").unlink()
    write_metrics(out)
    line = together(out)["all"]
    assert np.isnan(line["file_facts_auroc"]) and "file_facts_match" not in line["flags"]
    assert line["color_auroc"] == together(place / "out")["all"]["color_auroc"]


@pytest.mark.slow
def test_several_processes_make_the_same_tables(grid, tmp_path, monkeypatch):
    place, _ = grid
    made = {}
    monkeypatch.setattr(tidy, "LARGE", 0)
    pools = []
    monkeypatch.setattr(tidy, "ProcessPool", lambda *args: pools.append(args) or ProcessPool(*args))
    for workers in (0, 1, 2):
        out = tmp_path / str(workers)
        shutil.copytree(place / "out", out)
        for table in out.glob("metrics.*"):
            table.unlink()
        write_metrics(out, workers)
        made[workers] = [(out / name).read_bytes() for name in ("metrics.parquet", "metrics.csv")]
    assert made[0] == made[1] == made[2] and pools == [(2, "dfd.evaluate.tidy")]
