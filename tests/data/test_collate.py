import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import dfd.data.collate as module
from dfd.batch import Sample
from dfd.data.collate import PREFETCH_FACTOR, SharedMemoryCollate, collate


class Numbered(Dataset):
    """Pictures that hold their row, some of them slow to make."""

    def __init__(self, slow: int = 0):
        self.slow = slow

    def __getitem__(self, row: int) -> Sample:
        if self.slow and row % self.slow == 0:
            torch.ones(300, 300) @ torch.ones(300, 300)
        if row == 13_000:
            raise ValueError("picture 13000 is broken")
        return {"image": np.full((6, 5, 3), row % 251, np.uint8), "label": row % 2, "row": row}


def loader(batches, workers=2, slow=0, exchange=True):
    collate_fn = SharedMemoryCollate(4 * 6 * 5 * 3, workers) if exchange else collate
    options = {"prefetch_factor": PREFETCH_FACTOR, "persistent_workers": True}
    return DataLoader(
        Numbered(slow), batch_sampler=batches, collate_fn=collate_fn, num_workers=workers, **options
    )


BATCHES = [list(range(4 * at, 4 * at + 4 - (at == 24))) for at in range(25)]  # the last one is smaller


@pytest.mark.parametrize("slow", [0, 3, 8])
def test_batches_arrive_whole_and_in_order_epoch_after_epoch(slow):
    ours = loader(BATCHES, slow=slow)
    kept = []
    for stop in (25, 3, 25, 1, 25):  # an epoch that is left early must not leave its batches to the next
        for at, batch in zip(range(stop), ours, strict=False):
            kept.append((at, batch))
    for at, batch in kept:  # long after their memory was used again
        expected = collate([Numbered()[row] for row in BATCHES[at]])
        assert batch.keys() == expected.keys()
        for name in expected:
            assert batch[name].dtype == expected[name].dtype and torch.equal(batch[name], expected[name])


def test_an_error_in_a_worker_arrives_and_the_next_batches_too():
    ours = iter(loader([[0, 1], [13_000], [2, 3]], workers=1))
    assert next(ours)["row"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="picture 13000"):
        next(ours)
    assert next(ours)["image"][:, 0, 0, 0].tolist() == [2, 3]


def test_without_workers_it_is_collate():
    batch = SharedMemoryCollate(100, 1)([Numbered()[3]])
    assert batch["image"].shape == (1, 6, 5, 3) and batch["row"].tolist() == [3]


def test_a_batch_that_was_written_over_is_refused(monkeypatch):
    exchange = SharedMemoryCollate(6 * 5 * 3, 1)
    monkeypatch.setattr(module, "get_worker_info", lambda: type("Worker", (), {"id": 0}))
    parcels = [exchange([Numbered()[row]]) for row in range(PREFETCH_FACTOR + 2)]
    unpack, parts = parcels[-1].__reduce__()
    assert unpack(*parts)["image"][0, 0, 0, 0] == PREFETCH_FACTOR + 1
    unpack, parts = parcels[0].__reduce__()
    with pytest.raises(RuntimeError, match="wrote over"):
        unpack(*parts)
