import hashlib
import io
import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.prepare.index import index_root
from dfd.shards.format import SCHEMA
from dfd.shards.rejects import read_rejects
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table
from dfd.shards.writer import ShardWriter


def picture(seed: int, name: str = "PNG", size: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size + 1, 3), dtype=np.uint8)).save(
        buffer, name
    )
    return buffer.getvalue()


def mask() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (21, 20), 255).save(buffer, "PNG")
    return buffer.getvalue()


def made(count: int = 30) -> list[NewSample]:
    """Of each class in each split, in three formats; fakes with masks."""
    return [
        NewSample(
            key=f"a/{n:03d}",
            image_bytes=picture(
                n, ("PNG", "JPEG", "WEBP")[n % 5 % 3]
            ),  # behind and before "mask.png" in the alphabet
            label=n % 2,
            split=("train", "val", "test")[n % 3],
            source="drawn",
            method="warp" if n % 2 else "",
            groups=(f"p{n}",),
            mask_bytes=mask() if n % 2 else None,
        )
        for n in range(count)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_samples(made(), tmp_path / "toy", {"command": "test", "note": "noise"})
    return tmp_path / "toy"


def test_the_table_points_at_the_bytes(root):
    table = load_table(root)
    assert table.schema.equals(SCHEMA)
    rows = {row["key"]: row for row in table.to_pylist()}
    assert len(rows) == 30
    for sample in made():
        row = rows[sample.key]
        data = (root / row["shard"]).read_bytes()
        assert data[row["offset"] :][: row["length"]] == sample.image_bytes
        if sample.mask_bytes:
            assert data[row["mask_offset"] :][: row["mask_length"]] == sample.mask_bytes
        else:
            assert (row["mask_offset"], row["mask_length"]) == (-1, 0)
        assert (row["label"], row["split"], row["method"], row["groups"]) == (
            sample.label, sample.split, sample.method, list(sample.groups),
        )  # fmt: skip
        assert (row["width"], row["height"], row["shard"].split("-")[0]) == (21, 20, sample.split)


def test_any_webdataset_pipeline_reads_them(root):
    urls = sorted(str(path) for path in root.glob("*.tar"))
    seen = {item["__key__"]: item for item in webdataset.WebDataset(urls, shardshuffle=False)}
    assert set(seen) == {sample.key for sample in made()}
    for sample in made():
        item = seen[sample.key]
        facts = json.loads(item["json"])
        image = next(item[name] for name in ("png", "jpg", "webp") if name in item)
        assert image == sample.image_bytes and item.get("mask.png") == sample.mask_bytes
        assert (facts["label"], facts["source"], facts["groups"]) == (
            sample.label,
            "drawn",
            list(sample.groups),
        )
        assert set(facts) >= {"method", "width", "height", "format", "sha256"}


def test_the_bytes_are_those_that_webdatasets_writer_makes(tmp_path):
    facts, places = {"label": 1, "path": "gesichter/ä.jpg"}, {}
    # some names take more than a header block
    keys = ["a/000", "k" * 95, "folder/" * 30 + "long", "ärger", "last"]
    writer = ShardWriter(tmp_path / "ours.tar", "train-000000.tar")
    stored = json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()
    with webdataset.TarWriter(
        str(tmp_path / "theirs.tar"), encoder=False, user="dfd", group="dfd", mtime=0
    ) as other:
        for size, key in zip((0, 1, 511, 512, 70_000), keys, strict=True):
            image, seal = bytes([7]) * size, mask() if size % 2 else None
            places[key] = (image, seal, writer.add(key, image, "webp", facts, seal))
            other.write(
                {"__key__": key, "webp": image, "json": stored} | ({"mask.png": seal} if seal else {})
            )
    shard = writer.close()
    data = (tmp_path / "ours.tar").read_bytes()
    assert data == (tmp_path / "theirs.tar").read_bytes()
    assert (shard.images, shard.bytes, shard.split) == (5, len(data), "train")
    for image, seal, place in places.values():
        assert data[place.offset :][: place.length] == image
        assert seal is None or data[place.mask_offset :][: place.mask_length] == seal


def test_the_index_adds_up(root):
    index = json.loads((root / "index.json").read_text())
    assert index["classes"] == {"real": 15, "fake": 15} and index["made_by"]["note"] == "noise"
    assert index["splits"]["val"] == {"real": 5, "fake": 5}
    for shard in index["shards"]:
        data = (root / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest(), shard["images"]) == (
            shard["bytes"],
            shard["sha256"],
            10,
        )


def test_the_same_samples_give_the_same_bytes(root, tmp_path):
    write_samples(iter(made()), tmp_path / "again", {"command": "test"})
    for path in root.glob("*.tar"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_shards_are_closed_when_they_are_full(tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.shards.samples.SHARD_IMAGES", 4)
    write_samples(made(), tmp_path / "toy", {})
    table = load_table(tmp_path / "toy")
    assert len(set(table["shard"].to_pylist())) == 9
    assert {path.name for path in (tmp_path / "toy").glob("*.tar")} == set(table["shard"].to_pylist())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": "a.b"}, "key"),
        ({"key": "k" * 81}, "80"),
        ({"key": "a/000"}, "twice"),
        ({"label": 2}, "label 2"),
        ({"split": "dev"}, "dev"),
        ({"image_bytes": b"text"}, "not a picture"),
        ({"groups": ("p0",), "split": "test"}, "several splits"),
    ],
)
def test_a_bad_sample_leaves_nothing_behind(tmp_path, change, reason):
    samples = [*made(), replace(made(31)[-1], **change)]
    with pytest.raises(ValueError, match=reason):
        write_samples(samples, tmp_path / "toy", {})
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path):
    def slow():
        yield from made(12)
        write_samples(made(24), tmp_path / "toy", {"who": "other"})  # meanwhile, elsewhere

    write_samples(slow(), tmp_path / "toy", {"who": "me"})
    assert len(load_table(tmp_path / "toy")) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    with pytest.raises(ValueError, match="not empty"):
        write_samples(made(), tmp_path / "toy", {})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: root.rename(root.with_name("x")), "no such folder"),
        (lambda root: (root.rename(root.with_name("x")), root.touch()), "is a file, not a folder"),
        (lambda root: (root / "index.json").unlink(), "dfd index"),
        (lambda root: (root / "samples.parquet").unlink(), "dfd index"),
        (lambda root: (root / "samples.parquet").write_bytes(b"PAR1"), "dfd index"),
        (lambda root: (root / "index.json").write_text("{"), "not JSON"),
        (lambda root: (root / "val-000000.tar").unlink(), "is missing"),
        (lambda root: (root / "val-000000.tar").write_bytes(b"0" * 512), "512 bytes"),
        (lambda root: [path.unlink() for path in root.iterdir()], "dfd prepare"),
    ],
    ids=["gone", "a-file", "index", "table", "broken-table", "broken-index", "shard", "cut", "empty"],
)
def test_what_is_not_whole_is_not_loaded(root, harm, words):
    harm(root)
    with pytest.raises(ValueError, match=words):
        load_table(root)


def test_what_prepare_made_is_mended_by_prepare(root):
    index = json.loads((root / "index.json").read_text())
    index["made_by"] = {"command": "prepare", "source": "/data/faces"}
    (root / "index.json").write_text(json.dumps(index))
    command = f"dfd prepare /data/faces --out {root} --overwrite"
    with pytest.raises(ValueError, match=f"use it as it is. .*{command}"):
        index_root(root, workers=1)
    (root / "samples.parquet").unlink()
    with pytest.raises(ValueError, match=command):
        load_table(root)


@pytest.mark.parametrize("part", ["image", "json"])
def test_shards_of_our_own_that_are_damaged_get_no_table(root, part):
    row = next(row for row in load_table(root).to_pylist() if row["shard"] == "val-000000.tar")
    (root / "index.json").unlink()
    data = bytearray((root / row["shard"]).read_bytes())
    at = row["offset"] + row["length"] // 2 if part == "image" else data.index(b'{"format"')
    data[at] ^= 0xFF
    (root / row["shard"]).write_bytes(data)
    with pytest.raises(ValueError, match=f"{row['shard']} is damaged at .*Copy it again"):
        index_root(root, workers=1)
    assert not (root / "index.json").exists()


def test_index_finds_what_was_written(root):
    before = load_table(root)
    (root / "index.json").unlink()
    (root / "samples.parquet").unlink()
    report = index_root(root, workers=1)
    assert report.images == 30
    assert load_table(root).sort_by("key").to_pylist() == before.sort_by("key").to_pylist()


def elsewhere(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was loaded')",))


@pytest.mark.parametrize(("name", "known"), [("grup", "group"), ("Group_ID", "group"), ("spilt", "split")])
def test_a_misspelt_key_says_so_and_tears_no_family(tmp_path, name, known):
    facts = json.dumps({"label": 1, name: "anna"}).encode()
    elsewhere(tmp_path / "0.tar", [("a.jpg", picture(1, "JPEG")), ("a.json", facts)])
    with pytest.raises(ValueError, match=rf"0\.tar: a: its json has the key {name}: did you mean {known}\?"):
        index_root(tmp_path, workers=1)
    assert not (tmp_path / "index.json").exists()


@pytest.mark.parametrize(("more", "hint"), [({}, " Name in the key group what"), ({"group": "g"}, "\n")])
@pytest.mark.usefixtures("messages_on_stderr")
def test_keys_of_no_use_are_named_in_one_line(tmp_path, capsys, more, hint):
    members = []
    for label in (0, 1):
        facts = json.dumps({"label": label, "person": "anna", **more}).encode()
        members += [(f"{label}.jpg", picture(label, "JPEG")), (f"{label}.json", facts)]
    elsewhere(tmp_path / "train.tar", members)
    index_root(tmp_path, workers=1)
    assert f"{tmp_path}: keys of the json that are not used: person.{hint}" in capsys.readouterr().err


def test_shards_of_others_get_a_table(tmp_path):
    """cls or json, keys from 0 in each shard, folders and long names, splits by name; pickles stay closed."""
    long = "d" * 120
    for number, name in enumerate(("train-0", "train-1", "validation_00", "rest")):
        members = []
        for n in range(12):
            members += [
                (f"{long}/{n:04d}.pyd", pickle.dumps(Bomb())),
                (f"{long}/{n:04d}.jpg", picture(100 * number + n, "JPEG")),
            ]
            members += (
                [(f"{long}/{n:04d}.cls", str(n % 2).encode())]
                if number % 2
                else [
                    (
                        f"{long}/{n:04d}.json",
                        json.dumps({"label": ("real", "fake")[n % 2], "group": f"g{number}{n}"}).encode(),
                    )
                ]
            )
        elsewhere(tmp_path / f"{name}.tar", members)
    report = index_root(tmp_path, workers=2)
    table = load_table(tmp_path)
    labels = {
        "cls 0 as real": 12,
        "cls 1 as fake": 12,
        "json.label fake as fake": 12,
        "json.label real as real": 12,
    }
    assert report.labels == labels == json.loads((tmp_path / "index.json").read_text())["made_by"]["labels"]
    assert "Labels read: cls 0 as real (12), cls 1 as fake (12), json.label fake as fake (12)" in str(report)
    assert (report.images, len(table), report.classes) == (48, 48, {"real": 24, "fake": 24})
    assert len(set(table["key"].to_pylist())) == 48
    splits = {(row["shard"], row["split"]) for row in table.to_pylist()}
    assert {("train-0.tar", "train"), ("train-1.tar", "train"), ("validation_00.tar", "val")} <= splits
    assert len({split for shard, split in splits if shard == "rest.tar"}) > 1, "hashed where nothing says"
    for row in table.to_pylist():
        data = (tmp_path / row["shard"]).read_bytes()[row["offset"] :][: row["length"]]
        assert data[:2] == b"\xff\xd8" and hashlib.sha256(data).hexdigest() == row["sha256"]
        assert row["label"] == int(row["path"].split("/")[1][:4]) % 2


def test_bad_samples_of_others_are_listed(tmp_path):
    good = [
        (f"{n}.{name}", data)
        for n in range(80)
        for name, data in (("png", picture(n)), ("cls", str(n % 2).encode()))
    ]
    bad = [
        ("w.png", picture(201)), ("w.cls", b"7"),
        ("x.png", picture(202)),
        ("y.json", b"{" * 5000), ("y.png", picture(203)),
        ("z.png", b"text"), ("z.cls", b"1"),
    ]  # fmt: skip
    elsewhere(tmp_path / "a.tar", good + bad)
    assert index_root(tmp_path, workers=1).rejected == 4
    listed = (tmp_path / "rejected.csv").read_text()
    assert all(f"a.tar:{key}" in listed for key in "wxyz") and len(load_table(tmp_path)) == 80


def test_a_missing_label_is_told_with_what_is_there(tmp_path):
    good = [
        (f"{n}.{name}", data)
        for n in range(80)
        for name, data in (("png", picture(n)), ("cls", str(n % 2).encode()))
    ]
    bad = [
        ("w.png", picture(201)), ("w.json", b'{"lable": 1, "source": "x"}'),
        ("x.png", picture(202)), ("x.json", b"{}"),
        ("y.png", picture(203)),
        ("z.png", picture(204)), ("z.json", b'{"label": null}'),
    ]  # fmt: skip
    elsewhere(tmp_path / "a.tar", good + bad)
    index_root(tmp_path, workers=1)
    assert read_rejects(tmp_path) == {
        "a.tar:w": "no key label; it has: lable, source. Is lable meant for label?",
        "a.tar:x": "no key label; it has: nothing",
        "a.tar:y": "neither a json with the key label nor a cls beside it",
        "a.tar:z": "label None is none of real, fake, 0 (real), 1 (fake)",
    }


def test_tars_that_cannot_be_indexed_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        index_root(tmp_path / "absent")
    elsewhere(tmp_path / "a.tar.gz", [("a.png", picture(0))], "w:gz")
    with pytest.raises(ValueError, match="gunzip"):
        index_root(tmp_path)
    members = [
        item for n in range(20) for item in ((f"{n}.png", picture(n)), (f"{n}.cls", b"1" if n % 2 else b"0"))
    ]
    elsewhere(tmp_path / "a.tar", members)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:20_000])
    with pytest.raises(ValueError, match="no whole tar"):
        index_root(tmp_path, workers=1)
    assert not (tmp_path / "index.json").exists()
    assert (REAL, FAKE) == (0, 1)  # what cls means
