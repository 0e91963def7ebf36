"""A grid over shards with a planted shortcut: marked in every line that it can match, asked once and kept."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dfd.augment import Corruption
from dfd.evaluate import shortcut_files, shortcuts
from dfd.evaluate.conditions import CLEAN, Condition
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.tidy import cell_lines, read_metrics
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.shards.samples import NewSample, write_samples

NUM = 48
CONDITIONS = [Condition(CLEAN), Condition("jpeg", 60.0, Corruption("jpeg", 60))]


def picture(seed: int, quality: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 250, (8, 8, 3), dtype=np.uint8)).resize((36, 36), Image.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


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


def test_each_is_asked_once_for_all_detectors_and_kept(grid, checkpoint, monkeypatch):
    place, roots = grid
    kept = {path: path.read_bytes() for path in (place / "out" / "shortcuts").rglob("*.parquet")}
    assert {str(path.relative_to(place / "out" / "shortcuts")) for path in kept} == {
        f"{root}/{name}.parquet" for root in ("planted", "even") for name in ("file_facts", "color/clean", "color/jpeg@60")
    }  # fmt: skip
    before = lines(place / "out")
    monkeypatch.setattr(shortcuts, "TREES", 20)
    monkeypatch.setattr(shortcut_files, "TREES", 20)
    monkeypatch.setattr(shortcut_files, "ask_files", None)
    monkeypatch.setattr(shortcut_files, "ask_color", None)
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
