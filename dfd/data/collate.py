"""Batches from decoding processes to the training process, through memory that is used again and again.

torch puts each tensor of a worker into a shared-memory file of its own, made, mapped, filled page by page and
unmapped for every batch; for small pictures that costs a third of the time of decoding them.
"""

import itertools
import mmap
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from dfd.batch import Sample

PREFETCH_FACTOR = 2  # batches that a worker may be asked for before one is taken: torch's prefetch_factor
_STAMP = 64  # bytes before each batch; 64 keep its pixels aligned
_open: "weakref.WeakValueDictionary[int, SharedMemoryCollate]" = weakref.WeakValueDictionary()
_numbers = itertools.count()


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Image (B, H, W, 3) or (B, N, H, W, 3) uint8, label (B,), row (B,): a quarter of float's bytes to the
    device.

    Samples with a fault are left out; where there are some, `faults` holds (row, why) of each. Of a batch
    that has no others one stays, black, with the row -1 and no label: every rank has to do its step. NaN as a
    label makes that a loss of NaN, as the mean over no picture is, and such a step is skipped.
    """
    if not samples:  # of a rank that has nothing to judge
        nothing = torch.zeros(0, dtype=torch.int64)
        return {"image": torch.zeros(0, 1, 1, 3, dtype=torch.uint8), "label": nothing, "row": nothing}
    pictures, label, row, faults = _split(samples)
    return _batch(torch.from_numpy(np.stack(pictures)), label, row, faults)


def _split(
    samples: Sequence[Sample],
) -> tuple[list[np.ndarray], list[float], list[int], list[tuple[int, str]]]:
    """Pictures, labels, rows, faults."""
    faults = [(sample["row"], sample["fault"]) for sample in samples if "fault" in sample]
    kept = [sample for sample in samples if "fault" not in sample] if faults else samples
    if not kept:
        kept = [{**samples[0], "row": -1}]
    pictures, label, row = ([sample[name] for sample in kept] for name in ("image", "label", "row"))
    return pictures, label, row, faults


def _batch(
    image: torch.Tensor, label: list[float], row: list[int], faults: list[tuple[int, str]]
) -> dict[str, Any]:
    batch = {"image": image, "label": torch.tensor(label), "row": torch.tensor(row)}
    return {**batch, "faults": faults} if faults else batch


class SharedMemoryCollate:
    """The `collate_fn` of a loader with forked, persistent workers and prefetch_factor=AHEAD; gives what
    `collate` gives.

    A worker writes its batches in turn into slots of its own. It is asked for a batch only after the one
    AHEAD turns before was taken, so AHEAD + 1 slots leave one to spare; each slot bears a number that shows
    if that should ever fail.

    Args:
        num_bytes: of the largest batch of pictures.
        workers: how many there will be.
    """

    def __init__(self, num_bytes: int, workers: int):
        self._size = _STAMP + -(-num_bytes // _STAMP) * _STAMP
        # anonymous and shared: forked processes see the same pages, and no /dev/shm of a container runs full
        self._memory = mmap.mmap(-1, self._size * workers * (PREFETCH_FACTOR + 1))
        self._made = 0  # batches, by this worker
        self._number = next(_numbers)
        _open[self._number] = self

    def __call__(self, samples: Sequence[Sample]) -> "dict[str, Any] | _Parcel":
        worker = get_worker_info()
        if worker is None or not samples:
            return collate(samples)
        self._made += 1
        at = self._size * (worker.id * (PREFETCH_FACTOR + 1) + self._made % (PREFETCH_FACTOR + 1))
        pictures, *rest = _split(samples)
        shape = (len(pictures), *pictures[0].shape)
        self._stamp(at)[0] = self._made
        np.stack(pictures, out=self._pixels(at, shape))
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


def _unpack(number: int, stamp: int, at: int, shape: tuple[int, ...], *rest: list) -> dict[str, Any]:
    return _batch(_open[number].take(stamp, at, shape), *rest)
