"""`dfd index` asks of names, files and classes before the work, and what it writes can be read again."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_scan import picture, samples, tar

from dfd.cli import main
from dfd.data import ShardDataModule
from dfd.prepare import index as index_module
from dfd.prepare.index import index_root
from dfd.shards.table import load_table


@pytest.mark.parametrize(
    "name",
    ["train (1).tar", "train#1.tar", "train~old.tar", "it's.tar", "a&b.tar", "train[1].tar", "100%.tar", "a!b.tar",
     "人物.tar", "ä.tar", "u\u0308.tar", "train.v2.tar"],
)  # fmt: skip
def test_names_of_browsers_and_people_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(tar(samples(8)))
    for _ in range(2):
        assert index_root(tmp_path, workers=1).images == 8
    assert len(load_table(tmp_path)) == len(load_table(tmp_path / name)) == 8


@pytest.mark.parametrize(
    "name", ["train:0.tar", "a\nb.tar", "\x1b[2J.tar", "a*b.tar", "a?.tar", '"a".tar', "a\\b.tar", "a|b.tar", "TRAIN.TAR",
             b"caf\xe9.tar", "a;b.tar", "{a}.tar", "$HOME.tar", "'\n'.tar", "-a:'b'.tar", "x" * 240 + ".tar"]
)  # fmt: skip
def test_other_names_are_refused_before_the_work_with_a_command_that_works(tmp_path, monkeypatch, name):
    root = tmp_path / "their set"
    root.mkdir()
    (root / os.fsdecode(name)).write_bytes(tar(samples(8)))
    monkeypatch.setattr(index_module, "scan", lambda *_: pytest.fail("read before the name was asked"))
    with pytest.raises(ValueError, match="no name for a shard") as error:
        index_root(root)
    said = str(error.value).partition("Rename it: ")[2]
    assert said.isprintable()
    subprocess.run(["bash", "-c", said], check=True)
    monkeypatch.undo()
    assert index_root(root, workers=1).images == 8


WIDS = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": [{"url": "a.tar", "nsamples": 8}]}
COCO = b'{"images": [], "annotations": []}'
THEIRS = {
    "index.json": json.dumps(WIDS).encode(),
    "rejected.csv": b"path,reason,examiner\r\n",
    "samples.parquet": None,
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside dfd's own"])
@pytest.mark.parametrize("name", THEIRS)
def test_a_file_of_somebody_is_refused_before_the_work_and_the_way_on_works(
    tmp_path, monkeypatch, name, beside
):
    root = tmp_path / "their set"
    root.mkdir()
    (root / "a.tar").write_bytes(tar(samples(8)))
    if beside:
        index_root(root, workers=1)
    pq.write_table(pa.table({"who": ["me"]}), tmp_path / "theirs")
    data = (COCO if beside and name == "index.json" else THEIRS[name]) or (tmp_path / "theirs").read_bytes()
    (root / name).write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "scan", lambda *_: pytest.fail("read before the names were asked"))
        with pytest.raises(ValueError, match=f"{name} would be replaced") as error:
            index_root(root)
    (command,) = re.findall(r"rename it \((mv .*)\), then run `dfd index '.*'`\.$", str(error.value))
    assert (root / name).read_bytes() == data
    (root / f"their-{name}").touch()  # taken already: the way on is asked again
    with pytest.raises(ValueError, match=f"their-1-{name}"):
        index_root(root)
    (root / f"their-{name}").unlink()
    subprocess.run(["bash", "-c", command], check=True)
    for _ in range(2):  # and its own files are written anew
        assert index_root(root, workers=1).images == len(load_table(root)) == 8
    assert (root / f"their-{name}").read_bytes() == data


def test_what_is_no_file_is_refused_and_what_a_mac_leaves_is_not_seen(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar(samples(8)))
    (tmp_path / "._a.tar").write_bytes(b"\0\5\x16\7")
    assert index_root(tmp_path, workers=1).images == 8
    for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")):
        make(tmp_path / "b.tar")
        with pytest.raises(
            ValueError, match=r"b\.tar is no file \(a folder, a pipe, or a link that leads nowhere"
        ):
            index_root(tmp_path)
        shutil.rmtree(tmp_path / "b.tar") if (tmp_path / "b.tar").is_dir() else (tmp_path / "b.tar").unlink()


def test_a_tar_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.tar").write_bytes(tar(samples(8)))

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.tar"))

    monkeypatch.setattr(index_module, "scan", refuse)  # root may read everything
    assert main(["index", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Permission denied" in said and "a.tar" in said and "Traceback" not in said


def test_the_advised_share_of_rejected_samples_leads_on(tmp_path, capsys):
    lost = [("900.png", picture(900)), ("901.cls", b"1")]  # one without a label, one without a picture
    (tmp_path / "a.tar").write_bytes(tar([*samples(8), *lost]))
    assert main(["index", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "2 of 10 files were rejected (20.0%; 5% may be)" in said
    assert main(["index", str(tmp_path), *re.search(r"--max-rejected \S+(?=\.)", said)[0].split()]) == 0
    assert len(load_table(tmp_path)) == 8
    for share in ("1", "-0.1"):
        assert main(["index", str(tmp_path), "--max-rejected", share]) == 1
        assert "a share from 0 to below 1" in capsys.readouterr().err


def test_keys_that_count_from_0_in_each_shard_are_told_apart(tmp_path):
    (tmp_path / "train.0.tar").write_bytes(tar(samples(4)))
    (tmp_path / "train_0.tar").write_bytes(tar(samples(4, 4, "{:03d}")))
    assert index_root(tmp_path, workers=1).images == 8
    (tmp_path / "train_0.tar").write_bytes(
        tar([(name, picture(9) if "png" in name else b"1") for name, _ in samples(1)])
    )
    with pytest.raises(ValueError, match="names of two shards differ in a dot only"):
        index_root(tmp_path, workers=1)


# sets of one class


@pytest.mark.parametrize("label", [0, 1])
def test_a_set_of_one_class_is_read_and_what_fit_advises_works(tmp_path, label):
    for name, kind in (("one", label), ("other", 1 - label)):
        (tmp_path / name).mkdir()
        for first, split in enumerate(("train", "val", "test")):
            members = [
                (file, data if file.endswith("png") else str(kind).encode())
                for file, data in samples(6, 20 * first + 60 * (name == "other"), split + "{:03d}")
            ]
            (tmp_path / name / f"{split}-0.tar").write_bytes(tar(members))
        said = str(index_root(tmp_path / name, workers=1))
        assert f"All pictures are {('real', 'fake')[kind]}" in said
    for stage in ("test", "validate", "predict"):
        data = ShardDataModule(str(tmp_path / "one"))
        data.setup(stage)
    with pytest.raises(ValueError, match=r"needs both classes\. Add a root whose train split has") as error:
        ShardDataModule(str(tmp_path / "one")).setup("fit")
    assert f"has {('real', 'fake')[1 - label]} ones" in str(error.value)
    roots = re.search(r"--data.roots '\[(.*)\]'", str(error.value))[1]
    data = ShardDataModule(roots.replace("OTHER", str(tmp_path / "other")).split(", "))
    data.setup("fit")
    assert data.label_counts("train") == data.label_counts("val") == (6, 6)


# one folder by two names


@pytest.mark.parametrize(
    "second",
    ["./one", "one/", "link", "copy", "one/test-0.tar", "one/{train,test}-0.tar", "absolute", "../here/one"],
)
def test_one_set_is_not_judged_twice_by_whatever_names(tmp_path, monkeypatch, second):
    here = tmp_path / "here"
    (here / "one").mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        (here / "one" / f"{split}-0.tar").write_bytes(tar(samples(6, 10 * number, split + "{:03d}")))
    index_root(here / "one", workers=1)
    monkeypatch.chdir(here)
    os.symlink("one", "link")
    shutil.copytree("one", "copy")
    name = str(here / "one") if second == "absolute" else second
    with pytest.raises(
        ValueError, match=r"data\.roots: one and .* hold the same images, first in t.*-0\.tar: they"
    ):
        ShardDataModule(["one", name]).setup("test")
    ShardDataModule(["one/train-0.tar", "one/test-0.tar"]).setup("test")
