"""ShardDataModule: shards, on disk or elsewhere, as Lightning's train, val, test and predict loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from dfd.batch import FAKE, UNREADABLE, Batch, LoadedBatch, Unjudged, transform_name
from dfd.data.checks import (
    check_cache,
    check_classes,
    check_numbers,
    check_unforged,
)
from dfd.data.collate import PREFETCH_FACTOR
from dfd.data.home import HomeDataset, chosen_rows, home_batches
from dfd.data.ledger import Ledger
from dfd.data.loader import loader_of
from dfd.data.margin import resolve_margin, with_margin
from dfd.data.masks import Masks
from dfd.data.order import Shuffled, Windows
from dfd.data.pairs import AnyMaker
from dfd.data.prefetch import Schedule, ShardFiles
from dfd.data.resume import check_same, record
from dfd.data.shard_pictures import ShardPictures
from dfd.data.stream import UNMADE, EvalSampler, ShardDataset, TrainSampler, Transform
from dfd.data.undecodable import UndecodableImages
from dfd.media.crops import View
from dfd.parallel import MORE_SHARED_MEMORY, shared_memory_fault
from dfd.run_record import BATCH_NOT_DIVISIBLE, RunFailure
from dfd.shards.cache import Cache
from dfd.shards.splits import SPLITS

JUDGED_AT_ONCE = 128  # crops, at most
# the list first: a single transform, tried first, would take the list too, and jsonargparse could not write
# it into config.yaml
Transforms = list[Transform] | Transform | None
Mix = Callable[[Batch, np.random.Generator], Batch] | None
EVAL_PREFETCH = 4  # remote shards that are fetched while an evaluation reads one


class ShardDataModule(ShardPictures, LightningDataModule):
    """
    Args:
        roots: folders that `dfd prepare` made, or their URLs (s3://, gs://, https://): one, several, or a
            mapping from folder to weight. A root of weight 1.5 shows each of its training samples once and
            half of them a second time in an epoch. Weights touch training only.
        balance: by what training is balanced, of root, source and label: "source,label" shows as many
            pictures of each source and label as of every other, in all as many as there are. Few are
            repeated, many shown in part. The weights of roots are relative to that.
        pairs: makes of each real training picture a fake that stands beside it in the batch, with the same
            delivery and the same crop, `maker(sample, rng) -> sample`: `dfd.augment.FaceBlend`, or
            `dfd.augment.Reconstruction`. They come on top of `batch_size`.
        fakes: which fakes train and choose the net: true for all, false for none, or names of sources or
            methods, such as [140k, "reconstruction-*"]. Reals are shown of all. With false and `pairs`,
            validation shows of each real the fake that is made of it.
        masks: training batches have "mask": where pictures are forged, for a net that says where.
        view: crop size, and how evaluation cuts a picture. Its margin, where it states none, is the one that
            the roots record, and then theirs must agree.
        batch_size: images of a global batch, over all ranks.
        augment: training transforms on the whole image, before the crop: `transform(sample, rng) -> sample`,
            one or several. One that turns real pictures into fakes says by its attribute `fake_share` which
            share of them. One whose attribute `margin` is None is given the view's.
        val_augment: the same for validation pictures, drawn once for all epochs and runs. A net that is
            chosen and calibrated on clean pictures alone is too sure of delivered ones.
        corruption: transforms of evaluation, on the picture as found, instead of `val_augment`: judging under
            JPEG and the like.
        mix: mixes the pictures of a rank's training batch, on their device: `mix(batch, rng) -> batch`,
            drawing from the seed and the batch's rows alone. Labels become shares of FAKE.
        num_workers: decoding processes a rank; 0 decodes in the training process.
        window: shards that are shuffled together; None shuffles everything.
        seed: of order and augmentation.
        cache: where shards of remote roots are kept while they are read: one window, and one ahead.
        max_undecodable: share of the training samples, and of the validation images within a fit, that may
            prove undecodable. They are left out of their batches, which are smaller by so much, and listed in
            undecodable.csv of the run folder. In `dfd validate`, `test` and `predict` such an image has a
            status in place of a logit, and counts in the coverage.
        leave_out: sources, by their names in the tables, that neither train nor choose the net, with their
            families and with files of the same bytes. The test split keeps them: there a net shows what it
            makes of a source that it has not seen (`dfd evaluate --loso`).
    """

    def __init__(
        self,
        roots: str | list[str] | dict[str, float],
        view: View = View(),  # noqa: B008  frozen
        batch_size: int = 32,
        augment: Transforms = None,
        val_augment: Transforms = None,
        corruption: Transforms = None,
        mix: Mix = None,
        num_workers: int = 2,
        window: int | None = None,
        seed: int = 0,
        cache: Cache = Cache(),  # noqa: B008  frozen
        max_undecodable: float = 0.01,
        leave_out: list[str] | None = None,
        balance: str | list[str] | None = None,
        pairs: AnyMaker = None,
        fakes: bool | list[str] = True,
        masks: bool = False,
    ):
        super().__init__(roots, cache, _as_list(augment), mix, leave_out, balance, pairs, fakes)
        self.undecodable = UndecodableImages(max_undecodable, self._facts)
        check_numbers(batch_size, num_workers, window, seed)
        self.view, self.batch_size, self.num_workers = view, batch_size, num_workers
        self.window, self.seed = window, seed
        self.val_augment, self.corruption, self.masks = _as_list(val_augment), _as_list(corruption), masks
        check_unforged("val_augment", self.val_augment)
        check_unforged("corruption", self.corruption)

    def setup(self, stage: str) -> None:
        if self.num_workers and (fault := shared_memory_fault(self.num_workers)):
            raise ValueError(
                f"{fault}. Use --data.num_workers=0, which decodes in the training process. "
                f"{MORE_SHARED_MEMORY}."
            )
        self.open_catalog(learning=stage in ("fit", "validate"))
        self.view = resolve_margin(self.view, self.catalog.margins, training=stage == "fit")
        for name in ("augment", "val_augment", "corruption"):
            setattr(self, name, [with_margin(each, self.view.margin) for each in getattr(self, name)])
        if self._pairing is not None:
            self._pairing.maker = with_margin(self._pairing.maker, self.view.margin)
        splits = {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["test"]}[stage]
        if stage == "fit" and self.trainer is not None and self.trainer.limit_val_batches == 0:
            splits = ["train"]
        for split in splits:
            check_classes(
                stage,
                split,
                self.label_counts(split),
                list(self.roots),
                self.catalog.rows,
                self.augment,
                self.fakes,
            )
        # a process holds the shards of its last batch until its next; the others may be PREFETCH_FACTOR
        # batches ahead of it meanwhile
        in_flight = self.batch_size * (1 + PREFETCH_FACTOR) * self.num_workers
        on_node = self._ranks()[1] // getattr(self.trainer, "num_nodes", 1)
        check_cache(self.catalog, self.cache, splits, self.window, in_flight, on_node)

    def home(self, split: str, num: int, draws: int) -> Iterator[LoadedBatch]:
        """This rank's share of at most `num` pictures of a split, as many of each source and label as there
        are: "image" is (B, 1 + draws, size, size, 3) uint8, the middle crop as it is and after each delivery.
        Always the same, and nothing that training draws is drawn for them.
        """
        rows = chosen_rows(self.catalog, split, num)
        shards = np.unique(self.contents.shard[rows])
        windows = partial(_same, np.split(shards, np.arange(1, len(shards))))
        files = ShardFiles(self.contents.shards, self.cache, Schedule(windows, 1, repeats=False))
        dataset = HomeDataset(self.contents, self.view, [], 0, False, self._name, files)
        dataset.draws = draws
        return home_batches(dataset, rows, *self._ranks())

    def state_dict(self) -> dict[str, Any]:
        """What a run is trained on, and how much of it could not be decoded: rank 0's counts, as the ceiling
        is a share.
        """
        return {"data": self._record(), "shown": self.undecodable.shown, "undecodable": self.undecodable.lost}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.trainer is not None and self.trainer.state.fn == "fit":  # what is judged may be anything
            check_same(state_dict["data"], self._record())
        self.undecodable.shown, self.undecodable.lost = state_dict["shown"], state_dict["undecodable"]

    def _record(self) -> dict[str, Any]:
        return record(
            self.roots,
            self.catalog.digests,
            self.contents,
            self.rows("train"),
            **{"data.batch_size": self.batch_size, "data.seed": self.seed, "data.window": self.window},
            **{"trainer.limit_train_batches": self.trainer.limit_train_batches},
            # null where nothing is, as in checkpoints of before there was such an option
            **{"data.leave_out": self.leave_out or None, "data.balance": ",".join(self.balance) or None},
            **{"data.fakes": None if self.fakes is True else self.fakes},
            **{"data.pairs": "reconstructions" if getattr(self.pairs, "needs_remade", False) else None},
        )

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        rank, world = self._ranks()
        if self.batch_size % world:
            below, above = self.batch_size // world * world, -(-self.batch_size // world) * world
            raise RunFailure(
                f"data.batch_size={self.batch_size} is global and does not divide by {world} ranks. "
                f"Use {below or above} or {above}.",
                BATCH_NOT_DIVISIBLE,
            )
        order = self._order()
        if order.num_rows < self.batch_size:
            raise ValueError(
                f"the train split shows {order.num_rows} images an epoch, fewer than "
                f"data.batch_size={self.batch_size}. Lower it."
            )
        sampler = TrainSampler(order, order.num_rows, self.batch_size, rank, world, self._position)
        shards = self.catalog.shards_of("train")
        windows = order.shards if isinstance(order, Windows) else partial(_same, [shards])
        return self._loader(
            sampler, self.batch_size // world, self.augment, True, Schedule(windows, 1, repeats=True)
        )

    def _order(self) -> Shuffled | Windows:
        """The order of each epoch of training."""
        rows, strata = self.rows("train"), self.strata
        if self.window is None:
            return Shuffled(rows, strata.members(self.catalog), strata.weights, self.seed, self._share_order)
        if strata.of_row is None and self.catalog.by_shards["train"]:
            shards = self.catalog.shards_of("train")
            sizes = self.catalog.by_shard[shards, SPLITS.index("train")]
            root = self.catalog.root_of_shard[shards]
            return Windows.of_shards(rows, shards, sizes, root, strata.weights, self.seed, self.window)
        stratum = self.contents.root[rows] if strata.of_row is None else strata.of_row
        return Windows(rows, self.contents.shard[rows], stratum, strata.weights, self.seed, self.window)

    def _share_order(self, epoch: int, length: int, fill: Callable[[np.ndarray], None]) -> np.ndarray:
        told = [self.seed, *self.strata.weights, epoch, self.leave_out, self.balance]
        told += [self.fakes, self._pairing is not None and self._pairing.remade is not None]
        return self.catalog.share_order(told, length, fill)

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

    def judging_dataloader(self, split: str) -> DataLoader:
        """Each picture of any split once, in the order of the tables, cut as evaluation cuts it: train too,
        for models that are no nets.
        """
        return self._eval_loader(split)

    def _eval_loader(self, split: str) -> DataLoader:
        if split == "test" and self.trainer is not None and self.trainer.state.fn == "fit":
            raise ValueError(
                "the test split is not shown within a fit: what is trained or chosen on test pictures has no "
                "figure on them any more. Use val, or run dfd test on the checkpoint."
            )
        rank, world = self._ranks()
        rows = self.rows(split)
        if not self.catalog.by_shards[split]:  # as tables have it that were put together by hand
            rows = rows[np.argsort(self.contents.shard[rows % len(self.contents)], kind="stable")]
        # cut alike for any number of ranks; a rank judges without gradients, so that it holds more than in
        # training
        batch_size = max(1, min(self.batch_size, JUDGED_AT_ONCE) // self.view.num_crops)
        transforms = self.corruption or (self.val_augment if split == "val" else [])
        shards = self.catalog.shards_of(split)
        schedule = Schedule(
            partial(_same, np.split(shards, np.arange(1, len(shards)))), EVAL_PREFETCH, repeats=False
        )
        return self._loader(
            EvalSampler(rows, batch_size, rank, world), batch_size, transforms, False, schedule
        )

    def _loader(
        self,
        sampler: TrainSampler | EvalSampler,
        batch_size: int,
        transforms: Sequence,
        training: bool,
        schedule: Schedule,
    ) -> DataLoader:
        """`batch_size` of this rank."""
        files = ShardFiles(self.contents.shards, self.cache, schedule)
        # every run is judged on the same pictures, whatever its seed
        dataset = ShardDataset(
            self.contents,
            self.view,
            transforms,
            self.seed if training else 0,
            training,
            self._name,
            files,
            self._pairing,
            Masks(self.catalog) if self.masks and training else None,
            self._cues,
        )
        return loader_of(dataset, sampler, batch_size, self.num_workers)

    def check_ledger(self, split: str, rows: np.ndarray, complete: bool = True) -> Unjudged:
        """The images that could not be decoded; raises unless an evaluation judged each other row of the
        split exactly once (at most once if it was cut short).

        Called on all ranks. Within a fit data.max_undecodable bounds them; elsewhere one image must be left.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        bad, num = self.undecodable.of_all_ranks(), len(self.contents)
        unmade = bad[(bad >= num) & ~np.isin(bad % num, bad)]  # of these reals no fake was made
        ledger = Ledger(split, np.setdiff1d(self.rows(split), unmade), self._name)
        ceiling = self.undecodable.ceiling if fitting else 1.0
        lost = ledger.check(rows, bad, ceiling, complete)
        label = self.contents.label[lost % len(self.contents)].astype(np.int64)
        label = np.where(lost >= len(self.contents), FAKE, label)
        return Unjudged(lost, label, np.full(len(lost), UNREADABLE))

    def on_before_batch_transfer(self, batch: LoadedBatch, dataloader_idx: int) -> LoadedBatch:
        faults = batch.get("faults", [])
        training = self.trainer is not None and self.trainer.training
        if training:
            # both of a pair are one sample of the table
            good = len(batch["row"].unique()) if batch["valid"].all() else 0
            self.undecodable.shown += good + len(faults)
        if faults:
            self._take(faults)
        if self.mix is not None and training:
            # here the rows are at hand; to ask the device for them would be to wait for the step before
            self._mix_rng = np.random.default_rng((self.seed, *batch["row"].tolist()))
        return {name: value for name, value in batch.items() if name != "faults"}

    def _take(self, faults: list[tuple[int, str]]) -> None:
        self.undecodable.rows |= {row for row, why in faults if why == UNMADE}
        faults = [fault for fault in faults if fault[1] != UNMADE]
        self.undecodable.note(faults, Path(self.trainer.default_root_dir))
        if self.trainer.training:
            epoch = self.trainer.num_training_batches * self.batch_size // self.trainer.world_size
            self.undecodable.count(len(faults), epoch, Path(self.trainer.default_root_dir))

    def on_after_batch_transfer(self, batch: LoadedBatch, dataloader_idx: int) -> Batch:
        # channels-last uint8 seen as (B, 3, H, W): the permutation is free, and convolutions like the layout
        batch = {**batch, "image": batch["image"].movedim(-1, -3).float().div_(255)}
        if "mask" in batch:
            known = batch.pop("masked")[:, None, None]
            batch["mask"] = batch["mask"].float().div_(255).masked_fill(~known, torch.nan)
        if self.mix is None or not self.trainer.training:
            return batch
        return self._whole(self.mix(batch, self._mix_rng), batch)

    def _whole(self, mixed: Any, batch: Batch) -> Batch:
        """What `mix` made of a batch; ValueError where it is none."""
        lacking = sorted(batch.keys() - mixed.keys()) if isinstance(mixed, dict) else []
        if isinstance(mixed, dict) and not lacking:
            return mixed
        gave = f"a batch without {', '.join(lacking)}" if lacking else f"a {type(mixed).__name__}"
        raise ValueError(
            f"data.mix={transform_name(self.mix)} returned {gave}, and has to return the batch, mixed."
        )


def _same(windows: list[np.ndarray], epoch: int) -> list[np.ndarray]:
    return windows


def _as_list(transforms: Transforms) -> list[Callable]:
    if transforms is None:
        return []
    return list(transforms) if isinstance(transforms, (list, tuple)) else [transforms]
