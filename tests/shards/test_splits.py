from collections import defaultdict
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfd.shards.splits import (
    SPLITS,
    assign_splits,
    crossing_families,
    draw_val,
    families,
    hashed_split,
    splits_from,
    with_both_classes,
)

GROUPS = st.lists(
    st.lists(st.sampled_from([f"p{n}" for n in range(12)]), max_size=3), min_size=1, max_size=25
)
OFFICIAL = st.sampled_from([None, None, *SPLITS])


def digests(count: int) -> list[str]:
    return [f"{n:064x}" for n in range(count)]


@given(GROUPS)
@settings(deadline=None)
def test_no_group_crosses_a_split(groups):
    family = families(groups, digests(len(groups)))
    homes = defaultdict(set)
    for mine, split in zip(groups, assign_splits(family, [None] * len(groups)), strict=True):
        for group in mine:
            homes[group].add(split)
    assert all(len(splits) == 1 for splits in homes.values())


@given(GROUPS, st.data())
@settings(deadline=None)
def test_families_are_the_connected_components(groups, data):
    """Against scipy's, with copies of bytes as one more identity."""
    sha256 = data.draw(st.lists(st.sampled_from(digests(20)), min_size=len(groups), max_size=len(groups)))
    names = sorted({name for mine in groups for name in mine} | set(sha256))
    pairs = [(row, names.index(name)) for row, mine in enumerate(groups) for name in [*mine, sha256[row]]]
    rows, columns = np.array(pairs).T
    size = len(groups) + len(names)
    graph = coo_array((np.ones(len(pairs)), (rows, columns + len(groups))), shape=(size, size))
    expected = connected_components(graph, directed=False)[1][: len(groups)]
    family = families(groups, sha256)
    for one in range(len(groups)):
        for other in range(one):
            assert (family[one] == family[other]) == (expected[one] == expected[other])


@given(GROUPS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_rows_changes_nothing(groups, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    sha256 = digests(len(groups))
    family = families(groups, sha256)
    assert families([groups[at] for at in order], [sha256[at] for at in order]) == [
        family[at] for at in order
    ]


def test_a_face_swap_joins_its_two_persons():
    family = families([["anna"], ["ben"], ["anna", "ben"], ["carl"]], digests(4))
    assert family == ["anna", "anna", "anna", "carl"]


def test_copies_without_groups_stay_together():
    family = families([[], [], ["anna"], []], ["a", "b", "b", "a"])
    assert family == ["a", "anna", "anna", "a"]


@given(st.integers(1, 400), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_adding_data_moves_nobody(before, more):
    names = digests(before + more)
    splits = [
        assign_splits(families([[]] * count, names[:count]), [None] * count)
        for count in (before, before + more)
    ]
    assert splits[0] == splits[1][:before]


def test_hashing_gives_80_10_10():
    share = np.unique([hashed_split(name) for name in digests(20_000)], return_counts=True)
    assert dict(zip(share[0], np.round(share[1] / 20_000, 2), strict=True)) == {
        "train": 0.8,
        "val": 0.1,
        "test": 0.1,
    }


@given(GROUPS, st.data())
@settings(deadline=None)
def test_official_splits_are_kept_and_followed(groups, data):
    official = data.draw(st.lists(OFFICIAL, min_size=len(groups), max_size=len(groups)))
    family = families(groups, digests(len(groups)))
    splits = assign_splits(family, official)
    torn = crossing_families(family, splits)
    for row, split in enumerate(official):
        assert split is None or splits[row] == split
    stated = [(name, split) for name, split in zip(family, official, strict=True) if split]
    assert set(torn) == set(crossing_families(*zip(*stated, strict=True)) if stated else {}), (
        "rows without a split tear no family"
    )


@given(GROUPS, st.data())
@settings(deadline=None)
def test_val_drawn_from_train_takes_whole_families_and_nothing_else(groups, data):
    official = data.draw(st.lists(OFFICIAL, min_size=len(groups), max_size=len(groups)))
    family = families(groups, digests(len(groups)))
    before = assign_splits(family, official)
    after = draw_val(family, before)
    for name, old, new in zip(family, before, after, strict=True):
        assert new == ("val" if old == "train" and hashed_split(name) == "val" else old)
    assert set(crossing_families(family, after)) <= set(crossing_families(family, before))


def test_val_drawn_from_train_is_a_tenth():
    splits = draw_val(digests(20_000), ["train"] * 20_000)
    assert set(splits) == {"train", "val"} and 0.09 < splits.count("val") / 20_000 < 0.11


@pytest.mark.parametrize(
    ("official", "train", "val", "test"),
    [
        (["train", "val", "test"], "source", "source", "source"),
        (["train", "test"], "source", "train", "source"),
        (["train"], "source", "train", ""),
        (["train", None], "source", "train", "hash"),
        (["test", None], "hash", "hash", "source"),
        ([None], "hash", "hash", "hash"),
    ],
)
def test_each_split_knows_where_it_is_from(official, train, val, test):
    assert splits_from(official) == {"train": train, "val": val, "test": test}


def dealt(family: list[str], label: list[int], official: list[str | None]) -> tuple[list[str], list]:
    split = assign_splits(family, official)
    if splits_from(official)["val"] == "train":
        split = draw_val(family, split)
    return with_both_classes(family, label, split, official)


SETS = st.lists(st.tuples(st.sampled_from(digests(40)), st.integers(0, 1), OFFICIAL), min_size=1, max_size=60)


@given(SETS)
@settings(deadline=None)
def test_lending_gives_classes_and_takes_none(rows):
    family, label, official = map(list, zip(*rows, strict=True))
    before, _ = dealt(family, label, official)
    plain = assign_splits(family, official)
    plain = draw_val(family, plain) if splits_from(official)["val"] == "train" else plain
    after, moved_families = with_both_classes(family, label, plain, official)
    had, has = ({*zip(split, label, strict=True)} for split in (plain, after))
    assert (
        before == after
        and had <= has
        and len(moved_families) <= 6
        and len({one.family for one in moved_families}) == len(moved_families)
    )
    assert set(crossing_families(family, after)) == set(crossing_families(family, plain)), "no family is torn"
    assert {one.family for one in moved_families} == {
        name for name, *homes in zip(family, plain, after, strict=True) if len({*homes}) > 1
    }
    for old, new, stated in zip(plain, after, official, strict=True):
        assert new == old or stated is None or (stated == "train" and {old, new} == {"train", "val"})


@given(st.lists(st.integers(0, 1), min_size=6, max_size=80), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_small_sets_have_both_classes_in_each_split_whatever_the_order(label, random):
    label = [0, 0, 0, 1, 1, 1, *label]
    rows = list(zip(digests(len(label)), label, strict=True))
    split, _ = dealt([name for name, _ in rows], label, [None] * len(rows))
    assert {*zip(split, label, strict=True)} == {(home, mine) for home in SPLITS for mine in (0, 1)}
    home = dict(zip(digests(len(label)), split, strict=True))
    random.shuffle(rows)
    again, _ = dealt([name for name, _ in rows], [mine for _, mine in rows], [None] * len(rows))
    assert again == [home[name] for name, _ in rows]


@given(st.integers(6, 300), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_adding_data_moves_few(before, more):
    names = digests(before + more)
    one, other = (
        dealt(names[:count], [n % 2 for n in range(count)], [None] * count)[0]
        for count in (before, before + more)
    )
    assert sum(old != new for old, new in zip(one, other, strict=False)) <= 12
    whole = digests(2000)
    assert dealt(whole, [n % 2 for n in range(2000)], [None] * 2000) == (
        [hashed_split(name) for name in whole],
        [],
    )


def test_a_lacking_class_comes_with_the_nearest_hash():
    names = digests(60)
    label = [0 if hashed_split(name) == "val" else n % 2 for n, name in enumerate(names)]
    split, moved_families = dealt(names, label, [None] * 60)
    draw = {name: int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}
    fakes = [name for name, mine in zip(names, label, strict=True) if mine]
    nearest = min(fakes, key=lambda name: min(abs(draw[name] - 0.8), abs(draw[name] - 0.9)))
    assert [(one.family, one.split, one.label) for one in moved_families] == [(nearest, "val", "fake")]
    assert split[names.index(nearest)] == "val"
