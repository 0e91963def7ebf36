import hashlib
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from dfd.data.collate import collate
from dfd.data.open_files import OpenFile, OpenFiles, max_open_files
from dfd.data.prefetch import Schedule, ShardFiles
from dfd.data.stream import Contents, ShardDataset, TrainSampler
from dfd.media.crops import View
from dfd.shards.fetch import Remote


@contextmanager
def descriptors(limit):
    """`ulimit -n`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def num_open(folder="/"):
    """Descriptors of this process that lead into a folder; another test's threads may open some meanwhile."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed since
            found += folder == "/" or os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
    return found


def shards_of(folder, blobs, sha256=False):
    """Contents of one picture a shard."""
    paths = [folder / f"{number}.tar" for number in range(len(blobs))]
    for path, blob in zip(paths, blobs, strict=True):
        path.write_bytes(blob)
    row = np.arange(len(blobs))
    length = np.array([len(blob) for blob in blobs])
    digests = [hashlib.sha256(blob).hexdigest() for blob in blobs] if sha256 else []
    return Contents(paths, row.astype(np.int32), row * 0, length, (row % 2).astype(np.int8), row * 0, digests)


def reader(contents):
    return ShardDataset(contents, View(size=16, longest=None), [], 0, True)


def test_five_thousand_shards_are_read_with_few_descriptors(tmp_path):
    contents = shards_of(tmp_path, [b"%d" % number for number in range(5000)])
    limit = num_open() + 150
    with descriptors(limit):
        dataset = reader(contents)
        most = 0
        for turn in range(2):
            for row in np.random.default_rng(turn).permutation(5000).tolist():
                assert dataset.read(row) == b"%d" % row
            most = max(most, num_open(tmp_path))
    assert 1 < most <= limit // 8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_through_more_shards_than_there_are_descriptors(tmp_path, workers):
    pictures = []
    for number in range(300):
        path = tmp_path / "picture.png"
        Image.fromarray(np.full((16, 16, 3), number % 250, np.uint8)).save(path)
        pictures.append(path.read_bytes())
    contents = shards_of(tmp_path, pictures)
    sampler = TrainSampler(lambda epoch: np.arange(300), 300, 4, 0, 1, lambda batches: (0, 0))
    with descriptors(num_open() + 120):
        loader = DataLoader(reader(contents), batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        seen = []
        for batch in loader:  # a tensor that is kept is a descriptor that is kept
            seen += zip(batch["row"].tolist(), batch["image"][:, 0, 0, 0].tolist(), strict=True)
    assert seen == [(row, row % 250) for row in range(300)]


def test_the_last_used_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.data.open_files.max_open_files", lambda: 2)
    (tmp_path / "a").touch()
    files = OpenFiles()
    first, second, third = (OpenFile(tmp_path / "a") for _ in range(3))
    files.keep(1, first)
    files.keep(2, second)
    assert files.get(1) is first
    files.keep(3, third)
    assert files.get(2) is None and files.get(1) is first and files.get(3) is third
    gone = second.descriptor
    os.fstat(gone)  # somebody reads it still
    del second
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(gone)


def test_threads_read_what_they_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.data.open_files.max_open_files", lambda: 2)
    dataset = reader(shards_of(tmp_path, [b"%d" % number * 50 for number in range(30)]))
    rows = np.random.default_rng(0).integers(0, 30, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.read, rows)) == [b"%d" % row * 50 for row in rows]


def test_a_shard_that_is_replaced_while_it_is_closed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dfd.data.open_files.max_open_files", lambda: 1)
    contents = shards_of(tmp_path, [b"one", b"two"], sha256=True)
    dataset = reader(contents)
    assert [dataset.read(row) for row in (0, 1, 0, 1)] == [b"one", b"two", b"one", b"two"]
    contents.shards[0].unlink()
    contents.shards[0].write_bytes(b"ONE")
    assert dataset.read(1) == b"two"
    with pytest.raises(ValueError, match="damaged or was replaced"):
        dataset.read(0)


def test_the_limit_is_a_share_of_what_the_system_allows():
    with descriptors(256):
        assert max_open_files() == 32
    with descriptors(1024):
        assert max_open_files() == 128


def test_a_window_of_many_remote_shards_holds_few_of_them_open(tmp_path):
    class Fetched:
        def open(self, remote, keep, let_go):
            return os.open(tmp_path / remote.name, os.O_RDONLY)

        def fetch_ahead(self, remote, keep):
            return True

    contents = shards_of(tmp_path, [b"%d" % number for number in range(400)])
    remotes = [Remote(f"http://nowhere/{path.name}", path.name, 3) for path in contents.shards]
    before = num_open()
    with descriptors(before + 150):
        files = ShardFiles(remotes, Fetched(), Schedule(lambda epoch: [np.arange(400)], 1, repeats=True))
        for shard in [*range(400), *range(400)]:
            assert os.pread(files.open(0, shard), 9, 0) == b"%d" % shard
            assert num_open(tmp_path) <= (before + 150) // 8
        files.close()
    assert num_open(tmp_path) == 0
