"""Catalog of samples: the tables of several roots as one, with the columns that loaders read by."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.shards.cache import Cache
from dfd.shards.duplicates import counted
from dfd.shards.fetch import Remote
from dfd.shards.format import clip_of, recorded_face_detector, recorded_margin
from dfd.shards.pattern import pick_shards
from dfd.shards.remote import faults, open_samples, shards_of
from dfd.shards.sample_file import SampleFile
from dfd.shards.shared_arrays import SMALL, SharedArrays, make_arrays, share_arrays
from dfd.shards.splits import SPLITS

_FACTS = ["key", "path", "split", "source", "method", "family", "sha256"]  # looked up by row
_HEAD = 15  # hex digits of a fingerprint: 60 bits
_CHUNK = 1 << 20  # rows at a time
_DIGIT = np.zeros(256, np.int64)  # of a letter of a hex number
_DIGIT[list(b"0123456789abcdef")] = np.arange(16)


@dataclass(frozen=True)
class Contents:
    """The columns that loaders read samples by, one line a sample."""

    shards: list[Path | Remote]
    shard: np.ndarray  # (M,) int32, into `shards`
    offset: np.ndarray  # (M,) int64, bytes into the shard
    length: np.ndarray  # (M,) int32, bytes
    label: np.ndarray  # (M,) int8
    root: np.ndarray  # (M,) int16, which of the roots
    sha256: Sequence[str] = ()  # of each of `shards`; if empty, they are not checked
    shared: SharedArrays | None = None  # where a machine's processes share the columns

    def __len__(self) -> int:
        return len(self.shard)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.shared is None:
            columns = (self.shard, self.offset, self.length, self.label, self.root)
            return Contents, (self.shards, *columns, self.sha256)
        return _shared_contents, (self.shards, self.sha256, self.shared)


def _shared_contents(shards: list[Path | Remote], sha256: Sequence[str], shared: SharedArrays) -> Contents:
    columns = {name: shared.arrays[name] for name in ("shard", "offset", "length", "label", "root")}
    return Contents(shards, **columns, sha256=sha256, shared=shared)


class Catalog:
    """All roots of a data module.

    What all rows need are numbers, which the processes of a machine share where they are many
    (`share_arrays`). Names and digests are looked up in samples.parquet then.

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
        # of each whose faces a face detector found: its identity
        self.face_detectors: dict[str, str] = {}
        self.digests: list[dict[str, str]] = []  # of each root: shard -> sha256
        self.made_by: list[dict[str, Any]] = []  # of each root: what made it
        self._roots, self._files = list(roots), []
        for root in self._roots:
            file = open_samples(root, cache)
            self._files.append(file)
            picked = pick_shards(root.rstrip("/"), file.index)
            self.digests.append({shard["name"]: shard["sha256"] for shard in picked})
            self.made_by.append(file.index.get("made_by") or {})
            if known := counted(file.index.get("leaks", {}).get("counts", {})):
                self.leaks[root] = known
            if (margin := recorded_margin(file.index)) is not None:
                self.margins[root] = margin
            if found_by := recorded_face_detector(file.index):
                self.face_detectors[root] = found_by
        held = self._numbers()
        shards, digests = [], []
        for root, file, known, names in zip(
            self._roots, self._files, self.digests, held.facts["shards"], strict=True
        ):
            shards += shards_of(root, file.index, names)
            digests += [known[name] for name in names]
        self.contents = _shared_contents(shards, digests, held)
        if held.path is None:
            self.contents = replace(self.contents, shared=None)
        self._ends = np.cumsum([0, *held.facts["samples"]])  # of the roots, in rows
        self._runs = held.facts["runs"]
        self._name = held.path and held.path.stem
        self.root_of_shard = np.repeat(np.arange(len(self._files)), [*map(len, held.facts["shards"])])
        # images by root, split and label, and by shard and split
        self.images = held.arrays["images"].reshape(-1, len(SPLITS), 2)
        self.by_shard = held.arrays["by_shard"].reshape(-1, len(SPLITS))[: len(shards)]
        self.by_shards = dict(zip(SPLITS, held.facts["by_shards"], strict=True))  # whether rows lie so
        parts = np.split(held.arrays["rows"], self.by_shard.sum(0).cumsum()[:-1])
        # of each split, in the order of the tables
        self.rows: dict[str, np.ndarray] = dict(zip(SPLITS, parts, strict=True))
        self._table = self._looked_up(np.arange(len(self.contents)), _FACTS) if held.path is None else None
        pa.default_memory_pool().release_unused()

    def _numbers(self) -> SharedArrays:
        counts = [self._count(*each) for each in zip(self._roots, self._files, strict=True)]
        total, num_shards = sum(counts), sum(map(len, self.digests))
        row = np.int32 if total < 1 << 31 else np.int64
        layout = {
            "offset": (np.int64, total), "length": (np.int32, total), "shard": (np.int32, total),
            "rows": (row, total), "root": (np.int16, total), "label": (np.int8, total),
            "split": (np.int8, total), "by_shard": (np.int64, num_shards * len(SPLITS)),
            "images": (np.int64, len(counts) * len(SPLITS) * 2),
        }  # fmt: skip
        if total < SMALL:
            return make_arrays(layout, self._fill)
        told = json.dumps([[file.version for file in self._files], [np.dtype(row).str, 1]])
        name = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        return share_arrays(f"{name}.table", layout, self._fill)

    def _count(self, root: str, file: SampleFile) -> int:
        with faults(root):
            return file.count()

    def _fill(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Reads all tables, some rows at a time."""
        facts: dict[str, Any] = {"shards": [], "samples": [], "runs": []}
        at = first = 0
        images = arrays["images"].reshape(-1, len(SPLITS), 2)
        for number, (root, file) in enumerate(zip(self._roots, self._files, strict=True)):
            begin, shards, runs = at, {}, Runs()
            with faults(root):
                for lines, piece in file.pieces():
                    here = slice(at, at + len(piece))
                    for name in ("offset", "length", "label"):
                        arrays[name][here] = piece[name].to_numpy()
                    arrays["shard"][here] = first + _numbered(piece["shard"], shards)
                    arrays["split"][here] = _numbered(
                        piece["split"], {name: n for n, name in enumerate(SPLITS)}
                    )
                    arrays["root"][here] = number
                    both = 2 * arrays["split"][here].astype(np.int64) + arrays["label"][here]
                    images[number] += np.bincount(both, minlength=2 * len(SPLITS)).reshape(-1, 2)
                    runs.add(lines)
                    at += len(piece)
            facts["shards"].append(list(shards))
            facts["samples"].append(at - begin)
            facts["runs"].append(None if file.names is None else runs.told)
            first += len(shards)
        facts["by_shards"] = _split_rows(arrays)
        return facts

    def keep(self, split: str, rows: np.ndarray) -> None:
        """Leaves of a split these of its rows alone, for a quick look."""
        number = SPLITS.index(split)
        both = 2 * self.contents.root[rows].astype(np.int64) + self.contents.label[rows]
        # copies: processes may share what these were
        self.rows, self.by_shard, self.images = (
            {**self.rows, split: rows},
            self.by_shard.copy(),
            self.images.copy(),
        )
        self.by_shard[:, number] = np.bincount(self.contents.shard[rows], minlength=len(self.by_shard))
        self.images[:, number] = np.bincount(both, minlength=2 * len(self.images)).reshape(-1, 2)

    def images_of(self, split: str) -> np.ndarray:
        """(roots, 2): how many real and fake images each root has of a split."""
        return self.images[:, SPLITS.index(split)]

    def shards_of(self, split: str) -> np.ndarray:
        """The numbers of the shards that hold images of a split."""
        return np.flatnonzero(self.by_shard[:, SPLITS.index(split)])

    def bounds(self, split: str) -> np.ndarray:
        """(roots + 1,): where the rows of each root begin and end among those of a split."""
        return np.cumsum([0, *self.images_of(split).sum(1)])

    def share_order(self, told: Sequence[Any], length: int, fill: Callable[[np.ndarray], None]) -> np.ndarray:
        """An order of rows (length,), which the processes of a machine share where the rows are many.

        Args:
            told: what tells it from other orders of these rows.
        """
        layout = {"order": (self.rows["train"].dtype, length)}

        def fill_in(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
            fill(arrays["order"])
            return {}

        if self._name is None:
            return make_arrays(layout, fill_in).arrays["order"]
        name = hashlib.blake2b(json.dumps([self._name, length, *told]).encode(), digest_size=16).hexdigest()
        self._order = share_arrays(f"{name}.order", layout, fill_in)  # held until the next one
        return self._order.arrays["order"]

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """key, path, split, source, method, family and clip of `rows`, as arrays of str."""
        names = ["key", "path", "split", "source", "method", "family"]
        lines = self._lookup(np.asarray(rows), names)
        facts = {name: lines[name].to_numpy(zero_copy_only=False).astype(str) for name in names}
        clips = [clip_of(path) for path in facts["path"].tolist()]
        return facts | {"clip": np.array(clips, str)}

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        """(R,) int64 of the bytes of each picture's file: the head of its SHA-256."""
        found = np.empty(len(rows), np.int64)
        for at in range(0, len(rows), _CHUNK):
            digests = self._lookup(np.asarray(rows[at : at + _CHUNK]), ["sha256"])["sha256"]
            found[at : at + _CHUNK] = _heads(digests)
        return found

    def digests_of(self, rows: np.ndarray) -> list[str]:
        """The SHA-256 of each picture's file, in hex."""
        return self._lookup(np.asarray(rows), ["sha256"])["sha256"].to_pylist()

    def groups_of(self, rows: np.ndarray) -> list[list[str]]:
        """What the reader said that each picture hangs together with."""
        return [
            groups or [] for groups in self._looked_up(np.asarray(rows), ["groups"])["groups"].to_pylist()
        ]

    def mask_places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offset (R,) and length (R,) int64 of each picture's mask in its shard; -1 where it has none."""
        lines = self._looked_up(np.asarray(rows), ["mask_offset", "mask_length"])
        return lines["mask_offset"].to_numpy(), lines["mask_length"].to_numpy()

    def _lookup(self, rows: np.ndarray, columns: list[str]) -> pa.Table:
        if self._table is None:
            return self._looked_up(rows, columns)
        return self._table.select(columns).take(rows)

    def _looked_up(self, rows: np.ndarray, columns: list[str]) -> pa.Table:
        """The lines of rows (N,) in the files of their roots."""
        root = np.searchsorted(self._ends, rows, side="right") - 1
        order = np.argsort(root, kind="stable")
        cuts = np.searchsorted(root[order], np.arange(len(self._files) + 1))
        found = []
        for number, (start, stop) in enumerate(pairwise(cuts)):
            mine = rows[order[start:stop]] - self._ends[number]
            if (runs := self._runs[number]) is not None:
                mine = lines_of(runs, mine)
            with faults(self._roots[number]):
                found.append(self._files[number].take(mine, columns))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.concat_tables(found, promote_options="default").take(back)


def _numbered(column: pa.ChunkedArray, known: dict[str, int]) -> np.ndarray:
    """The number of each name; new names get the next ones."""
    parts = [np.zeros(0, np.int32)]
    for chunk in column.chunks:
        names = chunk.dictionary.to_pylist()
        numbers = [known.setdefault(name, len(known)) for name in names]
        parts.append(np.array(numbers, np.int32)[np.asarray(chunk.indices)])
    return np.concatenate(parts)


def _split_rows(arrays: dict[str, np.ndarray]) -> list[bool]:
    """Fills the rows of each split one after another, and counts them by shard; whether those of each split
    lie in the order of their shards.
    """
    split, shard, total = arrays["split"], arrays["shard"], len(arrays["split"])
    by_shard = arrays["by_shard"].reshape(-1, len(SPLITS))
    end, in_order = 0, []
    for number in range(len(SPLITS)):
        last, sorted_so_far = -1, True
        for at in range(0, total, _CHUNK):
            rows = at + np.flatnonzero(split[at : at + _CHUNK] == number)
            shards = shard[rows]
            by_shard[:, number] += np.bincount(shards, minlength=len(by_shard))
            arrays["rows"][end : end + len(rows)] = rows
            end += len(rows)
            if len(rows):
                sorted_so_far &= bool(shards[0] >= last and (shards[1:] >= shards[:-1]).all())
                last = shards[-1]
        in_order.append(sorted_so_far)
    return in_order


class Runs:
    """Numbers that mostly follow one another, as (first, count) of each run."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []

    def add(self, numbers: np.ndarray) -> None:
        """Numbers (N,), ascending and above those before."""
        begin = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
        for first, count in zip(
            numbers[begin].tolist(), np.diff(begin, append=len(numbers)).tolist(), strict=True
        ):
            if self.told and sum(self.told[-1]) == first:
                self.told[-1][1] += count
            else:
                self.told.append([first, count])


def lines_of(runs: list[list[int]], places: np.ndarray) -> np.ndarray:
    """The numbers at these places (N,) of runs."""
    first, count = np.array(runs, np.int64).reshape(-1, 2).T
    begin = np.cumsum(count) - count
    run = np.searchsorted(begin, places, side="right") - 1
    return first[run] + places - begin[run]


def _heads(digests: pa.ChunkedArray) -> np.ndarray:
    """(N,) int64 of hex digests.

    Raises:
        ValueError: one is shorter than a fingerprint, or no ASCII.
    """
    heads, parts = [np.zeros(0, np.int64)], pc.utf8_slice_codeunits(digests, 0, _HEAD)
    for part in parts.chunks:
        lengths = pc.binary_length(part)
        if (
            pc.any(pc.not_equal(lengths, _HEAD)).as_py()
            or pc.any(pc.not_equal(pc.utf8_length(part), _HEAD)).as_py()
        ):
            raise ValueError("the column sha256 holds what is no SHA-256. Make the table again.")
        begin, end = part.offset * _HEAD, (part.offset + len(part)) * _HEAD
        letters = np.frombuffer(part.buffers()[2] or b"", np.uint8)[begin:end].reshape(-1, _HEAD)
        head = np.zeros(len(part), np.int64)
        for at in range(_HEAD):
            head = head << 4 | _DIGIT[letters[:, at]]
        heads.append(head)
    return np.concatenate(heads)
