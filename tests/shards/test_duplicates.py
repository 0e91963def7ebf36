import time
import tracemalloc

import cv2
import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.augment import corrupt
from dfd.media.decode import image_info_and_luma
from dfd.media.perceptual_hash import perceptual_hash
from dfd.shards.duplicates import LISTED, NEAR, find_leaks, joining, near_pairs
from dfd.shards.duplicates import hashes as read_hashes
from dfd.synthetic import draw_person


def all_pairs(hashes: np.ndarray) -> np.ndarray:
    """The slow way."""
    words = hashes.view(np.uint64)
    distance = np.bitwise_count(words[:, None] ^ words[None]).sum(axis=2)
    return np.argwhere(np.triu(distance <= NEAR, 1))


@pytest.mark.slow
@given(seed=st.integers(0, 999), copies=st.lists(st.integers(0, 60), max_size=12))
@settings(max_examples=30, deadline=None)
def test_banding_finds_exactly_the_pairs_within_the_bound(seed, copies):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    changed = []
    for bits in copies:  # copies of strangers, `bits` away
        flips = np.zeros(256, np.uint8)
        flips[rng.choice(256, bits, replace=False)] = 1
        changed.append(hashes[rng.integers(40)] ^ np.packbits(flips))
    hashes = np.concatenate([hashes, np.array(changed, np.uint8).reshape(-1, 32)])
    distinct = np.unique(hashes, axis=0)  # of equal ones only the first is paired with each other one
    assert near_pairs(distinct).tolist() == all_pairs(distinct).tolist()


def test_differences_spread_evenly_over_the_bands_are_found():
    one = np.zeros((1, 32), np.uint8)
    for distance in (NEAR, NEAR + 1):
        bits = np.zeros((16, 16), np.uint8)
        bits[:, 5] = bits[:, 11] = 1  # two of each band: the worst case
        bits[0, 5] = distance % 2 == 0
        other = np.packbits(bits)[None]
        assert len(near_pairs(np.concatenate([one, other]))) == (distance <= NEAR)


def test_equal_hashes_are_joined_without_all_their_pairs():
    pairs = near_pairs(np.zeros((3000, 32), np.uint8))
    assert pairs.tolist() == [[0, row] for row in range(1, 3000)]


def test_pairs_do_not_depend_on_how_many_are_looked_at_in_one_go(monkeypatch):
    rng = np.random.default_rng(0)
    frames = np.unpackbits(rng.integers(0, 256, (4, 32), dtype=np.uint8), axis=1)
    # four videos
    hashes = np.packbits(
        np.concatenate([frames ^ (rng.random(frames.shape) < 0.03) for _ in range(40)]), axis=1
    )
    whole = near_pairs(hashes)
    assert whole.tolist() == all_pairs(hashes).tolist() and len(whole) > 3000
    monkeypatch.setattr("dfd.shards.duplicates._CHUNK", 7)
    assert (near_pairs(hashes) == whole).all()


def sets(pairs: np.ndarray, num: int) -> list[int]:
    """The smallest row that each row hangs together with, the slow way."""
    home = list(range(num))
    for one, other in pairs.tolist():
        low, high = sorted((home[one], home[other]))
        home = [low if each == high else each for each in home]
    return home


@given(
    seed=st.integers(0, 9999),
    scenes=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([0.0, 0.02, 0.06, 0.09])), min_size=1, max_size=5
    ),
    crowd=st.sampled_from([2, 9, 128]),
    rounds=st.sampled_from([1, 4]),
)
@settings(max_examples=30, deadline=None)
def test_a_crowd_is_joined_as_by_all_its_pairs(seed, scenes, crowd, rounds):
    rng = np.random.default_rng(seed)
    bits = [rng.integers(0, 2, 256) ^ (rng.random((frames, 256)) < noise) for frames, noise in scenes]
    hashes = rng.permutation(np.packbits(np.concatenate(bits).astype(np.uint8), axis=1))
    hashes = hashes[np.sort(np.unique(hashes, axis=0, return_index=True)[1])]
    wanted = all_pairs(hashes)
    home = np.array(sets(wanted, len(hashes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfd.shards.duplicates.CROWD", crowd)
        patch.setattr("dfd.shards.duplicates._ROUNDS", rounds)
        found = near_pairs(hashes)
    assert sets(found, len(hashes)) == home.tolist()
    few = np.bincount(home, minlength=len(hashes))[home[wanted[:, 0]]] <= crowd
    assert set(map(tuple, wanted[few].tolist())) <= set(map(tuple, found.tolist()))
    assert set(map(tuple, found.tolist())) <= set(map(tuple, wanted.tolist()))
    large = [size for size in np.bincount(home) if size > crowd]
    assert len(found) == few.sum() + sum(large) - len(large)
    assert sets(joining(found, len(hashes)), len(hashes)) == home.tolist()
    assert len(joining(found, len(hashes))) == len(hashes) - len(set(home.tolist()))


def test_six_thousand_frames_of_a_scene_take_neither_memory_nor_time():
    rng = np.random.default_rng(0)
    hashes = np.packbits(rng.integers(0, 2, 256) ^ (rng.random((6000, 256)) < 0.03), axis=1)
    tracemalloc.start()
    start = time.process_time()
    try:
        pairs = near_pairs(hashes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(pairs) == 5999 and len(np.unique(pairs)) == 6000
    assert peak < 100e6 and time.process_time() - start < 5  # all 18 million pairs: 1.1 GB and a minute


def test_a_scene_in_two_splits_is_a_leak_that_is_told_in_few_words():
    rng = np.random.default_rng(0)
    hashes = np.packbits(rng.integers(0, 2, 256) ^ (rng.random((3000, 256)) < 0.03), axis=1)
    rows = [
        (f"{row}.png", ("train", "test")[row % 2], f"s{row}", [], look.tobytes())
        for row, look in enumerate(hashes)
    ]
    found = find_leaks(table(*rows))
    assert found.near == 2999 and 1000 < found.counts["near duplicate"] < 2999
    assert len(found.pairs) == LISTED and {pair.kind for pair in found.pairs} == {"near duplicate"}
    assert f"near duplicate: {found.counts['near duplicate']}" in str(found)


def test_hashes_are_read_from_any_piece_of_a_table():
    whole = table(*((str(row), "train", f"s{row}", [], looks(row)) for row in range(5)))
    together = pa.concat_tables([whole.slice(1, 2), whole.slice(4)])
    assert [row.tobytes() for row in read_hashes(together)] == [looks(1), looks(2), looks(4)]
    assert read_hashes(whole.slice(5)).shape == (0, 32)


def test_no_pictures_have_no_pairs():
    assert near_pairs(np.zeros((0, 32), np.uint8)).shape == (0, 2)


@pytest.mark.parametrize(
    "damage", [("jpeg", 60), ("half", None), ("delivery", None), ("blur", 1.0), ("noise", 0.03)]
)
def test_a_delivered_copy_is_near_and_a_stranger_is_not(damage):
    faces = [draw_person(identity, np.random.default_rng(identity), 160).picture for identity in range(6)]
    copies = [corrupt(face, *damage) for face in faces]
    hashes = [np.frombuffer(perceptual_hash(face[..., 1]), np.uint8) for face in faces + copies]
    assert near_pairs(np.stack(hashes)).tolist() == [[at, at + 6] for at in range(6)]


@pytest.mark.parametrize("side", [130, 250, 257, 261, 300, 511, 1024])
def test_a_copy_of_any_size_is_near(side):
    for identity in range(3):
        face = draw_person(identity, np.random.default_rng(identity), 256).picture
        copies = [cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA) for size in (256, side)]
        lumas = [image_info_and_luma(simplejpeg.encode_jpeg(copy, 90))[1] for copy in copies]
        one, other = (np.frombuffer(perceptual_hash(luma), np.uint64) for luma in lumas)
        assert np.bitwise_count(one ^ other).sum() <= 10


def table(*rows):
    """Rows of (path, split, sha256, groups, hash)."""
    names = ("path", "split", "sha256", "groups", "phash")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    types = [pa.string(), pa.string(), pa.string(), pa.list_(pa.string()), pa.binary(32)]
    return pa.table(
        [pa.array(columns[name], kind) for name, kind in zip(names, types, strict=True)], names=list(names)
    )


def looks(seed):
    return np.random.default_rng(seed).bytes(32)


def test_each_kind_of_relation_across_splits_is_named_once():
    close = bytearray(looks(7))
    close[3] ^= 0b111
    found = find_leaks(
        table(
            ("a", "train", "s1", ["p1"], looks(1)),
            ("b", "test", "s1", [], looks(1)),  # a's bytes
            ("c", "train", "s2", ["p2"], looks(2)),
            ("d", "val", "s3", ["p2", "p1"], looks(3)),  # p1 of a, p2 of c
            ("e", "val", "s4", ["p2"], looks(4)),
            ("f", "train", "s5", ["p9"], looks(7)),
            ("g", "test", "s6", [], bytes(close)),  # looks like f
            ("h", "train", "s7", ["p9"], looks(8)),
            ("i", "train", "s8", [], looks(8)),  # looks like h, in its split
        )
    )
    assert found.crossing and found.checked == 9 and found.near == 3
    assert found.counts == {"same bytes": 1, "same group": 2, "near duplicate": 1}
    assert {(pair.kind, pair.one, pair.other) for pair in found.pairs} == {
        ("same bytes", "a", "b"),
        ("same group", "a", "d"),
        ("same group", "c", "d"),
        ("near duplicate", "f", "g"),
    }
    assert "same bytes: 1, same group: 2, near duplicate: 1" in str(found) and "a (train), b (test)" in str(
        found
    )


def test_nothing_related_says_so():
    clean = find_leaks(table(("a", "train", "s1", ["p1"], looks(1)), ("b", "test", "s2", ["p2"], looks(2))))
    assert not clean.crossing and "none between splits, in bytes, groups and looks of 2 images." in str(clean)
