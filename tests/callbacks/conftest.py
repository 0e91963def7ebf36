from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from dfd.batch import FAKE, Batch
from dfd.models import SingleStream, SmallCNN
from dfd.tasks import ClassificationTask

SIDE, CROPS, IMAGES = 24, 3, 20


class TinyData(LightningDataModule):
    """Twenty pictures of noise, sorted by label; fakes have a bright patch. Rows of val and test are 100 to
    119.
    """

    view = SimpleNamespace(size=SIDE)
    leaks: ClassVar = {}
    roots = ("tiny",)
    augment = ()
    mix = None
    title = "tiny"
    corruption = val_augment = ()

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.label = np.repeat([0, 1], IMAGES // 2)
        self.image = rng.random((IMAGES, CROPS, 3, SIDE, SIDE), np.float32) * 0.7
        self.image[self.label == FAKE, :, :, 4:10, 4:10] += 0.3
        self.shown = self.label

    def _batches(self, crops: int | None, label: np.ndarray) -> DataLoader:
        def collate(picks: list[int]) -> Batch:
            image = torch.from_numpy(self.image[picks])
            return {
                "image": image[:, -1] if crops is None else image,
                "label": torch.from_numpy(label[picks]),
                "row": torch.tensor(picks) + 100,
                "valid": torch.ones(len(picks), dtype=torch.bool),
            }

        return DataLoader(range(IMAGES), batch_size=6, collate_fn=collate)

    def train_dataloader(self) -> DataLoader:
        return self._batches(None, self.label)

    def val_dataloader(self) -> DataLoader:
        return self._batches(CROPS, self.shown)

    test_dataloader = predict_dataloader = val_dataloader

    def rows(self, split: str) -> np.ndarray:
        return np.arange(IMAGES) + (0 if split == "train" else 100)

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        return rows * 7

    def roots_of(self, split: str) -> list[str]:
        return list(self.roots)

    def label_counts(self, split: str) -> tuple[int, int]:
        return IMAGES // 2, IMAGES // 2

    def check_ledger(self, split: str, rows: np.ndarray, complete: bool = True) -> None:
        assert not complete or len(rows) == IMAGES

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        at = rows - 100
        name = at.astype(str)
        return {
            "key": np.char.add("key", name),
            "path": np.char.add("a, folder/", name),  # a comma, which a CSV has to quote
            "split": np.full(len(rows), "test"),
            "source": np.where(at % 2 == 0, "ours", "theirs"),
            "method": np.where(self.label[at] == 0, "", np.where(at % 4 < 2, "swap", "gan")),
            "family": np.char.add("family", (at // 2).astype(str)),
            "clip": np.full(len(rows), ""),
        }


@pytest.fixture
def data() -> TinyData:
    return TinyData()


@pytest.fixture
def task() -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(SingleStream(SmallCNN(width=8)))


@pytest.fixture
def trainer(tmp_path):
    """A Trainer without noise, in tmp_path."""

    def make(*callbacks, **options) -> Trainer:
        quiet = dict(
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, logger=False
        )
        plain = dict(accelerator="cpu", max_epochs=2, num_sanity_val_steps=2, log_every_n_steps=1)
        return Trainer(default_root_dir=tmp_path, callbacks=list(callbacks), **{**quiet, **plain, **options})

    return make
