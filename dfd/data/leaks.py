"""Pictures that are one photo in two files: perceptual hashes, and the pairs of them that lie close.

A detector that saw a photo in training is not tested on its re-encoded, resized or retouched copy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

HASH_BITS = 256

NEAR = 31  # bits of 256 that may differ: the usual bound for hashes of this length; strangers differ in 66 and more
_BANDS = 16  # of 16 bits: hashes that differ in at most 31 bits differ in at most one bit of one band
_FLIPS = np.array([0, *(1 << bit for bit in range(16))], np.uint16)
_CHUNK = 1 << 22  # pairs looked at in one go: memory stays flat


def perceptual_hash(luma: np.ndarray) -> bytes:
    """32 bytes of a gray picture (H, W) uint8: the signs of its lowest 16 x 16 frequencies against their median.

    The pHash of Zauner (2010) as imagehash computes it. On 256 px faces, copies after JPEG 60 or at half the size differ in 8
    bits at most, after a change of brightness in 4 to 20; of 80,000 pairs of strangers the closest differed in 66. A cut of 5%
    at the edges moves 42 bits in the median: cropped and mirrored copies are not found.
    """
    import imagehash
    from PIL import Image

    return np.packbits(imagehash.phash(Image.fromarray(luma), hash_size=16).hash).tobytes()


def near_pairs(hashed: np.ndarray) -> np.ndarray:
    """Which pictures are near duplicates: (P, 2) int64 rows i < j whose hashes differ in at most NEAR bits.

    Exact, by banding (multi-index hashing, Norouzi et al., 1307.2982): candidates are pairs whose 16-bit bands agree in one
    place up to one bit, so the cost grows with chance agreements, not with all pairs. Of k equal hashes the first is
    paired with each other one, so that joining pairs joins all.

    Args:
        hashed: (M, 32) uint8.
    """
    distinct, first, inverse = np.unique(hashed, axis=0, return_index=True, return_inverse=True)
    home = first[inverse.ravel()]
    copies = np.flatnonzero(home != np.arange(len(hashed)))
    found = [np.column_stack([home[copies], copies])]
    words = np.ascontiguousarray(distinct).view(np.uint64)  # (D, 4)
    for band in np.ascontiguousarray(distinct).view(np.uint16).T:
        order = np.argsort(band, kind="stable")
        bucket = np.searchsorted(band[order], np.arange(0x10001))  # where each value of the band begins in `order`
        for flip in _FLIPS:
            found += [first[pair] for pair in _close(order, bucket, band ^ flip, words)]
    pairs = np.concatenate(found)
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0)


def _close(order: np.ndarray, bucket: np.ndarray, wanted: np.ndarray, words: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs (P, 2) of hashes and members of their `wanted` bucket that are near, each pair once, some at a time."""
    count = bucket[wanted.astype(np.int64) + 1] - bucket[wanted]
    done = np.concatenate([[0], np.cumsum(count)])
    for low in range(0, int(done[-1]), _CHUNK):
        number = np.arange(low, min(low + _CHUNK, int(done[-1])))
        one = np.searchsorted(done, number, side="right") - 1
        other = order[bucket[wanted[one]] + number - done[one]]
        one, other = one[one < other], other[one < other]
        yield np.column_stack([one, other])[np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= NEAR]


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

    pairs: list[Pair]
    counts: dict[str, int]  # of each kind: groups or pairs that cross splits
    near: int  # near duplicates at all, in whatever splits
    checked: int  # pictures

    @property
    def crossing(self) -> bool:
        return bool(self.pairs)

    def examples(self, most: int = 4) -> str:
        """Some of the pairs, one a line, of each kind in turn."""
        kinds = [[pair for pair in self.pairs if pair.kind == kind] for kind in self.counts]
        turns = [pair for pairs in zip_longest(*kinds) for pair in pairs if pair is not None]
        return "\n".join(
            f"  {pair.kind}: {pair.one} ({pair.one_split}), {pair.other} ({pair.other_split})" for pair in turns[:most]
        )

    def facts(self) -> dict[str, Any]:
        """What index.json keeps: all counts, and the first pairs."""
        return {"counts": self.counts, "pairs": [list(pair) for pair in self.pairs[:1000]]}

    def __str__(self) -> str:
        if not self.pairs:
            within = f"; near duplicates within one split: {self.near}" if self.near else ""
            return f"Leaks: none between splits, in bytes, groups and looks of {self.checked} images{within}."
        return f"Leaks: related pictures in different splits: {counted(self.counts)}.\n{self.examples()}"


KINDS = ("same bytes", "same group", "near duplicate")


def hashes(table: pa.Table) -> np.ndarray:
    """(M, 32) uint8: the column `phash`."""
    return np.frombuffer(b"".join(table["phash"].to_pylist()), np.uint8).reshape(-1, HASH_BITS // 8)


def find_leaks(table: pa.Table, near: np.ndarray | None = None) -> Leaks:
    """What is related across the splits of samples.parquet: equal files, equal groups, and pictures that look the same.

    Args:
        near: `near_pairs` of the table, where they are known.
    """
    split, path, sha256 = (table[name].to_numpy(zero_copy_only=False).astype(str) for name in ("split", "path", "sha256"))
    groups = table["groups"].combine_chunks()
    lists, names = groups.value_parent_indices().to_numpy(), groups.flatten().to_numpy(zero_copy_only=False).astype(str)
    found = {
        KINDS[0]: _crossing(np.arange(len(split)), sha256, split),
        KINDS[1]: _crossing(lists, names, split),
    }
    near = near_pairs(hashes(table)) if near is None else near
    crossing = near[split[near[:, 0]] != split[near[:, 1]]]
    equal = sha256[crossing[:, 0]] == sha256[crossing[:, 1]]
    found[KINDS[2]] = crossing[~equal]
    pairs = [
        Pair(kind, path[one], split[one], path[other], split[other])
        for kind, rows in found.items()
        for one, other in rows.tolist()
    ]
    return Leaks(pairs, {kind: len(rows) for kind, rows in found.items()}, len(near), len(split))


def _crossing(rows: np.ndarray, names: np.ndarray, split: np.ndarray) -> np.ndarray:
    """For each name with rows in several splits, the first row of it and the first in another split: (P, 2)."""
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    order = np.lexsort((rows, names))
    rows, names = rows[order], names[order]
    first = np.concatenate([[True], names[1:] != names[:-1]])
    head = rows[np.flatnonzero(first)[np.cumsum(first) - 1]]  # of each row, the first of its name
    differs = split[rows] != split[head]
    _, at = np.unique(names[differs], return_index=True)
    return np.column_stack([head[differs][at], rows[differs][at]])
