"""Loader: torch's DataLoader over shards, with decoding processes that a run's signals do not end."""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from dfd.data.collate import PREFETCH_FACTOR, SharedMemoryCollate, collate
from dfd.data.stream import EvalSampler, ShardDataset, TrainSampler
from dfd.signals import heed_parent_only, held_back


def loader_of(
    dataset: ShardDataset, sampler: TrainSampler | EvalSampler, batch_size: int, num_workers: int
) -> DataLoader:
    """A loader of `batch_size` samples a rank; without workers it decodes in this process."""
    masks = dataset.masks is not None and dataset.training
    into_batch = partial(collate, masks=masks)
    if not num_workers:
        return Loader(
            dataset, batch_sampler=sampler, collate_fn=into_batch, pin_memory=torch.cuda.is_available()
        )
    # the others share no anonymous memory
    forked = multiprocessing.get_context().get_start_method() == "fork"
    num, height, width = dataset.view.shape
    each = (2 if dataset.pairing else 1) if dataset.training else num
    largest = batch_size * each * height * width * 3
    return Loader(
        dataset,
        batch_sampler=sampler,
        collate_fn=SharedMemoryCollate(largest, num_workers, masks) if forked else into_batch,
        num_workers=num_workers,
        prefetch_factor=PREFETCH_FACTOR,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=True,
        worker_init_fn=_one_thread,
    )


class Loader(DataLoader):
    """torch's DataLoader, whose processes outlive the signals that tell a run to stop: it ends its step with
    them.
    """

    def _get_iterator(self) -> Any:
        if self.num_workers and multiprocessing.get_start_method() != "fork":
            with held_back():  # a block of its own: when it starts, it unblocks SIGTERM here
                resource_tracker.ensure_running()
        with held_back():
            return super()._get_iterator()


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # a worker is one process for one core
    torch.set_num_threads(1)
    # Slurm sends SIGTERM to every process of a job: a worker is needed to the end of the step
    heed_parent_only()
