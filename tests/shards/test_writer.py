"""Shards are written through webdataset's TarWriter: the same bytes as ever, exact offsets, no torch."""

import gc
import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dfd
from dfd.shards.format import Place, Shard
from dfd.shards.writer import ShardWriter

# of names over 100 bytes and of those that are not ASCII, a tar says more than one header
KEYS = ["a/000", "k" * 94, "k" * 95, "folder/" * 30 + "long", "ärger", "last"]
SIZES = [1, 511, 512, 513, 70_000, 0]
FACTS = {"label": 1, "path": "gesichter/ä.jpg"}


def write(path: Path) -> tuple[dict[str, Place], Shard]:
    writer = ShardWriter(path, "train-000000.tar")
    places = {
        key: writer.add(key, bytes(size), "webp", FACTS, b"mask" * size if size % 2 else None)
        for key, size in zip(KEYS, SIZES, strict=True)
    }
    return places, writer.close()


def test_a_shard_has_the_bytes_that_it_always_had(tmp_path):
    """The digest is of a tar that was put together by hand, before webdataset wrote them."""
    writer = ShardWriter(tmp_path / "a.tar", "train-000000.tar")
    for key, size in zip(KEYS, SIZES, strict=True):
        image = bytes(range(256)) * (size // 256) + bytes(size % 256)
        writer.add(key, image, "webp", FACTS, b"mask" * size if size % 2 else None)
    digest = "aaf172d0f20c6eb5711c64dd4e3d7b66352795da9c54e57126f4387191a52232"
    assert writer.close() == Shard("train-000000.tar", "train", 6, 102_400, digest)
    assert hashlib.sha256((tmp_path / "a.tar").read_bytes()).hexdigest() == digest


def test_every_offset_is_the_one_that_tarfile_finds(tmp_path):
    places, shard = write(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = {member.name: member for member in tar}
    assert shard.bytes == (tmp_path / "a.tar").stat().st_size
    assert len(members) == 2 * len(KEYS) + sum(size % 2 for size in SIZES)
    for key, size in zip(KEYS, SIZES, strict=True):
        place, image, mask = places[key], members[f"{key}.webp"], members.get(f"{key}.mask.png")
        assert (place.offset, place.length) == (image.offset_data, image.size) == (image.offset_data, size)
        if mask is None:
            assert (place.mask_offset, place.mask_length) == (-1, 0)
        else:
            assert (place.mask_offset, place.mask_length) == (mask.offset_data, mask.size)
    for member in members.values():
        assert (member.mtime, member.uname, member.gname, member.mode) == (0, "dfd", "dfd", 0o444)


def test_the_size_of_an_open_shard_is_that_of_its_members(tmp_path):
    writer = ShardWriter(tmp_path / "a.tar", "val-000000.tar")
    assert writer.size == 0
    place = writer.add("a", bytes(1000), "png", {})
    assert writer.size == place.offset + 1024  # two blocks; "png" comes after "json"
    shard = writer.close()
    assert (shard.split, shard.bytes % tarfile.RECORDSIZE) == ("val", 0)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_abandoned_shard_takes_no_more(tmp_path):
    writer = ShardWriter(tmp_path / "a.tar", "train-000000.tar")
    writer.add("a", b"image", "jpg", {})
    writer.abandon()
    del writer
    gc.collect()
    assert (tmp_path / "a.tar").stat().st_size == 0, "what tarfile held back was dropped"


WRITES = """
import importlib.abc, sys
from pathlib import Path

class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if {blocked} and fullname.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)

sys.meta_path.insert(0, NoTorch())
from dfd.shards.writer import ShardWriter

writer = ShardWriter(Path({path!r}), "train-000000.tar")
writer.add("a", b"image", "jpg", {{}})
print(writer.close().sha256, "torch" in sys.modules)
"""


@pytest.mark.parametrize("blocked", [False, True], ids=["installed", "missing"])
def test_writing_imports_no_torch(tmp_path, blocked):
    code = WRITES.format(path=str(tmp_path / "a.tar"), blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    digest = hashlib.sha256((tmp_path / "a.tar").read_bytes()).hexdigest()
    assert done.stdout.split() == [digest, "False"]


NO_TORCH = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torch":
            raise RuntimeError("torch is imported")  # webdataset only passes over a ModuleNotFoundError

sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.slow
def test_no_process_of_prepare_imports_torch(tmp_path):
    """Neither the command nor its workers, which write the shards."""
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "sitecustomize.py").write_text(NO_TORCH)
    for number in range(80):
        path = tmp_path / "faces" / ("real", "fake")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    path = os.pathsep.join([str(tmp_path / "custom"), str(Path(dfd.__file__).parents[1])])
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        "prepare",
        str(tmp_path / "faces"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0 and "80 images" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_program_that_imports_webdataset_gets_the_whole_of_it(tmp_path):
    write(tmp_path / "a.tar")
    code = (
        "from pathlib import Path; from dfd.shards.writer import ShardWriter\n"
        f"ShardWriter(Path({str(tmp_path / 'b.tar')!r}), 'train-000000.tar').close()\n"
        "import torch, webdataset\n"
        f"data = webdataset.WebDataset({str(tmp_path / 'a.tar')!r}, shardshuffle=False)\n"
        "print(isinstance(data, torch.utils.data.IterableDataset), len(list(data)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(len(KEYS))]
