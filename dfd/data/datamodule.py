"""Shards on disk as Lightning's train, val, test and predict loaders."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from dfd.batch import Batch
from dfd.data.continuity import check_same, record
from dfd.data.handover import AHEAD, Exchange, collate
from dfd.data.leaks import counted
from dfd.data.shards import load_table, read_index
from dfd.data.stream import Contents, EvalSampler, ShardDataset, Stage, TrainSampler, epoch_order
from dfd.data.synthetic import make_toy, toy_root
from dfd.data.view import View

# the list first: a single stage, tried first, would take the list too, and jsonargparse could not write it into config.yaml
Stages = list[Stage] | Stage | None
Mix = Callable[[Batch, np.random.Generator], Batch] | None


class ShardDataModule(LightningDataModule):
    """
    Args:
        roots: folders that `dfd prepare` made: one, several, or a mapping from folder to weight. A root of weight 1.5 shows
            each of its training samples once and half of them a second time in an epoch. Weights touch training only.
        view: crop size, and how evaluation cuts a picture.
        batch_size: images of a global batch, over all ranks.
        augment: training stages on the whole picture, before the crop: `stage(sample, rng) -> sample`, one or several. One that
            turns real pictures into fakes says by its attribute `forges` which share of them.
        val_augment: the same for validation pictures, drawn once for all epochs and runs. A net that is chosen and calibrated
            on clean pictures alone is too sure of delivered ones.
        corruption: stages of evaluation, on the picture as found, instead of `val_augment`: judging under JPEG and the like.
        mix: mixes the pictures of a rank's training batch, on their device: `mix(batch, rng) -> batch`, drawing from the
            seed and the batch's rows alone. Labels become shares of FAKE.
        num_workers: decoding processes a rank; 0 decodes in the training process.
        window: shards that are shuffled together; None shuffles everything.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        roots: str | list[str] | dict[str, float],
        view: View = View(),  # noqa: B008  frozen
        batch_size: int = 32,
        augment: Stages = None,
        val_augment: Stages = None,
        corruption: Stages = None,
        mix: Mix = None,
        num_workers: int = 2,
        window: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.roots: dict[str, float] = (
            dict(roots) if isinstance(roots, Mapping) else dict.fromkeys([roots] if isinstance(roots, str) else roots, 1.0)
        )
        if not self.roots:
            raise ValueError("data.roots is empty. Name at least one folder that `dfd prepare SOURCE --out FOLDER` made.")
        bad = {root: weight for root, weight in self.roots.items() if not weight > 0}
        if bad:
            raise ValueError(f"data.roots has weights that are not positive: {bad}. Leave a root out instead of weighing it 0.")
        if batch_size < 1:
            raise ValueError(f"data.batch_size={batch_size}: it takes at least one image.")
        if num_workers < 0:
            raise ValueError(f"data.num_workers={num_workers} is negative. Use 0 to decode in the training process.")
        if seed < 0:
            raise ValueError(f"data.seed={seed} is negative. Use 0 or more.")
        self.view, self.batch_size, self.num_workers, self.window, self.seed = view, batch_size, num_workers, window, seed
        self.augment, self.val_augment, self.corruption = _stages(augment), _stages(val_augment), _stages(corruption)
        self.mix = mix
        for name in ("val_augment", "corruption"):
            if forging := [stage for stage in getattr(self, name) if _forges(stage)]:
                raise ValueError(
                    f"data.{name} has {forging[0]}, which turns real pictures into fakes: for training alone. "
                    "Move it to data.augment."
                )
        self.leaks: dict[str, str] = {}  # of each root that was prepared with --allow-leaks: how often splits share pictures
        self._digests: list[dict[str, str]] = []  # of each root: shard -> sha256
        self._table: pa.Table | None = None

    def setup(self, stage: str) -> None:
        if self._table is None:
            self._open()
        splits = {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["test"]}[stage]
        for split in splits:
            counts = self.label_counts(split)
            if not sum(counts):
                raise ValueError(
                    f"{', '.join(self.roots)}: no image in the {split} split ({self._splits_text()}). "
                    f"`dfd {getattr(stage, 'value', stage)}` needs one; prepare the source again or name another root."
                )
            if stage == "fit" and min(counts) == 0:
                after = f" after {self.augment}" if split == "train" and self.augment else ""
                raise ValueError(
                    f"{', '.join(self.roots)}: the {split} split has {counts[0]} real and {counts[1]} fake images{after}; "
                    "training needs both classes. Add a root that holds the missing class."
                )

    def _open(self) -> None:
        tables, shards, columns, digests = [], [], [], []
        for index, root in enumerate(self.roots):
            table, listed = load_table(Path(root)), read_index(Path(root))
            self._digests.append({shard["name"]: shard["sha256"] for shard in listed["shards"]})
            if known := counted(listed.get("leaks", {}).get("counts", {})):
                self.leaks[root] = known
            names = (
                table["shard"].combine_chunks().dictionary_encode()
                if not pa.types.is_dictionary(table["shard"].type)
                else table["shard"].combine_chunks()
            )
            columns.append((np.asarray(names.indices) + len(shards), np.full(len(table), index)))
            shards += [Path(root) / name for name in names.dictionary.to_pylist()]
            digests += [self._digests[index][name] for name in names.dictionary.to_pylist()]
            tables.append(table.set_column(table.schema.get_field_index("shard"), "shard", names.cast(pa.string())))
        self._table = pa.concat_tables(tables, promote_options="default")
        column = lambda name: self._table[name].to_numpy()  # noqa: E731
        self.contents = Contents(
            shards=shards,
            shard=np.concatenate([shard for shard, _ in columns]).astype(np.int32),
            offset=column("offset"),
            length=column("length"),
            label=column("label").astype(np.int8),
            root=np.concatenate([root for _, root in columns]).astype(np.int16),
            sha256=digests,
        )
        split = self._table["split"].to_numpy(zero_copy_only=False)
        self._rows = {name: np.flatnonzero(split == name) for name in ("train", "val", "test")}

    def rows(self, split: str) -> np.ndarray:
        """(R,) rows of a split, in the order of the table."""
        return self._rows[split]

    def label_counts(self, split: str) -> tuple[int, int]:
        """Real and fake images of a split; in training as an epoch shows them: roots by weight, a share of the real forged."""
        rows = self.rows(split)
        weight = np.array(list(self.roots.values()))[self.contents.root[rows]] if split == "train" else None
        real, fake = np.bincount(self.contents.label[rows], weights=weight, minlength=2)[:2]
        left = real * np.prod([1 - _forges(stage) for stage in self.augment]) if split == "train" else real
        return round(left), round(fake + real - left)

    def describe(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the table knows of `rows`: key, path, split, source, method, group (the family), as arrays of str."""
        lines = self._table.take(np.asarray(rows))
        names = {"key": "key", "path": "path", "split": "split", "source": "source", "method": "method", "group": "family"}
        return {name: lines[column].to_numpy(zero_copy_only=False).astype(str) for name, column in names.items()}

    def fingerprints(self, rows: np.ndarray) -> np.ndarray:
        """(R,) int64 of the bytes of each picture's file: the head of its SHA-256."""
        return np.array([int(digest[:15], 16) for digest in self._table["sha256"].take(np.asarray(rows)).to_pylist()], np.int64)

    def state_dict(self) -> dict[str, Any]:
        return record(
            self.roots,
            self._digests,
            self.contents,
            self.rows("train"),
            **{"data.batch_size": self.batch_size, "data.seed": self.seed, "data.window": self.window},
            **{"trainer.limit_train_batches": self.trainer.limit_train_batches},
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.trainer.state.fn == "fit":  # what is judged may be anything
            check_same(state_dict, self.state_dict())

    def _splits_text(self) -> str:
        return ", ".join(f"{name} {len(rows)}" for name, rows in self._rows.items())

    def _name(self, row: int) -> str:
        facts = self.describe(np.array([row]))
        return f"{facts['key'][0]} ({facts['path'][0]})"

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        rank, world = self._ranks()
        if self.batch_size % world:
            below, above = self.batch_size // world * world, -(-self.batch_size // world) * world
            raise ValueError(
                f"data.batch_size={self.batch_size} is global and does not divide by {world} ranks. "
                f"Use {below or above} or {above}."
            )
        rows = self.rows("train")
        weights = list(self.roots.values())
        order = partial(
            epoch_order, rows, self.contents.shard[rows], self.contents.root[rows], weights, self.seed, window=self.window
        )
        num_rows = len(order(epoch=0))
        if num_rows < self.batch_size:
            raise ValueError(
                f"the train split shows {num_rows} images an epoch, fewer than data.batch_size={self.batch_size}. Lower it."
            )
        sampler = TrainSampler(lambda epoch: order(epoch=epoch), num_rows, self.batch_size, rank, world, self._position)
        return self._loader(sampler, self.batch_size // world, self.augment, training=True)

    def _position(self, num_batches: int) -> tuple[int, int]:
        if self.trainer is None or self.trainer.overfit_batches:  # the same batches again and again
            return 0, 0
        # not the Trainer's num_training_batches: a resumed run is asked where it stands before that is known
        limit = self.trainer.limit_train_batches
        shown = min(num_batches, limit) if isinstance(limit, int) else int(num_batches * limit)
        return divmod(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready, shown)

    def val_dataloader(self) -> DataLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> DataLoader:
        rank, world = self._ranks()
        rows = self.rows(split)
        if len(rows) < world:
            raise ValueError(
                f"the {split} split has {len(rows)} images for {world} ranks; each rank needs one. Use at most {len(rows)}."
            )
        batch_size = max(1, self.batch_size // world // self.view.num_crops)  # in crops, a batch is as large as in training
        stages = self.corruption or (self.val_augment if split == "val" else [])
        return self._loader(EvalSampler(rows, batch_size, rank, world), batch_size, stages, training=False)

    def _loader(self, sampler: TrainSampler | EvalSampler, batch_size: int, stages: Sequence, training: bool) -> DataLoader:
        """`batch_size` of this rank."""
        # every run is judged on the same pictures, whatever its seed
        dataset = ShardDataset(self.contents, self.view, stages, self.seed if training else 0, training, self._name)
        if not self.num_workers:
            return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, pin_memory=torch.cuda.is_available())
        forked = multiprocessing.get_context().get_start_method() == "fork"  # the others share no anonymous memory
        largest = batch_size * (1 if training else self.view.num_crops) * self.view.size**2 * 3
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=Exchange(largest, self.num_workers) if forked else collate,
            num_workers=self.num_workers,
            prefetch_factor=AHEAD,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=True,
            worker_init_fn=_one_thread,
        )

    def check_ledger(self, split: str, rows: np.ndarray, complete: bool = True) -> None:
        """Raises unless an evaluation judged each row of the split exactly once (at most once if it was cut short)."""
        unique, count = np.unique(rows, return_counts=True)
        if (count > 1).any():
            raise RuntimeError(
                f"{(count > 1).sum()} images of the {split} split were judged twice, "
                f"first {self._name(int(unique[count > 1][0]))}."
            )
        missing = np.setdiff1d(self.rows(split), unique)
        if complete and len(missing):
            raise RuntimeError(
                f"{len(missing)} of {len(self.rows(split))} images of the {split} split were not judged, "
                f"first {self._name(int(missing[0]))}."
            )

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        if self.mix is None or not self.trainer.training:
            return batch
        # here the rows are at hand; to ask the device for them would be to wait for the step that it is busy with
        return {**batch, "rng": np.random.default_rng((self.seed, *batch["row"].tolist()))}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> Batch:
        image, rng = batch["image"], batch.pop("rng", None)
        # channels-last uint8 seen as (B, 3, H, W): the permutation is free, and convolutions like the layout
        batch = {**batch, "image": image.movedim(-1, -3).float().div_(255)}
        return batch if rng is None else self.mix(batch, rng)


class ToyDataModule(ShardDataModule):
    """The embedded default: faces that dfd draws itself, photographed by a simulated camera, and forgeries of them.

    Made on first use, in under a minute, and kept. They are drawings: a detector trained on them knows nothing of photographs.

    Args:
        num_images: pictures, half of them forged.
        picture: side of a picture in pixels.
        toy_seed: of the drawings.
        folder: where the shards go; by default the cache folder ($DFD_CACHE or ~/.cache/dfd).
        view, batch_size, augment, val_augment, corruption, mix, num_workers, seed: as in `ShardDataModule`.
    """

    def __init__(
        self,
        num_images: int = 2400,
        picture: int = 160,
        toy_seed: int = 0,
        folder: str | None = None,
        view: View = View(),  # noqa: B008
        batch_size: int = 32,
        augment: Stages = None,
        val_augment: Stages = None,
        corruption: Stages = None,
        mix: Mix = None,
        num_workers: int = 2,
        seed: int = 0,
    ):
        self.toy = {"num_images": num_images, "size": picture, "seed": toy_seed}
        root = Path(folder) if folder else toy_root(**self.toy)
        super().__init__(str(root), view, batch_size, augment, val_augment, corruption, mix, num_workers, None, seed)

    def prepare_data(self) -> None:
        make_toy(Path(next(iter(self.roots))), **self.toy)


def _stages(stages: Stages) -> list[Callable]:
    if stages is None:
        return []
    return list(stages) if isinstance(stages, (list, tuple)) else [stages]


def _forges(stage: Stage) -> float:
    """Share of the real pictures that a stage turns into fakes."""
    return getattr(stage, "forges", 0.0)


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # a worker is one process for one core
    torch.set_num_threads(1)
