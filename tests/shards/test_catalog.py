"""The columns of all samples: in memory, or in a file that the processes of a machine share."""

import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pictures import noise

from dfd.data import ShardDataModule, View
from dfd.shards import shared_arrays
from dfd.shards.cache import Cache
from dfd.shards.catalog import Catalog, Runs, lines_of
from dfd.shards.format import SCHEMA
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.splits import SPLITS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tables"


@pytest.fixture
def shared(monkeypatch):
    """As for millions of samples."""
    monkeypatch.setattr("dfd.shards.catalog.SMALL", 0)


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """One as it was written, one whose table somebody mixed, some shards of a third; a table is read in pieces of
    7 lines.
    """
    monkeypatch.setattr("dfd.shards.samples.SHARD_IMAGES", 5)
    for seed, name in enumerate(("first", "second", "third")):
        made = [
            NewSample(f"{name}-{n:03d}", noise(100 * seed + n), n % 2, SPLITS[n % 7 % 3], name)
            for n in range(40)
        ]
        write_samples(made, tmp_path / name, {"command": "test"})
        table = pq.read_table(tmp_path / name / "samples.parquet")
        if seed == 1:
            table = table.take(np.random.default_rng(0).permutation(len(table)))
        pq.write_table(table.cast(SCHEMA), tmp_path / name / "samples.parquet", row_group_size=7)
    return [
        str(tmp_path / "first"),
        str(tmp_path / "second"),
        str(tmp_path / "third/train-{000001..000002}.tar"),
    ]


def expected(root: str) -> dict:
    """The columns of a whole root, the plain way."""
    table = pq.read_table(Path(root) / "samples.parquet")
    names = table["shard"].unify_dictionaries().combine_chunks()
    return {
        "shard": np.asarray(names.indices), "names": names.dictionary.to_pylist(),
        "offset": np.asarray(table["offset"]), "length": np.asarray(table["length"]),
        "label": np.asarray(table["label"]), "key": table["key"].to_pylist(), "sha256": table["sha256"].to_pylist(),
        "split": table["split"].to_pylist(),
    }  # fmt: skip


@pytest.mark.parametrize("small", [0, 1 << 20])
@pytest.mark.parametrize("number", [0, 1])
def test_numbers_and_names_are_those_of_the_table(roots, number, small, monkeypatch):
    monkeypatch.setattr("dfd.shards.catalog.SMALL", small)
    catalog, wanted = Catalog([roots[number]], Cache()), expected(roots[number])
    contents = catalog.contents
    assert [shard.name for shard in contents.shards] == wanted["names"]
    for name in ("shard", "offset", "length", "label"):
        assert getattr(contents, name).tolist() == wanted[name].tolist()
    for split in SPLITS:
        rows = [row for row, each in enumerate(wanted["split"]) if each == split]
        assert catalog.rows[split].tolist() == rows
        assert catalog.images_of(split).tolist() == [np.bincount(wanted["label"][rows], minlength=2).tolist()]
        assert catalog.shards_of(split).tolist() == np.unique(wanted["shard"][rows]).tolist()
        assert catalog.by_shards[split] == (np.diff(wanted["shard"][rows]) >= 0).all()
    rows = np.random.default_rng(1).permutation(40)[:25]
    assert catalog.describe(rows)["key"].tolist() == [wanted["key"][row] for row in rows]
    assert catalog.fingerprints(rows).tolist() == [int(wanted["sha256"][row][:15], 16) for row in rows]
    assert catalog.describe(rows[:0])["path"].tolist() == [] == catalog.fingerprints(rows[:0]).tolist()


def test_a_machines_share_is_what_a_process_would_hold_itself(roots, cache, monkeypatch):
    own = ShardDataModule(dict(zip(roots, (1.0, 2.5, 0.5), strict=True)), View(), 4, num_workers=0)
    own.setup("fit")
    assert not cache.exists()
    monkeypatch.setattr("dfd.shards.catalog.SMALL", 0)
    for window in (None, 2):
        monkeypatch.setattr(own, "window", window)
        one = ShardDataModule(own.roots, View(), 4, num_workers=0, window=window)
        one.setup("fit")
        assert one.contents.shards == own.contents.shards and one.contents.sha256 == own.contents.sha256
        for name in ("shard", "offset", "length", "label", "root"):
            assert (getattr(one.contents, name) == getattr(own.contents, name)).all()
        assert (one.contents.root == np.repeat([0, 1, 2], [40, 40, len(one.contents) - 80])).all()
        everything = np.random.default_rng(2).permutation(len(own.contents))
        for name, column in own.describe(everything).items():
            assert one.describe(everything)[name].tolist() == column.tolist()
        for split in SPLITS:
            assert one.rows(split).tolist() == own.rows(split).tolist()
            assert one.label_counts(split) == own.label_counts(split)
            assert one.roots_of(split) == own.roots_of(split)
        for epoch in (0, 1):
            assert one._order()(epoch)[:].tolist() == own._order()(epoch)[:].tolist()


def make_and_tell(root, told, barrier):
    barrier.wait()
    catalog = Catalog([root], Cache())
    told.put((os.stat(catalog.contents.shared.path).st_ino, int(catalog.contents.offset.sum())))


def test_one_process_of_many_makes_it(roots, cache, shared, monkeypatch):
    made = multiprocessing.get_context("fork").Value("i", 0)
    fill = Catalog._fill

    def counted(self, arrays):
        with made.get_lock():
            made.value += 1
        return fill(self, arrays)

    monkeypatch.setattr(Catalog, "_fill", counted)
    context = multiprocessing.get_context("fork")
    told, barrier = context.SimpleQueue(), context.Barrier(4)
    processes = [context.Process(target=make_and_tell, args=(roots[0], told, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {told.get() for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1 and made.value == 1
    assert len([*cache.glob("*.table")]) == 1 and not [*cache.glob("*.part")]


def test_a_changed_table_is_another_file(roots, cache, shared):
    before = Catalog([roots[0]], Cache())
    table = pq.read_table(Path(roots[0]) / "samples.parquet")
    pq.write_table(table.slice(0, 30).cast(SCHEMA), Path(roots[0]) / "other")
    os.replace(Path(roots[0]) / "other", Path(roots[0]) / "samples.parquet")
    index = Path(roots[0]) / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"images": 30}))
    assert len(Catalog([roots[0]], Cache()).contents) == 30
    assert len(before.describe(np.arange(40))["key"]) == 40, "what was opened stays as it was"


def test_what_nobody_holds_goes_and_what_is_held_or_strange_stays(roots, cache, shared):
    held = Catalog([roots[0]], Cache())
    held.share_order(["a"], 5, lambda order: None)
    passing = Catalog([roots[1]], Cache())
    passing.share_order(["b"], 5, lambda order: None)
    old = passing.contents.shared.path
    del passing
    leftover = cache / f"{'0' * 32}.table.part"
    for path in (leftover, cache / "photo.table", cache / "notes.order"):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    kept = {path for path in cache.iterdir() if path.suffix == ".order"} - {cache / "notes.order"}
    Catalog([roots[2]], Cache())
    assert not leftover.exists() and not old.exists()
    assert (cache / "photo.table").exists() and (cache / "notes.order").exists()
    assert held.contents.shared.path.exists() and held._order.path.exists()
    assert [path for path in kept if path.exists()] == [held._order.path]


@pytest.mark.parametrize("obstacle", ["a file in the way", "no locks"])
def test_where_nothing_can_be_shared_each_has_its_own(roots, cache, shared, obstacle, monkeypatch):
    if obstacle == "no locks":
        monkeypatch.setattr(
            shared_arrays, "flock", lambda file, shared=False: (_ for _ in ()).throw(OSError(95, ""))
        )
    else:
        cache.parent.write_bytes(b"")
    catalog = Catalog([roots[0]], Cache())
    assert catalog.contents.shared is None and len(catalog.contents) == 40
    order = catalog.share_order(["a"], 3, lambda order: order.__setitem__(slice(None), [2, 1, 0]))
    assert order.tolist() == [2, 1, 0] and catalog.describe(np.array([3]))["key"].tolist() != [""]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("offset", -5, "first 'first-0.*its bytes do not lie in its shard"),
        ("key", None, "the column key has empty cells"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_kept(roots, cache, shared, column, value, words):
    path = Path(roots[0]) / "samples.parquet"
    lines = pq.read_table(path).to_pylist()
    lines[25][column] = value
    pq.write_table(pq.read_table(path).from_pylist(lines, SCHEMA), path, row_group_size=7)
    with pytest.raises(ValueError, match=f"samples.parquet is not as dfd writes it: .*{words}.*dfd "):
        Catalog([roots[0]], Cache())
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_a_spawned_worker_maps_the_file_and_is_sent_no_column(roots, shared):
    contents = Catalog([roots[0]], Cache()).contents
    sent = pickle.dumps(contents)
    again = pickle.loads(sent)
    assert (again.offset == contents.offset).all() and again.shards == contents.shards
    assert contents.offset.tobytes() not in sent


def test_runs_are_found_again():
    numbers = np.array([3, 4, 5, 9, 11, 12, 40])
    runs = Runs()
    for part in (numbers[:2], numbers[2:2], numbers[2:]):
        runs.add(part)
    assert runs.told == [[3, 3], [9, 1], [11, 2], [40, 1]]
    assert lines_of(json.loads(json.dumps(runs.told)), np.array([6, 0, 3, 5])).tolist() == [40, 3, 9, 12]
