"""Catalog of samples: the tables of several roots as one, with the columns that loaders hold in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.shards.cache import Cache
from dfd.shards.duplicates import counted
from dfd.shards.fetch import Remote
from dfd.shards.format import clip_of, recorded_margin
from dfd.shards.remote import open_root, shards_of
from dfd.shards.splits import SPLITS

_FACTS = ["key", "path", "split", "source", "method", "family", "sha256"]  # looked up by row
_HEAD = 15  # hex digits of a fingerprint: 60 bits
_CHUNK = 1 << 20  # lines at a time


@dataclass(frozen=True)
class Contents:
    """The columns that every rank and worker holds in memory, one line a sample."""

    shards: list[Path | Remote]
    shard: np.ndarray  # (M,) int32, into `shards`
    offset: np.ndarray  # (M,) int64, bytes into the shard
    length: np.ndarray  # (M,) int64, bytes
    label: np.ndarray  # (M,) int8
    root: np.ndarray  # (M,) int16, which of the roots
    sha256: Sequence[str] = ()  # of each of `shards`; if empty, they are not checked

    def __len__(self) -> int:
        return len(self.shard)


class Catalog:
    """All roots of a data module.

    Args:
        roots: folders of finished shards, their URLs, or patterns of some of their shards.
        cache: for remote roots.

    Raises:
        ValueError: what is wrong with one of them, and what to do.
    """

    def __init__(self, roots: Iterable[str], cache: Cache):
        # of each root that was prepared with --allow-leaks: how often splits share pictures
        self.leaks: dict[str, str] = {}
        # of each root whose pictures `dfd prepare` cut out of larger ones: side, as a multiple of the face's
        self.margins: dict[str, float] = {}
        self.digests: list[dict[str, str]] = []  # of each root: shard -> sha256
        tables, shards, columns, digests = [], [], [], []
        for number, root in enumerate(roots):
            index, table = open_root(root, cache)
            self.digests.append({shard["name"]: shard["sha256"] for shard in index["shards"]})
            if known := counted(index.get("leaks", {}).get("counts", {})):
                self.leaks[root] = known
            if (margin := recorded_margin(index)) is not None:
                self.margins[root] = margin
            names = table["shard"].unify_dictionaries().combine_chunks()
            columns.append(
                {
                    "shard": (np.asarray(names.indices) + len(shards)).astype(np.int32),
                    "offset": table["offset"].to_numpy(),
                    "length": table["length"].to_numpy(),
                    "label": table["label"].to_numpy().astype(np.int8),
                    "root": np.full(len(table), number, np.int16),
                }
            )
            shards += shards_of(root, index, names.dictionary.to_pylist())
            digests += [self.digests[number][name] for name in names.dictionary.to_pylist()]
            tables.append(table.select(_FACTS))
            del table  # of a hundred million rows, the other columns are 10 GB
        self._table = pa.concat_tables(tables, promote_options="default")
        together = {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
        self.contents = Contents(shards, **together, sha256=digests)
        self.rows = {  # of each split, in the order of the tables
            name: np.flatnonzero(pc.equal(self._table["split"], name).to_numpy()) for name in SPLITS
        }
        pa.default_memory_pool().release_unused()

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """key, path, split, source, method, family and clip of `rows`, as arrays of str."""
        lines = self._table.take(np.asarray(rows))
        names = ("key", "path", "split", "source", "method", "family")
        facts = {name: lines[name].to_numpy(zero_copy_only=False).astype(str) for name in names}
        clips = [clip_of(path) for path in facts["path"].tolist()]
        return facts | {"clip": np.array(clips, str)}

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        """(R,) int64 of the bytes of each picture's file: the head of its SHA-256."""
        parts = [self._table["sha256"].take(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)]
        return np.concatenate([np.zeros(0, np.int64), *map(_heads, parts)])


def _heads(digests: pa.ChunkedArray) -> np.ndarray:
    letters = (
        np.asarray(pc.utf8_slice_codeunits(digests, 0, _HEAD))
        .astype(f"S{_HEAD}")
        .view(np.uint8)
        .reshape(-1, _HEAD)
    )
    digits = np.where(letters >= ord("a"), letters - ord("a") + 10, letters - ord("0")).astype(np.int64)
    return (digits << (4 * np.arange(_HEAD)[::-1])).sum(1)
