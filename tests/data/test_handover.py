import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dfd.batch import Sample
from dfd.data import handover
from dfd.data.handover import AHEAD, Exchange, collate


class Numbered(Dataset):
    """Pictures that hold their row, some of them slow to make, some broken, some with a fault."""

    def __init__(self, slow: int = 0):
        self.slow, self.place = slow, np.ascontiguousarray

    def __getitem__(self, row: int) -> Sample:
        if self.slow and row % self.slow == 0:
            torch.ones(300, 300) @ torch.ones(300, 300)
        if row == 13_000:
            raise ValueError("picture 13000 is broken")
        if row >= 20_000:
            return {"image": np.zeros((6, 5, 3), np.uint8), "label": float("nan"), "row": row, "fault": "cut off"}
        return {"image": self.place(np.full((6, 10, 3), row % 251, np.uint8)[:, ::2]), "label": row % 2, "row": row}


def loader(batches, workers=2, slow=0, placed=True):
    pictures, exchange = Numbered(slow), Exchange(4 * 6 * 5 * 3, workers)
    if placed:
        pictures.place = exchange.place
    options = {"prefetch_factor": AHEAD, "persistent_workers": True}
    return DataLoader(pictures, batch_sampler=batches, collate_fn=exchange, num_workers=workers, **options)


def same(batch, rows):
    expected = collate([Numbered()[row] for row in rows])
    assert batch.keys() == expected.keys()
    for name in {*expected} - {"faults"}:
        assert batch[name].dtype == expected[name].dtype
        assert torch.equal(batch[name].nan_to_num(-7), expected[name].nan_to_num(-7))
    assert batch.get("faults") == expected.get("faults")


BATCHES = [list(range(4 * at, 4 * at + 4 - (at == 24))) for at in range(25)]  # the last one is smaller


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("slow", [0, 3, 8])
def test_batches_arrive_whole_and_in_order_epoch_after_epoch(slow, placed):
    ours = loader(BATCHES, slow=slow, placed=placed)
    kept = []
    for stop in (25, 3, 25, 1, 25):  # an epoch that is left early must not leave its batches to the next
        for at, batch in zip(range(stop), ours, strict=False):
            kept.append((at, batch))
    for at, batch in kept:  # long after their memory was used again
        same(batch, BATCHES[at])


@pytest.mark.parametrize("placed", [True, False])
def test_an_error_in_a_worker_arrives_and_the_next_batches_too(placed):
    ours = iter(loader([[0, 1], [2, 3, 13_000], [4, 5, 6, 7], [8, 9]], workers=1, placed=placed))
    same(next(ours), [0, 1])
    with pytest.raises(ValueError, match="picture 13000"):
        next(ours)
    same(next(ours), [4, 5, 6, 7])  # no room behind what the failed one had placed
    same(next(ours), [8, 9])


@pytest.mark.parametrize("placed", [True, False])
def test_pictures_with_a_fault_are_left_out_and_named(placed):
    batches = [[0, 20_000, 1, 2], [20_001, 20_002], [20_003, 3], [4, 5, 6, 7]]
    for batch, rows in zip(loader(batches, workers=1, placed=placed), batches, strict=True):
        same(batch, rows)


def test_a_placed_picture_is_not_copied_again(monkeypatch):
    exchange = Exchange(2 * 6 * 5 * 3, 1)
    monkeypatch.setattr(handover, "get_worker_info", lambda: type("Worker", (), {"id": 0}))
    pictures = Numbered()
    pictures.place = exchange.place
    samples = [pictures[1], pictures[2]]
    with monkeypatch.context() as without:
        without.setattr(np, "stack", None)
        unpack, parts = exchange(samples).__reduce__()
    same(unpack(*parts), [1, 2])


def test_without_workers_it_is_collate():
    batch = Exchange(100, 1)([Numbered()[3]])
    assert batch["image"].shape == (1, 6, 5, 3) and batch["row"].tolist() == [3]


def test_a_batch_that_was_written_over_is_refused(monkeypatch):
    exchange = Exchange(6 * 5 * 3, 1)
    monkeypatch.setattr(handover, "get_worker_info", lambda: type("Worker", (), {"id": 0}))
    parcels = [exchange([Numbered()[row]]) for row in range(AHEAD + 2)]
    unpack, parts = parcels[-1].__reduce__()
    assert unpack(*parts)["image"][0, 0, 0, 0] == AHEAD + 1
    unpack, parts = parcels[0].__reduce__()
    with pytest.raises(RuntimeError, match="wrote over"):
        unpack(*parts)
