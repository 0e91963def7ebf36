import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd.data.order import Shuffled, Windows, epoch_order
from dfd.data.stream import TrainSampler


def windows_of(sizes, roots, weights, window, seed=0):
    """Shards of so many rows, each of a root; rows are not positions."""
    shard = np.repeat(np.arange(len(sizes)) * 2 + 1, sizes)
    return Windows(
        np.arange(sum(sizes)) * 3 + 1, shard, np.repeat(roots, sizes), weights, seed, window
    ), shard


@pytest.mark.slow
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


def plain_order(rows, root, weights, seed, epoch):
    """The order as runs of every version have it, in numpy's words and in much memory."""
    rng = np.random.default_rng((seed, epoch))
    picks = []
    for index, weight in enumerate(weights):
        members = np.flatnonzero(root == index)
        picks.append(np.tile(members, int(weight)))
        picks.append(rng.permutation(members)[: round((weight - int(weight)) * len(members))])
    return rows[rng.permutation(np.concatenate(picks))]


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0.25, 1.0, 1.3, 2.0, 2.5]), min_size=4, max_size=4),
    seed=st.integers(0, 2**63),
    kind=st.sampled_from([np.int32, np.int64]),
)
@settings(max_examples=60, deadline=None)
def test_the_order_of_an_epoch_is_what_it_always_was(sizes, weights, seed, kind):
    root = np.repeat(np.arange(len(sizes)), sizes)
    rows, weights = (np.arange(len(root)) * 3 + 1).astype(kind), weights[: len(sizes)]
    ends = [0, *np.cumsum(sizes).tolist()]
    shuffled = Shuffled(rows, [range(*each) for each in pairwise(ends)], weights, seed)
    mixed = np.random.default_rng(0).permutation(root)  # roots of rows that no catalog puts so
    for epoch in (0, 5):
        expected = plain_order(rows, root, weights, seed, epoch)
        assert shuffled(epoch).tolist() == expected.tolist() and shuffled.num_rows == len(expected)
        assert epoch_order(rows, mixed, weights, seed, epoch).tolist() == (
            plain_order(rows, mixed, weights, seed, epoch).tolist()
        )


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    weights=st.tuples(st.sampled_from([0.25, 1.0, 1.3]), st.sampled_from([0.1, 1.0, 3.0])),
    window=st.integers(1, 14),
)
@settings(max_examples=40, deadline=None)
def test_windows_by_their_shards_are_those_of_the_rows(sizes, weights, window):
    roots = np.arange(len(sizes)) * 2 // len(sizes)
    of_rows, shard = windows_of(sizes, roots, weights, window)
    rows = np.arange(sum(sizes), dtype=np.int32) * 3 + 1
    numbers = np.unique(shard)
    of_shards = Windows.of_shards(rows, numbers, np.array(sizes), roots, weights, 0, window)
    assert of_shards.num_rows == of_rows.num_rows
    for epoch in (0, 3):
        assert of_shards(epoch)[:].tolist() == of_rows(epoch)[:].tolist()
        for one, other in zip(of_shards.shards(epoch), of_rows.shards(epoch), strict=True):
            assert one.tolist() == other.tolist()


def test_an_order_costs_four_bytes_a_row():
    rows = np.arange(1_000_000, dtype=np.int32)
    tracemalloc.start()
    try:
        order = Shuffled(rows, [range(len(rows))], [1.0], 0)(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(order) == len(rows) and order.dtype == np.int32
    assert peak < 14e6  # the order, 4 MB, beside what is counted or drawn on the way; it was 41 MB
