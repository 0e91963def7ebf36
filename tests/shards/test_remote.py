"""Shards behind a web server that fails in every way, read as if they lay here."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import fsspec  # noqa: F401  its registry
import numpy as np
import pytest
from pictures import noise
from web_server import serving

from dfd.cli import _words
from dfd.data import ShardDataModule, View
from dfd.shards import table
from dfd.shards.cache import Cache
from dfd.shards.fetch import FetchError
from dfd.shards.samples import NewSample, write_samples

SHARDS, VAL, IMAGES = 12, 5, 10  # of the training split; of val; of each
VIEW = View(size=32, crops=1, longest=None)


def write(folder, wrong=0):
    """Shards of one size, so that a limit can be said in table. `wrong` labels are turned round."""
    made = [
        NewSample(
            f"{split}-{i}",
            noise(1000 * len(split) + i),
            (i % 2) ^ (split == "val" and i < wrong),
            split,
            "x",
        )
        for split, count in {"train": SHARDS * IMAGES, "val": VAL * IMAGES, "test": 2 * IMAGES}.items()
        for i in range(count)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfd.shards.samples.SHARD_IMAGES", IMAGES)
        write_samples(made, folder, {"test": "remote"})
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("remote") / "shards")


@pytest.fixture
def site(written, tmp_path):
    shutil.copytree(written, tmp_path / "shards")
    with serving(tmp_path / "shards") as site:
        yield site


@pytest.fixture
def size(written):
    """Of a shard, in GB."""
    return (written / "train-000000.tar").stat().st_size / 1e9


@pytest.fixture
def make(site, tmp_path):
    def make(root=None, stage="fit", workers=0, gb=1.0, patience=20.0, timeout=10.0, window=3, batch_size=8):
        cache = Cache(str(tmp_path / "cache"), gb, timeout, patience)
        data = ShardDataModule(
            root or site.url, VIEW, batch_size, num_workers=workers, window=window, cache=cache
        )
        data.setup(stage)
        return data

    return make


def train_epochs(data, epochs=1, first=0):
    """Rows and the sum of each batch's pixels, through one loader, as a Trainer asks it."""
    loader = data.train_dataloader()
    batches = []
    for epoch in range(first, first + epochs):
        loader.batch_sampler.position = lambda count, epoch=epoch: (epoch, 0)
        batches += [(batch["row"].tolist(), int(batch["image"].sum())) for batch in loader]
    return batches


def hasty(data, patience):
    """With a second's time-out from here on: index and table came before, however busy the machine is."""
    data.cache = replace(data.cache, timeout=1.0, patience=patience)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("window", [3, None])
@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_pixels_are_those_of_local_shards(site, make, workers, window):
    near, far = make(str(site.folder), window=window), make(workers=workers, window=window)
    assert train_epochs(far, 2) == train_epochs(near, 2)
    judged, expected = ([batch["row"].tolist() for batch in data.val_dataloader()] for data in (far, near))
    assert judged == expected
    assert far.describe(far.rows("val"))["key"].tolist() == near.describe(near.rows("val"))["key"].tolist()
    asked = site.asked()
    assert {
        asked[shard["name"]] for shard in table.read_index(site.folder)["shards"] if shard["split"] != "test"
    } == {1}
    assert asked["samples.parquet"] == 1


def test_local_and_remote_roots_are_mixed(site, make, written, tmp_path):
    local = tmp_path / "local"
    write_samples([NewSample(f"{i}", noise(1000 + i), i % 2, "train", "x") for i in range(9)], local, {})
    mixed, near = make([str(local), site.url]), make([str(local), str(site.folder)])
    assert train_epochs(mixed) == train_epochs(near)
    with pytest.raises(ValueError, match="hold the same images"):
        make([str(written), site.url])


FAULTS = [
    ("503", 3),
    ("429", 1),
    ("500", 1),
    ("truncate", 2),
    ("stall", 1),
    ("mute", 1),
    ("damage", 2),
    ("long", 2),
    ("slow", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "times"), FAULTS)
def test_what_fails_for_a_while_is_asked_for_again(site, make, fault, times):
    data = hasty(make(), patience=20)
    row = int(data.rows("train")[0])
    remote = data.contents.shards[data.contents.shard[row]]
    site.fail(train_000000=(fault, times))
    with open(site.folder / "train-000000.tar", "rb") as file:
        file.seek(data.contents.offset[row])
        expected = file.read(data.contents.length[row])
    assert data.train_dataloader().dataset.read(row) == expected
    assert site.asked()["train-000000.tar"] == times + (fault != "slow")
    # not "no .part at all": the shards that come next may still be on their way
    assert not list(data.cache.path.glob(f"{remote.name}.*.part"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("404", r"is not there. Is it spelt right"),
        ("403", r"may not be read \(HTTP 403 Forbidden\)"),
        ("503", r"could not be fetched in \d+ attempts over \d+ s: HTTP 503 Service Unavailable"),
        ("mute", r"could not be fetched in \d attempts over \d+ s: no byte came for 1 s, after 0"),
        ("stall", r"could not be fetched in \d attempts over \d+ s: no byte came for 1 s, after \d{4,}"),
        ("damage", r"its sha256 is \w{16}... instead of \w{16}..., 3 times. It was damaged or replaced"),
        ("long", r"more than \d+ bytes came, 3 times"),
    ],
)
def test_what_stays_wrong_is_said_with_its_url(site, make, fault, text):
    data = hasty(make(window=12), patience=10 if fault in ("damage", "long") else 2)
    site.fail(train_000003=(fault, 1000))
    start = time.monotonic()
    with pytest.raises(FetchError, match=rf"{site.url}/train-000003.tar:? {text}"):
        train_epochs(data)
    assert time.monotonic() - start < 20


def test_what_a_worker_met_is_said_in_a_line(site, make):
    data = make(workers=2, window=12)
    site.fail(train_000003=("404", 1000))
    with pytest.raises(FetchError) as caught:
        train_epochs(data)
    assert _words(caught.value).startswith(f"{site.url}/train-000003.tar is not there.")
    assert "\n" not in _words(caught.value)


@pytest.mark.slow
def test_a_server_that_is_gone_is_named(site, make):
    with pytest.raises(
        FetchError,
        match=r"http://127.0.0.1:9/shards/index.json could not be fetched in .* data.cache.patience",
    ):
        make("http://127.0.0.1:9/shards", patience=1)
    with pytest.raises(FetchError, match=r"/elsewhere.json/index.json is not there"):
        os.rename(site.folder / "index.json", site.folder / "elsewhere.json")
        make(f"{site.url}/elsewhere.json")


def epoch_in_a_process(url, cache, queue):
    data = ShardDataModule(url, VIEW, 8, num_workers=2, window=3, cache=cache)
    data.setup("fit")
    queue.put([rows for rows, _ in train_epochs(data)])


def test_processes_of_a_machine_fetch_each_file_once(site, tmp_path):
    """Three ranks, each with two workers, into an empty cache at once."""
    context, cache = multiprocessing.get_context("fork"), Cache(str(tmp_path / "cache"), 1.0, 2, 20)
    queue = context.Queue()
    ranks = [context.Process(target=epoch_in_a_process, args=(site.url, cache, queue)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    orders = [queue.get(timeout=120) for _ in ranks]
    for rank in ranks:
        rank.join(60)
        assert rank.exitcode == 0
    assert orders[0] == orders[1] == orders[2]
    asked = site.asked()
    assert asked.pop("index.json") == 3 and asked["samples.parquet"] == 1
    assert set(asked.values()) == {1}, asked


@pytest.mark.slow
@pytest.mark.parametrize(("room", "window"), [(9.1, 3), (8.1, 1)])  # of which 3 and 5 for two ranks' val
def test_the_limit_holds_at_all_times(site, tmp_path, size, room, window):
    """Two ranks with two workers each over three epochs, in the least room; watched all the time."""
    context, cache = multiprocessing.get_context("fork"), Cache(str(tmp_path / "cache"), room * size, 2, 20)
    largest, looks, done = 0, 0, threading.Event()

    def look():
        nonlocal largest, looks
        while not done.is_set():
            names = os.listdir(cache.path) if cache.path.exists() else []
            # first whole files: one that is fetched between the two readings counts twice rather than never
            held = 0
            for name in sorted(names, key=lambda name: name.endswith(".part")):
                with suppress(FileNotFoundError):
                    held += (
                        int(name.split(".")[-2])
                        if name.endswith(".part")
                        else os.stat(cache.path / name).st_size
                    )
            # else it is no picture of one moment
            if names == (os.listdir(cache.path) if cache.path.exists() else []):
                largest, looks = max(largest, held), looks + 1

    watcher = threading.Thread(target=look)
    watcher.start()
    ranks = [context.Process(target=several_epochs, args=(site.url, cache, window)) for _ in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(240)
    done.set()
    watcher.join()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert looks > 100 and 0.5 * cache.limit < largest <= cache.limit


def several_epochs(url, cache, window):
    data = ShardDataModule(url, VIEW, 2, num_workers=2, window=window, cache=cache)
    data.setup("fit")
    assert len(train_epochs(data, 3)) == 3 * SHARDS * IMAGES // 2


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_fetches_each_shard_once_in_little_room(site, make, size, workers):
    data = make(stage="validate", gb=3.1 * size, workers=workers, batch_size=2)
    rows = [row for batch in data.val_dataloader() for row in batch["row"].tolist()]
    assert rows == sorted(rows) == data.rows("val").tolist()
    assert {name: times for name, times in site.asked().items() if name.startswith("val")} == {
        f"val-{number:06d}.tar": 1 for number in range(VAL)
    }


@pytest.mark.slow
def test_what_becomes_whole_while_another_looks_is_not_fetched_again(site, make, monkeypatch):
    data = make()
    remote = next(shard for shard in data.contents.shards if shard.url.endswith("val-000000.tar"))
    site.fail(val_000000=("slow", 1))
    first = threading.Thread(target=lambda: os.close(data.cache.open(remote)))
    first.start()
    while not list(data.cache.path.glob(f"{remote.name}.*.part")):
        assert first.is_alive()
        time.sleep(0.01)

    def look_late(path, scandir=os.scandir):
        if threading.current_thread() is not first:
            deadline = time.monotonic() + 4
            while not (data.cache.path / remote.name).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return scandir(path)

    monkeypatch.setattr("dfd.shards.cache.os.scandir", look_late)
    assert not data.cache.fetch_ahead(remote, ()), "another process fetches it"
    first.join()
    assert site.asked()["val-000000.tar"] == 1


def epoch_in_a_session(url, cache):
    os.setsid()
    epoch_in_a_process(url, cache, multiprocessing.SimpleQueue())


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_nothing_in_the_way(site, make):
    """kill -9 of rank and workers while they fetch; the next run goes on with what came whole."""
    site.fail(**{f"train_{number:06d}": ("slow", 1) for number in (0, 5, 9)})
    data = make()
    process = multiprocessing.get_context("fork").Process(
        target=epoch_in_a_session, args=(site.url, data.cache)
    )
    process.start()
    deadline = time.monotonic() + 60
    while not [part for part in data.cache.path.glob("*.tar.*.part") if part.stat().st_size]:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert list(data.cache.path.glob("*.part")), "killed in the midst"
    assert train_epochs(data) == train_epochs(make(str(site.folder)))
    assert not list(data.cache.path.glob("*.part"))
    asked = site.asked()
    assert asked.pop("index.json") == 2 and max(asked.values()) == 2, "what came whole is not fetched again"


def test_what_does_not_fit_is_said_beforehand(make, size):
    with pytest.raises(
        ValueError,
        match=r"data.cache.gb=\S+ does not hold .* train \S+ GB, val \S+ GB \(two windows of 3 shards\)",
    ):
        make(gb=7.9 * size)
    assert make(gb=8.01 * size)
    with pytest.raises(
        ValueError, match=r"\(all shards, which are shuffled together\).* a smaller data.window"
    ):
        make(gb=8.01 * size, window=None)
    with pytest.raises(ValueError, match=r"does not hold .* val \S+ GB. Set data.cache.gb=\S+ or more.$"):
        make(stage="validate", gb=1.5 * size)
    with pytest.raises(ValueError, match=r"data\.cache: gb=0"):
        Cache(gb=0)


def test_a_table_is_fetched_once_and_a_changed_one_is_noticed(site, make, tmp_path):
    assert make().label_counts("val") == (25, 25)
    make()
    assert site.asked()["samples.parquet"] == 1
    changed = write(tmp_path / "changed", wrong=3)
    for file in ("samples.parquet", "index.json"):
        shutil.copy(changed / file, site.folder / file)
    assert make().label_counts("val") == (24, 26)


def test_a_table_of_other_shards_is_refused(site, make, tmp_path):
    fewer = tmp_path / "fewer"
    write_samples([NewSample(f"{i}", noise(i), i % 2, "train", "x") for i in range(9)], fewer, {})
    shutil.copy(fewer / "samples.parquet", site.folder)
    with pytest.raises(
        FetchError, match=r"samples.parquet .*: it has 9 lines, and index.json says 190 images: they do not"
    ):
        make()
    (site.folder / "samples.parquet").write_bytes(b"no table")
    with pytest.raises(FetchError, match=r"samples.parquet cannot be read"):
        make()


@pytest.mark.parametrize(
    "wrong",
    [{"sha256": "../../../etc/passwd"}, {"name": "../train-000000.tar"}, {"bytes": "many"}, {"sha256": None}],
)
def test_an_index_by_a_strangers_hand_names_no_file_of_ours(site, make, wrong):
    index = json.loads((site.folder / "index.json").read_text())
    at = next(at for at, shard in enumerate(index["shards"]) if shard["name"] == "train-000000.tar")
    index["shards"][at] |= wrong
    (site.folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(FetchError, match=r"index.json is no index of shards"):
        make()


def test_an_index_that_is_none_is_refused(site, make):
    for text in ("<html>", "[]", '{"shards": 3}'):
        (site.folder / "index.json").write_text(text)
        with pytest.raises(FetchError, match=r"index.json is no index of shards"):
            make()


def test_a_root_that_cannot_be_one_is_refused(make, monkeypatch):
    with pytest.raises(
        ValueError, match=r"remote roots begin with http://, https://, s3://, gs://, not ftp://"
    ):
        make("ftp://host/shards")
    with pytest.raises(ValueError, match=r"no '\?' or '#'"):
        make("https://host/shards?token=x")
    for scheme in ("gs", "s3"):  # fsspec remembers what it has found
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(FetchError, match=r"gs:// needs the package gcsfs .*`pip install gcsfs`"):
        make("gs://bucket/shards")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(FetchError, match=r"s3:// needs the package s3fs .*`pip install 'dfd\[remote\]'`"):
        make("s3://bucket/shards")


def test_a_window_of_no_shards_is_refused(make):
    with pytest.raises(ValueError, match=r"data\.window=0: it takes at least one shard"):
        make(window=0)


def test_a_data_set_goes_to_spawned_workers(make):
    dataset = make().train_dataloader().dataset
    row = int(make().rows("train")[3])
    expected = dataset.read(row)
    assert pickle.loads(pickle.dumps(dataset)).read(row) == expected


def test_threads_end_with_their_loader(make):
    before = threading.active_count()
    for _ in range(3):
        train_epochs(make())
    deadline = time.monotonic() + 5
    # fsspec keeps one of its own
    while threading.active_count() > before + 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before + 1


def test_rows_of_one_shard_are_read_while_others_hold_it(make):
    data = make()
    first, second = data.train_dataloader().dataset, data.train_dataloader().dataset
    rows = data.rows("train")[:IMAGES]
    assert all(first.read(int(row)) == second.read(int(row)) for row in rows)
    assert len(np.unique(data.contents.shard[rows])) == 1
