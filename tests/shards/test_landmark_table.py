"""Landmarks beside the table of shards: points as they were, rows as in the tables, and a stranger's file."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise

from dfd.media.mean_face import mean_face
from dfd.prepare.landmarks import store
from dfd.shards.landmark_table import decode_landmarks, encode_landmarks, is_missing, landmarks_of
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_index

WEIGHTS = {"mesh": "0" * 64, "faces": ""}
SPLITS = ["train"] * 5 + ["val"] * 2 + ["test"] * 2


def points(number: int) -> np.ndarray:
    return mean_face((100, 100), 1.5) + number


def make(folder, first: int = 0, landmarks: bool = True):
    """Shards whose sample N has the mean face, N to the right and down; every fourth has none."""
    samples = [
        NewSample(f"{first + at:02d}", noise(first + at, width=24, height=20), at % 2, split, "set")
        for at, split in enumerate(SPLITS)
    ]
    write_samples(samples, folder, {"command": "test"})
    if landmarks:
        # the line of a table says which sample it is
        keys = [int(key.rpartition("/")[2]) for key in load_table(folder)["key"].to_pylist()]
        found = [encode_landmarks(None if key % 4 == 3 else points(key), (100, 100)) for key in keys]
        store(folder, read_index(folder), np.array(found), WEIGHTS)
    return folder


def expected(root) -> list[np.ndarray]:
    keys = [int(key.rpartition("/")[2]) for key in load_table(root)["key"].to_pylist()]
    return [np.full((468, 2), np.nan) if key % 4 == 3 else points(key) * (2, 3) for key in keys]


@given(
    places=st.lists(st.tuples(st.floats(-0.9, 1.9), st.floats(-0.9, 1.9)), min_size=4, max_size=4),
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
)
@settings(max_examples=40, deadline=None)
def test_points_are_stored_to_a_fraction_of_a_pixel(places, height, width):
    given_points = np.tile(places, (117, 1)) * (width, height)
    stored = encode_landmarks(given_points, (height, width, 3))
    assert stored.dtype == np.uint16 and stored.nbytes == 1872
    back = decode_landmarks(stored, (height, width, 3))
    assert back.dtype == np.float32
    assert np.abs(back - given_points).max() <= 2.5e-5 * max(height, width) + 1e-3


def test_no_face_is_no_number():
    stored = encode_landmarks(None, (10, 10))
    assert is_missing(stored[None]).all() and np.isnan(decode_landmarks(stored, (10, 10))).all()
    for strange in (np.nan, 31.0, -11.0):
        with pytest.raises(ValueError, match="far outside"):
            encode_landmarks(np.full((468, 2), strange), (10, 10))


def test_rows_are_those_of_the_tables(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", 20)
    found = landmarks_of([str(one), str(two)])
    assert len(found) == 18 and len(pickle.dumps(found)) < 1000
    for copy in (found, pickle.loads(pickle.dumps(found))):
        for row, wanted in enumerate([*expected(one), *expected(two)]):
            np.testing.assert_allclose(copy.of(row, (300, 200, 3)), wanted, atol=0.02)
    # of a pattern, the rows of its shards
    name = next(shard["name"] for shard in read_index(two)["shards"] if shard["split"] == "val")
    part = landmarks_of([str(one), f"{two}/{name}"])
    lines = [at for at, shard in enumerate(load_table(two)["shard"].to_pylist()) if shard == name]
    assert len(part) == 9 + len(lines) == 11
    for row, line in enumerate(lines, 9):
        np.testing.assert_allclose(part.of(row, (300, 200)), expected(two)[line], atol=0.02)


def test_who_does_not_ask_for_them_sees_the_shards_as_they_were(tmp_path):
    with_them, without = make(tmp_path / "with"), make(tmp_path / "without", landmarks=False)
    assert load_table(with_them).equals(load_table(without))
    with pytest.raises(ValueError, match=rf"{without} has no landmarks .*`dfd landmarks {without} --mesh"):
        landmarks_of([str(with_them), str(without)])
    with pytest.raises(ValueError, match="on disk alone"):
        landmarks_of(["s3://bucket/shards"])


def test_a_second_file_takes_the_place_of_the_first(tmp_path):
    root = make(tmp_path / "one")
    numbers = np.array([encode_landmarks(points(50), (100, 100))] * 9)
    store(root, read_index(root), numbers, WEIGHTS)
    (left,) = root.glob("landmarks-*")
    assert left.name == read_index(root)["landmarks"]["file"]
    np.testing.assert_allclose(landmarks_of([str(root)]).of(0, (100, 100)), points(50), atol=0.01)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"file": "../landmarks-0123456789abcdef.npy"}, "landmarks is"),
        ({"file": "landmarks-0123456789abcdef.npy"}, "is missing"),
        ({"bytes": 7}, "index.json says 7"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"missing": -1}, "landmarks is"),
        ([], "landmarks is"),
    ],
)
def test_a_strangers_file_is_checked(tmp_path, wrong, words):
    root = make(tmp_path / "one")
    index = json.loads((root / "index.json").read_text())
    index["landmarks"] = index["landmarks"] | wrong if isinstance(wrong, dict) else wrong
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=words):
        landmarks_of([str(root)])


@pytest.mark.parametrize("numbers", [np.zeros((8, 468, 2), np.uint16), np.zeros((9, 468, 2), np.float16)])
def test_numbers_of_another_shape_or_kind_are_refused(tmp_path, numbers):
    root = make(tmp_path / "one")
    store(root, read_index(root), numbers, WEIGHTS)
    with pytest.raises(ValueError, match=r"not uint16 of \(9, 468, 2\)\. `dfd landmarks"):
        landmarks_of([str(root)])
