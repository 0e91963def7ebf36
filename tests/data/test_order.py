import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.data.order import Windows
from dfd.data.stream import TrainSampler


def windows_of(sizes, roots, weights, window, seed=0):
    """Shards of so many rows, each of a root; rows are not positions."""
    shard = np.repeat(np.arange(len(sizes)) * 2 + 1, sizes)
    return Windows(
        np.arange(sum(sizes)) * 3 + 1, shard, np.repeat(roots, sizes), weights, seed, window
    ), shard


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12),
    weights=st.tuples(st.sampled_from([0.25, 1.0, 1.3, 2.5]), st.sampled_from([0.1, 1.0, 3.0])),
    window=st.integers(1, 14),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_an_epoch_shows_what_the_weights_say_however_it_is_sliced(sizes, weights, window, cuts):
    roots = np.arange(len(sizes)) * 2 // len(sizes)
    windows, _ = windows_of(sizes, roots, weights, window)
    members = [sum(size for size, root in zip(sizes, roots, strict=True) if root == each) for each in (0, 1)]
    for epoch in (0, 7):
        order = windows(epoch)
        whole = order[:]
        assert len(whole) == len(order) == windows.num_rows
        seen = np.bincount((whole - 1) // 3, minlength=sum(sizes))
        for root, weight in enumerate(weights):
            of_root = seen[np.repeat(roots, sizes) == root]
            assert set(of_root) <= {int(weight), int(weight) + 1} and of_root.sum() == (
                int(weight) * members[root] + round((weight - int(weight)) * members[root])
            )
        edges = sorted({0, len(order), *(cut for cut in cuts if cut < len(order))})
        parts = [windows(epoch)[start:stop] for start, stop in pairwise(edges)]
        assert (np.concatenate([whole[:0], *parts]) == whole).all(), "each part by an order of its own"
        again = windows(epoch)
        assert all((again[start:stop] == whole[start:stop]).all() for start, stop in pairwise(edges))


def test_the_windows_are_those_that_the_rows_come_from():
    windows, shard = windows_of([20] * 11, np.zeros(11, int), [1.0], window=3)
    for epoch in range(3):
        rows, at = windows(epoch)[:], 0
        for shards in windows.shards(epoch):
            mine = rows[at : at + 20 * len(shards)]
            assert set(shard[(mine - 1) // 3]) == set(shards)
            assert len(shards) == 1 or len(set(shard[(mine - 1) // 3][:10])) > 1, (
                "rows are mixed within a window"
            )
            at += len(mine)
    assert [list(window) for window in windows.shards(0)] != [list(window) for window in windows.shards(1)]
    assert (windows(0)[:20] != windows(0)[20:40]).any()


def test_rows_that_lie_scattered_are_gathered():
    shard = np.random.default_rng(0).permutation(np.repeat(np.arange(9), 12))
    order = Windows(np.arange(108), shard, np.zeros(108, int), [1.0], 0, 2)(0)[:]
    assert sorted(order) == list(range(108)) and len(set(shard[order[:24]])) == 2


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_any_number_of_ranks_shares_one_order(world):
    windows, _ = windows_of([50] * 40, np.zeros(40, int), [1.0], window=4)
    whole = windows(3)[:]
    ranks = [TrainSampler(windows, 2000, 64, rank, world, lambda batches: (3, 0)) for rank in range(world)]
    for at, parts in enumerate(zip(*ranks, strict=True)):
        assert sorted(row for part in parts for _, row in part) == sorted(whole[at * 64 : at * 64 + 64])


def test_a_rank_holds_a_window_and_not_the_epoch():
    windows, _ = windows_of([1000] * 2000, np.zeros(2000, int), [1.0], window=8)
    tracemalloc.start()
    try:
        order = windows(0)
        for start in range(0, 100_000, 500):
            order[start : start + 500]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, f"{peak} bytes, of which the permutation of all rows would be 16 million"
