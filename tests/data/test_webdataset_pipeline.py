"""`dfd.data.stream_webdataset`: each sample once over ranks and workers, with the table's bytes, and safe."""

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader
from web_server import serving

from dfd.data import stream_webdataset
from dfd.media.decode import decode
from dfd.prepare.index import index_root
from dfd.shards.cache import Cache
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table

SHARDS, IMAGES = 7, 5


def encoded(pixels: np.ndarray, name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    return encoded(pixels, ("JPEG", "PNG", "WEBP")[seed % 3])


def mask() -> bytes:
    return encoded(np.eye(20, 24, dtype=np.uint8) * 255, "PNG")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("dfd.shards.samples.SHARD_IMAGES", IMAGES)
    samples = [
        NewSample(
            f"a/{split}-{n:03d}",
            picture(100 * len(split) + n),
            n % 2,
            split,
            "drawn",
            "swap" if n % 2 else "",
            mask_bytes=mask() if n % 2 else None,
        )
        for split, count in (("train", SHARDS * IMAGES), ("val", IMAGES))
        for n in range(count)
    ]
    write_samples(samples, tmp_path / "shards", {"command": "test"})
    return tmp_path / "shards"


def rows(root: Path, split: str = "train") -> dict[str, dict]:
    return {row["key"]: row for row in load_table(root).to_pylist() if row["split"] == split}


def stored(root: Path, row: dict, name: str = "") -> bytes:
    return (root / row["shard"]).read_bytes()[row[f"{name}offset"] :][: row[f"{name}length"]]


@pytest.mark.parametrize(("world", "workers"), product((1, 2, 3), (0, 2)))
def test_each_sample_comes_once_over_ranks_and_workers(root, world, workers):
    expected, seen = rows(root), Counter()
    for rank in range(world):
        pipeline = stream_webdataset(root, "train", rank=rank, world=world, image="bytes")
        for sample in DataLoader(pipeline, batch_size=None, num_workers=workers):
            row = expected[sample["key"]]
            assert sample["image"] == stored(root, row)
            assert all(
                sample[name] == row[name] for name in ("label", "split", "source", "method", "family", "path")
            )
            seen[sample["key"]] += 1
    assert set(seen) == set(expected) and set(seen.values()) == {1}


def test_pictures_and_masks_come_in_the_form_that_is_asked_for(root):
    expected = rows(root)
    for sample in stream_webdataset(root, "train", masks=True):
        row = expected[sample["key"]]
        assert sample["image"].dtype == np.uint8 and (sample["image"] == decode(stored(root, row))).all()
        assert (sample["mask"] is None) == (row["label"] == 0)
        assert sample["mask"] is None or (sample["mask"] == np.eye(20, 24) * 255).all()
    for sample in stream_webdataset(root, "val", image="pil", masks=True):
        assert sample["image"].size == (24, 20) and (sample["mask"] is None or sample["mask"].mode == "L")
    for sample in stream_webdataset(root, "val", image="bytes", masks=True):
        assert sample["mask"] == (mask() if sample["label"] else None)
    assert "mask" not in next(iter(stream_webdataset(root, "val")))


def test_it_is_a_webdataset_pipeline(root):
    pipeline = stream_webdataset(root, "train")
    assert isinstance(pipeline, webdataset.DataPipeline) and isinstance(
        pipeline, torch.utils.data.IterableDataset
    )
    shuffled = pipeline.shuffle(100, initial=100).map(lambda sample: sample["key"]).listed(10)
    batches = list(shuffled)
    assert [len(batch) for batch in batches] == [10, 10, 10, 5]
    assert sorted(key for batch in batches for key in batch) == sorted(rows(root))
    assert len(list(pipeline)) == len(list(pipeline)) == SHARDS * IMAGES, "it begins again each time"
    again = pickle.loads(pickle.dumps(pipeline))  # as a spawned worker gets it
    assert [sample["key"] for sample in again] == [sample["key"] for sample in pipeline]


def test_ranks_are_those_it_is_told_of(root, monkeypatch):
    """Not the environment's, as webdataset's split_by_node would have it."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(list(stream_webdataset(root, "train"))) == SHARDS * IMAGES


def test_patterns_and_remote_roots(root, tmp_path):
    wanted = {
        key for key, row in rows(root).items() if row["shard"] in ("train-000002.tar", "train-000003.tar")
    }
    pattern = root / "train-{000002..000003}.tar"
    assert {sample["key"] for sample in stream_webdataset(pattern, "train")} == wanted
    with serving(root) as site:
        cache = Cache(str(tmp_path / "cache"), 1.0, 5, 5)
        for url, keys in ((site.url, set(rows(root))), (f"{site.url}/{pattern.name}", wanted)):
            found = {s["key"]: s for s in stream_webdataset(url, "train", image="bytes", cache=cache)}
            assert set(found) == keys
            assert all(sample["image"] == stored(root, rows(root)[key]) for key, sample in found.items())
        with pytest.raises(ValueError, match=r"train-000007\.tar is not there \(1 of 1"):
            stream_webdataset(f"{site.url}/train-000007.tar", "train", cache=cache)
    with pytest.raises(ValueError, match=r"train-000007\.tar is not there \(1 of 2"):
        stream_webdataset(root / "train-{000006..000007}.tar", "train")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": "dev"}, "split='dev' is none of train, val, test"),
        ({"split": "test"}, r"no image in the test split \(train 35, val 5, test 0\)"),
        ({"rank": 2, "world": 2}, "rank=2 of world=2"),
        ({"rank": -1}, "rank=-1"),
        ({"image": "tensor"}, "image='tensor' is none of bytes, rgb, pil"),
        ({"root": "pipe:touch {folder}/ran"}, "Programs are not run"),
        ({"root": "{folder}/none"}, "no such folder"),
    ],
)
def test_what_it_cannot_do_is_told(root, tmp_path, given, words):
    given = {"root": str(root), "split": "train", **given}
    given["root"] = given["root"].format(folder=tmp_path)
    with pytest.raises(ValueError, match=words):
        stream_webdataset(given.pop("root"), given.pop("split"), **given)
    assert not (tmp_path / "ran").exists()


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_what_index_read_is_read_alike(tmp_path):
    """Two joined tars that count from 0 each, masks and labels far from their pictures, a Mac's notes between."""
    buffer = io.BytesIO()
    for part in range(2):
        members = {}
        for n in range(6):
            members |= {f"{n}.cls": b"01"[n % 2 :][:1], f"._{n}.png": b"notes", f"{n}.mask.png": mask()}
        members |= {f"{n}.png": picture(100 * part + 3 * n + 1) for n in range(6)}
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in members.items():
                add(tar, name, data)
    (tmp_path / "test-0.tar").write_bytes(buffer.getvalue())
    index_root(tmp_path, workers=1)
    expected = rows(tmp_path, "test")
    samples = {
        sample["key"]: sample for sample in stream_webdataset(tmp_path, "test", image="bytes", masks=True)
    }
    assert samples.keys() == expected.keys() and len(samples) == 12
    for key, sample in samples.items():
        assert (sample["image"], sample["mask"]) == (stored(tmp_path, expected[key]), mask())


def test_shards_of_others_keep_their_splits_and_their_pickles_closed(tmp_path):
    """Keys from 0 in each shard, bad samples among them, splits by the json, a pickle beside each picture."""
    (tmp_path / "set").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "set" / f"{shard}.tar", "w") as tar:
            for n in range(40):
                facts = {"label": n % 2, "split": ("train", "val")[n % 4 // 2]}
                add(tar, f"{n:03d}.pyd", pickle.dumps(Bomb(tmp_path / "ran")))
                add(tar, f"{n:03d}.JPG", picture(3 * (40 * shard + n)))
                add(tar, f"{n:03d}.json", json.dumps(facts).encode())
            add(tar, "bad.jpg", b"no picture")
            add(tar, "bad.json", b'{"label": 1}')
    index_root(tmp_path / "set", workers=1)
    for split in ("train", "val"):
        expected = rows(tmp_path / "set", split)
        found = {s["key"]: s for s in stream_webdataset(tmp_path / "set", split, image="bytes")}
        assert set(found) == set(expected) and len(found) == 40
        assert all(
            sample["image"] == stored(tmp_path / "set", expected[key]) for key, sample in found.items()
        )
    assert not (tmp_path / "ran").exists()


SECURE = """
import os, pickle
from dfd.data import stream_webdataset

list(stream_webdataset({root!r}, "val"))
import webdataset

for unsafe in (
    lambda: webdataset.gopen("pipe:touch {ran}"),
    lambda: list(webdataset.WebDataset("pipe:touch {ran}", shardshuffle=False)),
    lambda: webdataset.autodecode.unpickle_loads(pickle.dumps(1)),
):
    try:
        unsafe()
    except Exception as error:
        print("refused", os.environ["WDS_SECURE"])
"""


@pytest.mark.slow
def test_webdataset_is_imported_so_that_it_runs_no_programs_and_unpickles_nothing(root, tmp_path):
    code = SECURE.format(root=str(root), ran=tmp_path / "ran")
    environment = {name: value for name, value in os.environ.items() if name != "WDS_SECURE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["refused", "1"] * 3, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_program_that_imported_webdataset_keeps_its_setting(root, tmp_path):
    environment = dict(os.environ)
    list(stream_webdataset(root, "val"))
    assert dict(os.environ) == environment
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "a", "txt": "text"})


def test_a_shard_that_was_changed_is_not_read(root):
    path = root / "train-000003.tar"
    data = bytearray(path.read_bytes())
    data[-20_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-000003\.tar is damaged or was replaced"):
        list(stream_webdataset(root, "train"))


def with_shard(root: Path, made: Path, split: str = "val") -> None:
    """Another tar in the place of a split's one, with an index that vouches for it."""
    shutil.copy(made, root / f"{split}-000000.tar")
    index = json.loads((root / "index.json").read_text())
    shard = next(shard for shard in index["shards"] if shard["name"] == f"{split}-000000.tar")
    shard |= {"bytes": made.stat().st_size, "sha256": hashlib.sha256(made.read_bytes()).hexdigest()}
    (root / "index.json").write_text(json.dumps(index))


def sparse(tar: tarfile.TarFile, name: str) -> None:
    """A member of a gigabyte of nothing, in two blocks."""
    head = tarfile.TarInfo(name)
    head.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:410], block[483:495] = b"0" * 11 + b"\0" + b"0" * 11 + b"\0", b"%011o\0" % (1 << 30)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    tar.fileobj.write(bytes(block))
    tar.offset += len(block)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda tar, samples: sparse(tar, samples[0][0]), "is a link, a device or a sparse file"),
        (lambda tar, samples: tar.addfile(link()), "is a link, a device or a sparse file"),
        (
            lambda tar, samples: [add(tar, *each) for each in samples[1:]],
            "is not what the table says",
        ),
        (
            lambda tar, samples: [add(tar, *each) for each in (*samples, ("x.jpg", b""), samples[0])],
            "what the table",
        ),
        (
            lambda tar, samples: [add(tar, name, data + b"0") for name, data in samples],
            "is not what the table says",
        ),
    ],
    ids=["sparse", "link", "missing", "twice", "longer"],
)
def test_hostile_shards_are_refused(root, tmp_path, harm, words):
    samples = []
    with tarfile.open(root / "val-000000.tar") as tar:
        samples = [
            (m.name, tar.extractfile(m).read()) for m in tar if not m.name.endswith((".json", "mask.png"))
        ]
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        harm(tar, samples)
        add(tar, "filling.txt", bytes(100_000))
    with_shard(root, tmp_path / "bad.tar")
    with pytest.raises(ValueError, match=words):
        list(stream_webdataset(root, "val"))


def link() -> tarfile.TarInfo:
    member = tarfile.TarInfo("a.jpg")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def test_compressed_shards_are_refused(root, tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w:gz") as tar:
        add(tar, "a.jpg", np.random.default_rng(0).bytes(100_000))
    with_shard(root, tmp_path / "bad.tar")
    with pytest.raises(ValueError, match="is no whole tar"):
        list(stream_webdataset(root, "val"))


def test_nothing_is_imported_until_it_is_asked_for():
    modules = ("webdataset", "dfd.data.webdataset_pipeline")
    code = f"import sys, dfd.data; print(*(name in sys.modules for name in {modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_it_runs_where_torch_is_missing(root):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from dfd.data import stream_webdataset\n"
        f"print(len(list(stream_webdataset({str(root)!r}, 'train'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [str(SHARDS * IMAGES)], done.stderr
