"""Near duplicates by perceptual hash, and leaks: related pictures in different splits.

A detector that saw a photo in training is not tested on its re-encoded, resized or retouched copy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

HASH_BITS = 256

# bits of 256 that may differ: the usual bound for hashes of this length; strangers differ in 66 and more
NEAR = 31
# of a band of 16 bits: of 16 bands at least one differs in one bit at most
_FLIPS = (0, *(1 << bit for bit in range(16)))
_CHUNK = 1 << 17  # pairs looked at in one go: memory stays flat, and much of it in the processor's cache
CROWD = 128  # different hashes that hang together: of more, the pairs that join them are enough
_ROUNDS = 64  # rows of a crowded bucket that are compared with all of it, before its pairs are


def near_pairs(hashed: np.ndarray) -> np.ndarray:
    """Which pictures are near duplicates: (P, 2) int64 rows i < j whose hashes differ in at most NEAR bits.

    Exact, by banding (multi-index hashing, Norouzi et al., 1307.2982): candidates are pairs whose 16-bit
    bands agree in one place up to one bit, so the cost grows with chance agreements, not with all pairs.
    Joining these pairs joins all that belong together; not all of them are kept where they are many. Of k
    equal hashes the first is paired with each other one. Of a crowd, more than CROWD different hashes that
    hang together, as the frames of one scene, come as many pairs as join it, and each of the others is in
    one. So P is at most CROWD / 2 times M.

    Args:
        hashed: (M, 32) uint8.
    """
    total = max(len(hashed), 1)
    distinct, first, inverse = np.unique(hashed, axis=0, return_index=True, return_inverse=True)
    home = first[inverse.ravel()]
    copies = np.flatnonzero(home != np.arange(len(hashed)))
    by_row = np.argsort(first)  # so that what is kept of a crowd begins with its first pictures
    first, distinct = first[by_row], np.ascontiguousarray(distinct[by_row])
    sets = _joined(distinct)
    label, joined = sets.label, np.concatenate(sets.joined)
    crowded = np.bincount(label, minlength=1)[label] > CROWD
    joined = joined[crowded[joined[:, 0]]]
    small = np.flatnonzero(~crowded)
    one, other = (
        np.concatenate([part, joined[:, at]]) for at, part in enumerate(_within(distinct, label, small))
    )
    codes = [_code(home[copies], copies, total), _code(first[one], first[other], total)]
    return np.column_stack(np.divmod(np.sort(np.concatenate(codes)), total))


def joining(pairs: np.ndarray, num_rows: int) -> np.ndarray:
    """Of pairs (P, 2) of `num_rows` rows, as many as join all that they join: fewer than there are rows."""
    return pairs[_join(np.arange(num_rows), pairs[:, 0], pairs[:, 1])[1]]


def _code(one: np.ndarray, other: np.ndarray, total: int) -> np.ndarray:
    """A number for each pair of rows."""
    return np.minimum(one, other) * total + np.maximum(one, other)


def _join(label: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins the sets of pairs of rows (P,), (P,): the new label of each row, a row number, and which of the
    pairs joined two sets. In rounds, each of which hooks every set to a smaller one (Boruvka's way).
    """
    used, left = [], np.arange(len(one))
    while True:
        mine, theirs = label[one[left]], label[other[left]]
        left, mine, theirs = (part[mine != theirs] for part in (left, mine, theirs))
        if not len(left):
            return label, np.concatenate([*used, left])
        hooked, at = np.unique(np.maximum(mine, theirs), return_index=True)
        parent = np.arange(len(label))
        parent[hooked] = np.minimum(mine, theirs)[at]
        while (parent != (above := parent[parent])).any():
            parent = above
        label = parent[label]
        used.append(left[at])


class _Sets:
    """Sets of rows that hang together by near pairs.

    Args:
        num_rows: each a set of its own at first.
    """

    def __init__(self, num_rows: int):
        self.label = np.arange(num_rows)  # equal in a set
        self.joined = [np.zeros((0, 2), np.int64)]  # the pairs that joined two sets

    def join(self, pairs: np.ndarray) -> None:
        self.label, used = _join(self.label, pairs[:, 0], pairs[:, 1])
        self.joined.append(pairs[used])


def _joined(distinct: np.ndarray) -> _Sets:
    """The sets of hashes that hang together.

    Pairs of one set are not looked at again: so a crowd costs little more than its size, where all of its
    pairs would fill the memory.
    """
    sets, words = _Sets(len(distinct)), distinct.view(np.uint64)
    for band in distinct.view(np.uint16).T:
        for pairs in _crowds(band, words, sets):
            sets.join(pairs)
        found = np.zeros((0, 2), np.int64)
        for pairs in _close(band, words, sets):
            found = np.concatenate([found, pairs])
            if len(found) > _CHUNK:  # many at a time, as to join takes a pass over all labels
                sets.join(found)
                found = found[:0]
        sets.join(found)
    return sets


def _crowds(band: np.ndarray, words: np.ndarray, sets: _Sets) -> Iterator[np.ndarray]:
    """Near pairs (P, 2) of one row of each crowded bucket with all others in it, round by round.

    A bucket holds the rows of equal bands. It is crowded while comparing each of its rows with all that are
    not joined to it would cost more than _ROUNDS such rounds.

    Args:
        band: (D,) uint16.
        words: (D, 4) uint64, the whole hashes.
        sets: are joined meanwhile by the pairs that come.
    """
    rows = np.flatnonzero(np.bincount(band, minlength=1 << 16)[band] > CROWD)
    untried = np.ones(len(band), bool)
    for _ in range(_ROUNDS):
        label = sets.label
        rows = rows[np.lexsort((label[rows], untried[rows], band[rows]))]
        bucket = np.flatnonzero(np.diff(band[rows], prepend=-1))  # where each begins
        size = np.diff(bucket, append=len(rows))
        last = rows[bucket + size - 1]  # one that was not tried yet, of the sets that lie farthest back
        alike = np.unique(band[rows].astype(np.int64) * len(band) + label[rows], return_counts=True)
        within = np.bincount(alike[0] // len(band), alike[1].astype(float) ** 2, 1 << 16)[band[last]]
        going = untried[last] & (size.astype(float) ** 2 - within > _ROUNDS * size)
        if not going.any():
            return
        untried[last] = False
        rows, leader = rows[np.repeat(going, size)], np.repeat(last[going], size[going])
        yield _near(words, *_apart(label, leader, rows))


def _close(band: np.ndarray, words: np.ndarray, sets: _Sets) -> Iterator[np.ndarray]:
    """Near pairs (P, 2) of rows whose bands differ in one bit at most and whose labels differ, some at a
    time.

    Args:
        band, words, sets: as in `_crowds`.
    """
    label, total = sets.label, len(band)
    large = np.bincount(label, minlength=total)[label] > CROWD
    key = band.astype(np.int64) * total + label
    order = np.argsort(key, kind="stable")
    band, key, large = band[order], key[order], np.flatnonzero(large[order])
    bucket = np.searchsorted(band, np.arange(0x10001))  # where each value begins
    for flip in _FLIPS:
        one = np.flatnonzero(band & flip == 0)  # the one whose bit is 0, so that no pair comes twice
        value = band[one].astype(np.int64) | flip
        start, end = np.maximum(bucket[value], one + 1), bucket[value + 1]
        # of a large set, the others of the bucket are before and behind its own rows
        mine = large[band[large] & flip == 0]
        goal = key[mine] + flip * total
        at = np.searchsorted(one, mine)
        behind = np.maximum(np.searchsorted(key, goal, side="right"), start[at])
        one, start, end = (np.concatenate(part) for part in ((one, mine), (start, behind), (end, end[at])))
        end[at] = np.maximum(np.searchsorted(key, goal), start[at])
        count = end - start
        cuts = np.searchsorted(np.cumsum(count), np.arange(_CHUNK, count.sum(), _CHUNK))
        for some, begin, each in zip(*(np.split(part, cuts) for part in (one, start, count)), strict=True):
            left = np.repeat(some, each)
            right = np.arange(len(left)) + np.repeat(begin - np.cumsum(each) + each, each)
            yield _near(words, *_apart(sets.label, order[left], order[right]))


def _apart(label: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that are not joined."""
    apart = label[one] != label[other]
    return one[apart], other[apart]


def _near(words: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P, 2): the pairs that are near."""
    half = sum(np.bitwise_count(words[one, word] ^ words[other, word]) for word in (0, 1))
    one, other = one[half <= NEAR], other[half <= NEAR]  # half of the bits rules out nearly all
    near = np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= NEAR
    return np.column_stack([one[near], other[near]])


def _within(distinct: np.ndarray, label: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All near pairs (P,), (P,) of rows with equal labels."""
    words = distinct.view(np.uint64)
    rows = rows[np.argsort(label[rows], kind="stable")]
    count = np.searchsorted(label[rows], label[rows], side="right") - np.arange(len(rows)) - 1
    cuts = np.searchsorted(np.cumsum(count), np.arange(_CHUNK, count.sum(), _CHUNK))
    found = [np.zeros((0, 2), np.int64)]
    for some, each in zip(*(np.split(part, cuts) for part in (np.arange(len(rows)), count)), strict=True):
        left = np.repeat(some, each)
        right = np.arange(len(left)) + np.repeat(some + 1 - np.cumsum(each) + each, each)
        found.append(_near(words, rows[left], rows[right]))
    return tuple(np.concatenate(found).T)


def counted(counts: Mapping[str, int]) -> str:
    """How often each kind of relation was found, in words."""
    return ", ".join(f"{kind}: {count}" for kind, count in counts.items() if count)


class Pair(NamedTuple):
    """Two pictures that belong together."""

    kind: str  # of KINDS
    one: str  # path
    one_split: str
    other: str
    other_split: str


@dataclass(frozen=True)
class Leaks:
    """The pairs of related pictures that lie in different splits; `str` of it is a sentence."""

    pairs: list[Pair]  # of each kind the first LISTED
    counts: dict[str, int]  # of each kind: groups or pairs that cross splits
    near: int  # near duplicates at all, in whatever splits: as many pairs as `near_pairs` tells
    checked: int  # pictures

    @property
    def crossing(self) -> bool:
        return bool(self.pairs)

    def examples(self, limit: int = 4) -> str:
        """Some of the pairs, one a line, of each kind in turn."""
        kinds = [[pair for pair in self.pairs if pair.kind == kind] for kind in self.counts]
        turns = [pair for pairs in zip_longest(*kinds) for pair in pairs if pair is not None]
        return "\n".join(
            f"  {pair.kind}: {pair.one} ({pair.one_split}), {pair.other} ({pair.other_split})"
            for pair in turns[:limit]
        )

    def facts(self) -> dict[str, Any]:
        """What index.json keeps: all counts, and the first pairs."""
        return {"counts": self.counts, "pairs": [list(pair) for pair in self.pairs[:LISTED]]}

    def __str__(self) -> str:
        if not self.pairs:
            within = f"; near duplicates within one split: {self.near}" if self.near else ""
            looked_at = "1 image" if self.checked == 1 else f"{self.checked} images"
            return f"Leaks: none between splits, in bytes, groups and looks of {looked_at}{within}."
        return f"Leaks: related pictures in different splits: {counted(self.counts)}.\n{self.examples()}"


KINDS = ("same bytes", "same group", "near duplicate")
LISTED = 1000  # pairs that are told with their paths; all are counted


def hashes(table: pa.Table) -> np.ndarray:
    """(M, 32) uint8: the column `phash`."""
    whole = table["phash"].cast(pa.binary(HASH_BITS // 8)).combine_chunks()
    start, length = whole.offset * HASH_BITS // 8, len(whole) * HASH_BITS // 8
    buffer = whole.buffers()[1]
    cells = np.frombuffer(buffer, np.uint8)[start : start + length] if buffer else np.zeros(0, np.uint8)
    return cells.reshape(-1, HASH_BITS // 8)


def find_leaks(table: pa.Table, near: np.ndarray | None = None) -> Leaks:
    """Leaks between the splits of a samples.parquet: equal files, equal groups, and near duplicates.

    Args:
        near: `near_pairs` of the table, where they are known.
    """
    split, sha256 = _numbers(table["split"].combine_chunks()), _numbers(table["sha256"].combine_chunks())
    groups = table["groups"].combine_chunks()
    found = {
        KINDS[0]: _crossing(np.arange(len(split)), sha256, split),
        KINDS[1]: _crossing(groups.value_parent_indices().to_numpy(), _numbers(groups.flatten()), split),
    }
    near = near_pairs(hashes(table)) if near is None else near
    crossing = near[split[near[:, 0]] != split[near[:, 1]]]
    equal = sha256[crossing[:, 0]] == sha256[crossing[:, 1]]
    found[KINDS[2]] = crossing[~equal]
    listed = {kind: rows[:LISTED] for kind, rows in found.items()}
    path = {row: table["path"][row].as_py() for rows in listed.values() for row in np.unique(rows).tolist()}
    name = {row: table["split"][row].as_py() for row in path}
    pairs = [
        Pair(kind, path[one], name[one], path[other], name[other])
        for kind, rows in listed.items()
        for one, other in rows.tolist()
    ]
    return Leaks(pairs, {kind: len(rows) for kind, rows in found.items()}, len(near), len(split))


def _numbers(names: pa.Array) -> np.ndarray:
    """An integer for each name, equal ones for equal names."""
    return names.dictionary_encode().indices.to_numpy()


def _crossing(rows: np.ndarray, names: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(P, 2): of each name with rows in several splits, its first row and its first in another split."""
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    order = np.lexsort((rows, names))
    rows, names = rows[order], names[order]
    first = np.concatenate([[True], names[1:] != names[:-1]])
    head = rows[np.flatnonzero(first)[np.cumsum(first) - 1]]  # of each row, the first of its name
    differs = split[rows] != split[head]
    _, at = np.unique(names[differs], return_index=True)
    return np.column_stack([head[differs][at], rows[differs][at]])
