import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from noise_shards import VIEW, make, shards

from dfd.data.stream import ShardDataset
from dfd.shards.checksum import verify


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def damage(path: Path, at: int = 700) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_damaged_shard_is_named_before_a_picture_of_it_is_seen(tmp_path, cache):
    data = make(shards(tmp_path, "set"))
    read = ShardDataset(data.contents, VIEW, [], 0, True)
    row = int(data.rows("train")[0])
    assert len(read.read(row)) == data.contents.length[row]
    shard = tmp_path / "set" / "train-000000.tar"
    # in a picture; in the tar's padding, which nothing else would notice
    for at in (700, shard.stat().st_size - 1):
        damage(shard, at)
        with pytest.raises(ValueError, match=r"train-000000\.tar is damaged or was replaced.*Copy it again"):
            ShardDataset(data.contents, VIEW, [], 0, True).read(row)
        damage(shard, at)
    assert len(ShardDataset(data.contents, VIEW, [], 0, True).read(row)) == data.contents.length[row]


def test_a_shard_is_read_whole_once_and_again_when_it_was_touched(tmp_path, cache):
    shard, digest = tmp_path / "a.tar", hashlib.sha256(b"aaa").hexdigest()
    shard.write_bytes(b"aaa")
    verify(shard, digest)
    times = shard.stat()
    shard.write_bytes(b"bbb")
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    verify(shard, digest)  # same file, size and time: what was found is believed
    os.utime(shard, (1, 1))
    with pytest.raises(ValueError, match="damaged or was replaced"):
        verify(shard, digest)
    with pytest.raises(ValueError, match="damaged or was replaced"):
        verify(shard, digest)  # a fault is not remembered as read
    shard.write_bytes(b"aaa")
    verify(shard, digest)


def test_what_changed_under_the_same_time_is_seen_when_it_is_asked_again(tmp_path, cache):
    shard, digest = tmp_path / "a.tar", hashlib.sha256(b"aaa").hexdigest()
    shard.write_bytes(b"aaa")
    verify(shard, digest)
    times = shard.stat()
    shard.write_bytes(b"aba")
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    for again in (True, False):  # and is not believed any more
        with pytest.raises(ValueError, match="damaged or was replaced"):
            verify(shard, digest, again=again)


def test_without_a_cache_folder_each_process_reads_for_itself(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "taken"))
    shard = tmp_path / "a.tar"
    shard.write_bytes(b"aaa")
    verify(shard, hashlib.sha256(b"aaa").hexdigest())
    with pytest.raises(ValueError, match="damaged"):
        verify(shard, "0" * 64)


READER = """
import sys
from pathlib import Path
from dfd.shards import checksum
read = checksum.sha256_of
def loud(path):
    print("read", flush=True)
    return read(path)
checksum.sha256_of = loud
checksum.verify(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_of_processes_that_want_one_shard_one_reads_it_and_a_killed_one_costs_nothing(tmp_path, cache):
    content = np.random.default_rng(0).bytes(200_000_000)
    shard = tmp_path / "large.tar"
    shard.write_bytes(content)
    command = [sys.executable, "-c", READER, str(shard), hashlib.sha256(content).hexdigest()]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "read\n"
    first.kill()
    first.wait()
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [each.communicate(timeout=60)[0] for each in several]
    assert [each.returncode for each in several] == [0] * 4 and sorted(said) == ["", "", "", "read\n"]
