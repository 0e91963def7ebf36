"""Collate: samples into batches, which loader workers hand to the training process through reused shared
memory.

torch puts each tensor of a worker into a shared-memory file of its own, made, mapped, filled page by page and
unmapped for every batch; for small pictures that costs a third of the time of decoding them.
"""

import itertools
import mmap
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from dfd.batch import REAL, LoadedBatch, Sample

PREFETCH_FACTOR = 2  # batches that a worker may be asked for before one is taken: torch's prefetch_factor
_STAMP = 64  # bytes before each batch; 64 keep its pixels aligned
_open: "weakref.WeakValueDictionary[int, SharedMemoryCollate]" = weakref.WeakValueDictionary()
_numbers = itertools.count()


def collate(samples: Sequence[Sample | list[Sample]], masks: bool = False) -> LoadedBatch:
    """The samples of a batch, images as uint8: a quarter of float's bytes to the device. Pairs come as lists.

    With `masks` the batch has them: "mask" (B, H, W) uint8 and "masked" (B,) bool, whether it is known.
    Samples with a fault are left out and named in `faults`. Of a batch that has no others one stays, black
    and not valid: every rank has to do its step.
    """
    if not samples:  # of a rank that has nothing to judge
        nothing = torch.zeros(0, dtype=torch.int64)
        image = torch.zeros(0, 1, 1, 3, dtype=torch.uint8)
        return {"image": image, "label": nothing, "row": nothing, "valid": nothing.bool()}
    split = _split(samples, masks)
    return _batch(torch.from_numpy(np.stack(split.images)), split.columns, split.faults)


class _Split(NamedTuple):
    images: list[np.ndarray]
    columns: dict[str, Any]  # what a batch holds beside the images, by name
    faults: list[tuple[int, str]]


def _split(entries: Sequence[Sample | list[Sample]], masks: bool) -> _Split:
    samples = [each for entry in entries for each in (entry if isinstance(entry, list) else [entry])]
    faults = [(sample["row"], sample["fault"]) for sample in samples if "fault" in sample]
    good = [sample for sample in samples if "fault" not in sample] if faults else samples
    kept = good or samples[:1]
    columns: dict[str, Any] = {name: [sample[name] for sample in kept] for name in ("label", "row")}
    columns["valid"] = [bool(good)] * len(kept)
    if "cues" in kept[0]:
        columns["cues"] = np.stack([sample["cues"] for sample in kept])
    if masks:
        nothing = np.zeros(kept[0]["image"].shape[:2], np.uint8)
        columns["mask"] = np.stack([sample.get("mask", nothing) for sample in kept])
        # nothing of a real is forged
        columns["masked"] = ["mask" in sample or sample["label"] == REAL for sample in kept]
    return _Split([sample["image"] for sample in kept], columns, faults)


def _batch(image: torch.Tensor, columns: dict[str, Any], faults: list[tuple[int, str]]) -> LoadedBatch:
    batch = {"image": image} | {name: torch.as_tensor(column) for name, column in columns.items()}
    return {**batch, "faults": faults} if faults else batch


class SharedMemoryCollate:
    """The `collate_fn` of a loader with forked, persistent workers and prefetch_factor=PREFETCH_FACTOR; gives
    what `collate` gives.

    A worker writes its batches in turn into slots of its own. It is asked for a batch only after the one
    PREFETCH_FACTOR turns before was taken, so PREFETCH_FACTOR + 1 slots leave one to spare; each slot bears a
    number that shows if that should ever fail.

    Args:
        num_bytes: of the largest batch of pictures.
        workers: how many there will be.
        masks: as `collate` takes it.
    """

    def __init__(self, num_bytes: int, workers: int, masks: bool = False):
        self._masks = masks
        self._size = _STAMP + -(-num_bytes // _STAMP) * _STAMP
        # anonymous and shared: forked processes see the same pages, and no /dev/shm of a container runs full
        self._memory = mmap.mmap(-1, self._size * workers * (PREFETCH_FACTOR + 1))
        self._made = 0  # batches, by this worker
        self._number = next(_numbers)
        _open[self._number] = self

    def __call__(self, samples: Sequence[Sample | list[Sample]]) -> "LoadedBatch | _Parcel":
        worker = get_worker_info()
        if worker is None or not samples:
            return collate(samples, self._masks)
        self._made += 1
        at = self._size * (worker.id * (PREFETCH_FACTOR + 1) + self._made % (PREFETCH_FACTOR + 1))
        images, *rest = _split(samples, self._masks)
        shape = (len(images), *images[0].shape)
        self._stamp(at)[0] = self._made
        np.stack(images, out=self._pixels(at, shape))
        return _Parcel(self._number, self._made, at, shape, *rest)

    def take(self, stamp: int, at: int, shape: tuple[int, ...]) -> torch.Tensor:
        """A copy of the pictures in the slot at byte `at`."""
        image = torch.from_numpy(self._pixels(at, shape).copy())
        if self._stamp(at)[0] != stamp:
            raise RuntimeError(
                "a decoding process wrote over a batch that was not taken yet: use num_workers=0, and report "
                "it."
            )
        return image

    def _stamp(self, at: int) -> np.ndarray:
        return np.frombuffer(self._memory, np.int64, 1, at)

    def _pixels(self, at: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), at + _STAMP).reshape(shape)


class _Parcel:
    """What goes through the workers' queue. Unpickled, in the training process, it is the batch."""

    def __init__(self, *parts: object):
        self._parts = parts

    def __reduce__(self) -> tuple:
        return _unpack, self._parts


def _unpack(number: int, stamp: int, at: int, shape: tuple[int, ...], *rest: Any) -> LoadedBatch:
    return _batch(_open[number].take(stamp, at, shape), *rest)
