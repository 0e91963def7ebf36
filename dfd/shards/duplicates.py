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


def perceptual_hash(luma: np.ndarray) -> bytes:
    """32 bytes of a gray picture (H, W) uint8: the signs of its lowest 16 x 16 frequencies against their
    median.

    The pHash of Zauner (2010) as imagehash computes it. On 256 px faces, copies after JPEG 60 or at half the
    size differ in 8 bits at most, after a change of brightness in 4 to 20; of 80,000 pairs of strangers the
    closest differed in 66. A cut of 5% at the edges moves 42 bits in the median: cropped and mirrored copies
    are not found.
    """
    import imagehash
    from PIL import Image

    return np.packbits(imagehash.phash(Image.fromarray(luma), hash_size=16).hash).tobytes()


def near_pairs(hashed: np.ndarray) -> np.ndarray:
    """Which pictures are near duplicates: (P, 2) int64 rows i < j whose hashes differ in at most NEAR bits.

    Exact, by banding (multi-index hashing, Norouzi et al., 1307.2982): candidates are pairs whose 16-bit
    bands agree in one place up to one bit, so the cost grows with chance agreements, not with all pairs. Of k
    equal hashes the first is paired with each other one, so that joining pairs joins all.

    Args:
        hashed: (M, 32) uint8.
    """
    distinct, first, inverse = np.unique(hashed, axis=0, return_index=True, return_inverse=True)
    home = first[inverse.ravel()]
    copies = np.flatnonzero(home != np.arange(len(hashed)))
    found = _code(home[copies], copies, len(hashed))
    for band in np.ascontiguousarray(distinct).view(np.uint16).T:
        order = np.argsort(band, kind="stable")
        row, words = first[order], distinct[order].view(np.uint64)
        close = [_code(row[one], row[other], len(hashed)) for one, other in _close(band[order], words)]
        # a near pair comes in most bands: kept once, to save memory
        found = _distinct(np.concatenate([found, *close]))
    return np.column_stack(np.divmod(found, max(len(hashed), 1)))


def _code(one: np.ndarray, other: np.ndarray, total: int) -> np.ndarray:
    """A number for each pair of rows."""
    return np.minimum(one, other) * total + np.maximum(one, other)


def _distinct(codes: np.ndarray) -> np.ndarray:
    """As np.unique, which hashes: in numpy 2.3 that takes half a minute for two million such numbers."""
    codes = np.sort(codes)
    return codes[np.diff(codes, prepend=-1) > 0]


def _close(band: np.ndarray, words: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows (P,), (P,) that are near and whose bands differ in one bit at most, each pair once, some
    at a time.

    Args:
        band: (D,) uint16, sorted.
        words: (D, 4) uint64, the whole hashes.
    """
    bucket = np.searchsorted(band, np.arange(0x10001))  # where each value begins
    for flip in _FLIPS:
        one = np.flatnonzero(band & flip == 0)  # the one whose bit is 0, so that no pair comes twice
        value = band[one].astype(np.int64) | flip
        start = np.maximum(bucket[value], one + 1)
        count = bucket[value + 1] - start
        cuts = np.searchsorted(np.cumsum(count), np.arange(_CHUNK, count.sum(), _CHUNK))
        for some, begin, each in zip(*(np.split(part, cuts) for part in (one, start, count)), strict=True):
            left = np.repeat(some, each)
            right = np.arange(len(left)) + np.repeat(begin - np.cumsum(each) + each, each)
            half = sum(np.bitwise_count(words[left, word] ^ words[right, word]) for word in (0, 1))
            left, right = left[half <= NEAR], right[half <= NEAR]  # half of the bits rules out nearly all
            near = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= NEAR
            yield left[near], right[near]


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
    path = {row: table["path"][row].as_py() for rows in found.values() for row in np.unique(rows).tolist()}
    name = {row: table["split"][row].as_py() for row in path}
    pairs = [
        Pair(kind, path[one], name[one], path[other], name[other])
        for kind, rows in found.items()
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
