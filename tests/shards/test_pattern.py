"""FOLDER/train-{000000..000003}.tar as a root: its shards alone count, wherever a root may stand."""

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pictures import noise
from web_server import serving

from dfd.cli import main
from dfd.data import ShardDataModule, View
from dfd.prepare.index import index_root
from dfd.prepare.reencode import Reencoding, reencode
from dfd.shards.cache import Cache
from dfd.shards.pattern import parse_root
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_index

TRAIN, VAL, IMAGES = 4, 2, 6


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("dfd.shards.samples.SHARD_IMAGES", IMAGES)
    samples = [
        NewSample(
            f"{split}-{n:03d}",
            noise(1000 * len(split) + n, "JPEG", 44),
            n % 2,
            split,
            "drawn",
            groups=(f"{split}{n}",),
        )
        for split, count in (("train", TRAIN * IMAGES), ("val", VAL * IMAGES), ("test", IMAGES))
        for n in range(count)
    ]
    write_samples(samples, tmp_path / "shards", {"command": "test"})
    return tmp_path / "shards"


@pytest.mark.parametrize(
    ("text", "folder", "names"),
    [
        ("shards", "shards", None),
        ("/data/shards/", "/data/shards/", None),
        ("s3://bucket/shards", "s3://bucket/shards", None),
        ("shards/train-000001.tar", "shards", ["train-000001.tar"]),
        ("train-000001.tar", ".", ["train-000001.tar"]),
        ("/train-000001.tar", "/", ["train-000001.tar"]),
        ("a/train-{000009..000011}.tar", "a", ["train-000009.tar", "train-000010.tar", "train-000011.tar"]),
        ("a/{val,test}-{0..1}.tar", "a", ["val-0.tar", "val-1.tar", "test-0.tar", "test-1.tar"]),
        ("a/x-{1,1,2}.tar", "a", ["x-1.tar", "x-2.tar"]),
        ("https://host/a/t-{0..1}.tar", "https://host/a", ["t-0.tar", "t-1.tar"]),
        (r"a\b/t-{0..1}.tar", r"a\b", ["t-0.tar", "t-1.tar"]),
    ],
)
def test_a_root_is_a_folder_or_some_of_its_shards(text, folder, names):
    assert parse_root(text) == (folder, names)
    assert parse_root(Path(text)).shards == names


def test_a_folder_is_one_whatever_it_is_called(tmp_path):
    for name in ("train-{0..3}.tar", "a.tar", "{x"):
        (tmp_path / name).mkdir()
        assert parse_root(tmp_path / name) == (str(tmp_path / name), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/train-{0..3.tar", "its braces do not match"),
        ("a/train-{0..3}", r"a/train-0 is no \.tar and no folder\. A pattern is FOLDER/train-"),
        ("{a,b}/train-{0..3}.tar", "names shards of 2 folders, first a and b"),
        ("a/t-{0..99999999999}.tar", "more than a million"),
        ("a/t-{0..999999}{0..999999}.tar", "more than a million"),
        ("a/t-{{0..999}{0..999}{0..999},x}.tar", "braces within braces"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        parse_root(text)


def test_only_the_lines_of_its_shards_count(root):
    whole, some = load_table(root), load_table(root / "train-{000001..000002}.tar")
    assert set(some["shard"].to_pylist()) == {"train-000001.tar", "train-000002.tar"}
    assert some.schema == whole.schema and len(some) == 2 * IMAGES
    wanted = whole.filter(pc.is_in(whole["shard"].cast("string"), some["shard"].cast("string").unique()))
    assert some.to_pylist() == wanted.to_pylist()
    index = read_index(root / "{train-000001,val-000000}.tar")
    assert [shard["name"] for shard in index["shards"]] == ["train-000001.tar", "val-000000.tar"]
    assert (index["images"], index["classes"], index["families"]) == (12, {"real": 6, "fake": 6}, 12)
    assert index["splits"]["train"] == {"real": 3, "fake": 3} and index["splits"]["test"] == {
        "real": 0,
        "fake": 0,
    }
    assert index["made_by"] == read_index(root)["made_by"]


def test_shards_that_it_does_not_name_need_not_be_there(root):
    (root / "train-000003.tar").unlink()
    assert len(load_table(root / "train-{000000..000002}.tar")) == 3 * IMAGES
    with pytest.raises(ValueError, match=r"train-000003\.tar is missing"):
        load_table(root / "train-{000002..000003}.tar")


def test_a_shard_that_is_not_listed_is_one_clear_error(root):
    words = (
        r"train-\{000003\.\.000006\}\.tar: train-000004\.tar is not there \(3 of 4 shards are missing\)\. "
        r".*shards holds 7 shards, test-000000\.tar to val-000001\.tar\. Correct the pattern"
    )
    for use in (load_table, read_index):
        with pytest.raises(ValueError, match=words):
            use(root / "train-{000003..000006}.tar")


def test_a_folder_without_a_table_says_to_index_it(root):
    (root / "index.json").unlink()
    with pytest.raises(ValueError, match=rf"`dfd index {root}` makes their table"):
        load_table(root / "train-{000000..000001}.tar")


def keys(data: ShardDataModule) -> set[str]:
    return {key for split in ("train", "val", "test") for key in data.describe(data.rows(split))["key"]}


def test_a_fit_trains_on_its_shards_alone(root):
    roots = {str(root / "train-{000001..000002}.tar"): 1.0, f"{root}/val-000000.tar": 1.0}
    data = ShardDataModule(roots, View(32, crops=1, longest=None), batch_size=4, num_workers=0)
    data.setup("fit")
    assert keys(data) == {f"train-{n:03d}" for n in range(6, 18)} | {f"val-{n:03d}" for n in range(6)}
    seen = [int(row) for batch in data.train_dataloader() for row in batch["row"]]
    assert len(set(seen)) == 12 and len(data.catalog.digests[0]) == 2
    dataset = data.train_dataloader().dataset
    digest = {line["key"]: line for line in load_table(root).to_pylist()}
    for row, key in zip(data.rows("val"), data.describe(data.rows("val"))["key"], strict=True):
        line = digest[key]
        assert (
            dataset.read(int(row)) == (root / line["shard"]).read_bytes()[line["offset"] :][: line["length"]]
        )


def test_remote_shards_are_named_by_patterns_too(root, tmp_path):
    with serving(root) as site:
        cache = Cache(str(tmp_path / "cache"), 1.0, 5, 5)
        roots = [f"{site.url}/train-{{000001..000002}}.tar", f"{site.url}/val-000000.tar"]
        data = ShardDataModule(roots, View(32, crops=1, longest=None), 4, num_workers=0, cache=cache)
        data.setup("fit")
        assert keys(data) == {f"train-{n:03d}" for n in range(6, 18)} | {f"val-{n:03d}" for n in range(6)}
        assert len([row for batch in data.train_dataloader() for row in batch["row"]]) == 12
        fetched = {name for name in site.asked() if name.endswith(".tar")}
        assert fetched == {"train-000001.tar", "train-000002.tar"}
        with pytest.raises(ValueError, match=r"train-000004\.tar is not there \(1 of 1 shards"):
            ShardDataModule(f"{site.url}/train-000004.tar", cache=cache).setup("fit")


@pytest.mark.slow
def test_the_command_line_takes_a_pattern_as_a_root(root, tmp_path, capsys):
    pattern = f"{root}/{{train,val}}-{{000000..000001}}.tar"
    options = [
        "--data.view.size=32",
        "--data.view.longest=null",
        "--data.view.crops=1",
        "--data.num_workers=0",
    ]
    options += ["--trainer.max_epochs=1", "--data.batch_size=4"]
    fit = ["fit", "--config", "small_cnn", "--data", "dfd.data.ShardDataModule", *options]
    assert main([*fit, f"--data.roots={pattern}", "--run_folder", str(tmp_path / "run")]) == 0
    assert pattern in (tmp_path / "run" / "config.yaml").read_text()
    checkpoint = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert main(["validate", checkpoint, "--run_folder", str(tmp_path / "again")]) == 0
    test = [
        "test",
        checkpoint,
        f"--data.roots={root}/test-000000.tar",
        "--run_folder",
        str(tmp_path / "test"),
    ]
    assert main(test) == 0
    capsys.readouterr()
    wrong = f"--data.roots={root}/train-{{000003..000004}}.tar"
    assert main([*fit, wrong, "--run_folder", str(tmp_path / "wrong")]) != 0
    assert "train-000004.tar is not there (1 of 2 shards are missing)" in capsys.readouterr().err


def test_index_makes_the_table_of_its_shards_alone(root):
    for name in ("index.json", "samples.parquet"):
        (root / name).unlink()
    with pytest.raises(ValueError, match=r"train-000004\.tar is not there \(1 of 2 shards are missing\)"):
        index_root(root / "train-{000003..000004}.tar")
    report = index_root(root / "{train,val}-{000000..000001}.tar", workers=1)
    assert (report.out, report.images, report.shards) == (root, 24, 4)
    assert {shard["name"] for shard in json.loads((root / "index.json").read_text())["shards"]} == {
        f"{split}-00000{n}.tar" for split in ("train", "val") for n in (0, 1)
    }


@pytest.mark.slow
def test_audit_and_leaks_look_at_its_shards_alone(root, tmp_path, capsys):
    pattern = str(root / "train-{000000..000002}.tar")
    assert main(["audit", pattern, "--workers", "1"]) == 0
    facts = json.loads((tmp_path / "shards-audit" / "facts.json").read_text())
    assert (facts["images"], facts["families"]) == (18, 18)
    assert facts["splits"]["val"] == {"real": 0, "fake": 0}
    assert "18 images in 18 families" in (tmp_path / "shards-audit" / "audit.html").read_text()
    capsys.readouterr()
    assert main(["leaks", pattern]) == 0
    assert "looks of 18 images" in capsys.readouterr().out


def test_reencode_writes_its_shards_alone(root, tmp_path):
    report = reencode(root / "train-{000000..000001}.tar", tmp_path / "out", Reencoding(90, 32), workers=1)
    assert report.images == 12
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == [
        "train-000000.tar",
        "train-000001.tar",
    ]
    assert len(load_table(tmp_path / "out")) == 12


def test_overlapping_copies_of_a_folder_do_not_matter(root, tmp_path):
    """A folder that holds some shards, and the table of all, is a root by a pattern."""
    (tmp_path / "part").mkdir()
    for name in ("index.json", "samples.parquet", "val-000001.tar"):
        shutil.copy(root / name, tmp_path / "part")
    assert len(load_table(tmp_path / "part" / "val-000001.tar")) == IMAGES
    with pytest.raises(ValueError, match="is missing"):
        load_table(tmp_path / "part")
