"""Dataset and samplers over shards: order(seed, epoch) -> bytes -> decode -> transforms -> crops.

The order of an epoch is a pure function of (seed, epoch), so any number of ranks and workers shows the same
samples in the same global batches. The sampler knows the epoch and hands it on with each row; datasets and
workers hold none, because a persistent worker's memory of it goes stale.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from torch.utils.data import Dataset, Sampler

from dfd.batch import REAL, Sample
from dfd.data.checks import checked_sample
from dfd.data.masks import Masks
from dfd.data.open_files import OpenFile, OpenFiles
from dfd.data.order import EpochOrder
from dfd.data.pairs import Pairing
from dfd.data.prefetch import ShardFiles
from dfd.media.crops import View
from dfd.media.decode import Undecodable, decode
from dfd.shards.catalog import Contents
from dfd.shards.checksum import verify
from dfd.shards.fetch import Remote

Transform = Callable[[Sample, np.random.Generator], Sample]
TRIES = 4  # to make a fake of a real
UNMADE = "no fake was made of it"
_EMPTY = np.zeros(4, np.uint64)


class TrainSampler(Sampler[list[tuple[int, int]]]):
    """Yields this rank's slice of each global batch as a list of (epoch, row); the last, incomplete global
    batch is dropped.

    Args:
        order: epoch -> (R,) rows, the same on every rank, R constant: an array, or what gives one when sliced
            (`EpochOrder`).
        num_rows: R.
        batch_size: global.
        position: batches an epoch -> (epoch, batch) where the run stands, asked again at each start of an
            epoch: Lightning tells nobody else where a resumed one goes on.
    """

    def __init__(
        self,
        order: Callable[[int], np.ndarray | EpochOrder],
        num_rows: int,
        batch_size: int,
        rank: int,
        world: int,
        position: Callable[[int], tuple[int, int]],
    ):
        self.order, self.batch_size, self.rank, self.world, self.position = (
            order,
            batch_size,
            rank,
            world,
            position,
        )
        self.num_batches = num_rows // batch_size

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, start = self.position(len(self))
        rows = self.order(epoch)
        for batch in range(start, len(self)):
            mine = rows[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world]
            yield [(epoch, int(row)) for row in mine]


class EvalSampler(Sampler[list[tuple[int, int]]]):
    """Yields every row once over all ranks, as lists of (0, row): nothing is padded, repeated or dropped.

    Batches are cut first and then dealt to the ranks: the last digits of a logit depend on how many pictures
    share a batch and in which place, so a picture keeps its company whatever the number of ranks. A rank that
    is dealt none gets one empty list, because all of them meet at the end of an evaluation.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, rank: int, world: int):
        self.rows, self.batch_size = rows, batch_size
        self.starts = range(rank * batch_size, len(rows), world * batch_size) or [len(rows)]

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for at in self.starts:
            yield [(0, int(row)) for row in self.rows[at : at + self.batch_size]]


class ShardDataset(Dataset):
    """Samples by (epoch, row), read at their offset in a shard.

    Args:
        transforms: what an image goes through before it is cropped, drawing from (seed, epoch, row) alone.
        training: random crops; otherwise `view.eval_crops`.
        name_of: row -> what to call the sample in an error.
        files: opens the shards that are remote, where there are any.
        pairing: what makes fakes of reals, which stand beside them.
        masks: where forgeries lie, for samples that are to carry masks.
        cues: (M, C) float32, the forensic cues of each row, for samples that are to carry them.

    In training a real row gives two samples where there is a `pairing`; in evaluation row + len(contents) is
    the fake that is made of a real row.
    """

    def __init__(
        self,
        contents: Contents,
        view: View,
        transforms: Sequence[Transform],
        seed: int,
        training: bool,
        name_of: Callable[[int], str] = str,
        files: ShardFiles | None = None,
        pairing: Pairing | None = None,
        masks: Masks | None = None,
        cues: np.ndarray | None = None,
    ):
        self.contents, self.view, self.transforms = contents, view, list(transforms)
        self.seed, self.training, self.name_of = seed, training, name_of
        self._draws = np.random.Philox()
        self._random = np.random.Generator(self._draws)
        self.files, self.pairing, self.masks, self.cues = files, pairing, masks, cues
        self._files = OpenFiles()  # of local shards; pread shares them safely across forks and threads
        self._whole: dict[int, tuple[int, ...]] = {}  # local shard -> which file's checksum was right

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, row: int, epoch: int = 0) -> bytes:
        """The file's bytes, as they were prepared."""
        return self._bytes(row, int(self.contents.offset[row]), int(self.contents.length[row]), epoch)

    def _bytes(self, row: int, offset: int, length: int, epoch: int) -> bytes:
        """Bytes of the shard that a row lies in."""
        shard = int(self.contents.shard[row])
        if isinstance(self.contents.shards[shard], Remote):
            data = os.pread(self.files.open(epoch, shard), length, offset)
        else:
            file = self._files.get(shard) or self._opened(shard)
            data = os.pread(file.descriptor, length, offset)
        if len(data) != length:
            raise ValueError(
                f"{self.contents.shards[shard]} ends before sample {self.name_of(row)}: {len(data)} of "
                f"{length} bytes. The shard was cut or replaced; run `dfd prepare` again with --overwrite."
            )
        return data

    def _opened(self, shard: int) -> OpenFile:
        """A local shard, whose checksum is right."""
        path = self.contents.shards[shard]
        file = OpenFile(path)
        facts = os.fstat(file.descriptor)
        version = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        # opened again, it may be another file
        if self.contents.sha256 and self._whole.get(shard) != version:
            verify(path, self.contents.sha256[shard])
            self._whole[shard] = version
        self._files.keep(shard, file)
        return file

    def _draw(self, epoch: int, row: int, stream: int = 0) -> np.random.Generator:
        """Good until the next draw: the same numbers for (seed, epoch, row) on any rank and worker.

        Philox (Salmon et al., SC 2011) is keyed and counts, so to seed it is to set it: a fifth of
        `default_rng`'s time.
        """
        state = {
            "counter": np.array([0, row, stream, 0], np.uint64),
            "key": np.array([self.seed, epoch], np.uint64),
        }
        self._draws.state = {  # ty: ignore[invalid-assignment]
            "bit_generator": "Philox", "state": state,
            "buffer": _EMPTY, "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip
        return self._random

    def __getitem__(self, at: tuple[int, int]) -> Sample | list[Sample]:
        epoch, row = at
        made, row = divmod(row, len(self.contents))
        try:
            sample = self._loaded(row, epoch)
        except Undecodable as error:
            return self._missing(at[1], str(error))
        if self.pairing is None or sample["label"] != REAL or not (made or self.training):
            return self._finished(sample, epoch)
        fake = self._fake_of(sample, epoch)
        if made:
            if fake is None:
                return self._missing(at[1], UNMADE)
            return {**self._finished(fake, epoch), "row": at[1]}
        real = self._finished(sample, epoch)
        return [real] if fake is None else [real, self._finished(fake, epoch)]

    def _loaded(self, row: int, epoch: int) -> Sample:
        """A row's picture as it is before any transform.

        Raises:
            Undecodable: it cannot be decoded.
        """
        image = decode(self.read(row, epoch))
        sample: Sample = {
            "image": self.view.shrink(image) if self.training else image,
            "label": int(self.contents.label[row]),
            "row": row,
        }
        if self.cues is not None:
            sample["cues"] = self.cues[row]
        if self.masks is not None and self.training:
            sample |= self.masks.of(row, sample, partial(self._bytes, epoch=epoch))
        return sample

    def _fake_of(self, sample: Sample, epoch: int) -> Sample | None:
        """What the pairing makes of a real sample; None where it cannot."""
        row, rng = sample["row"], self._draw(epoch, sample["row"], stream=1)
        try:
            given = self.pairing.given(sample, rng, partial(self._loaded, epoch=epoch))
        except Undecodable:  # a reconstruction that is damaged: the real stands alone this time
            return None
        fake = given
        for _ in range(TRIES):  # a draw that changes next to nothing gives the picture back
            if fake is None or fake["label"] != REAL:
                break
            fake = checked_sample(self.pairing.maker(given, rng), self.pairing.maker, self.name_of, row)
        if fake is None or fake["label"] == REAL:
            return None
        if fake["image"].shape != sample["image"].shape:
            raise ValueError(
                f"{self.pairing.maker} made a picture of shape {fake['image'].shape} of sample "
                f"{self.name_of(row)}, whose shape is {sample['image'].shape}: the two of a pair are cut "
                "alike, so they have one size."
            )
        return {name: value for name, value in fake.items() if name not in ("landmarks", "remade")}

    def _finished(self, sample: Sample, epoch: int) -> Sample:
        """A picture as it enters a batch. Both of a pair are sent through the same draws."""
        label, rng = sample["label"], self._draw(epoch, sample["row"])
        for transform in self.transforms:
            sample = checked_sample(transform(sample, rng), transform, self.name_of, sample["row"])
        if not self.training and sample["label"] != label:
            raise ValueError(
                f"the stages of evaluation, {self.transforms}, changed the label of sample "
                f"{self.name_of(sample['row'])}. What forges "
                "pictures belongs in data.augment: evaluation judges what the table holds."
            )
        return self._cropped(sample, rng)

    def _missing(self, row: int, fault: str) -> Sample:
        """Stands for a picture that cannot be decoded, until `collate` leaves it out."""
        shape = self.view.shape[1:] if self.training else self.view.shape
        image = np.zeros((*shape, 3), np.uint8)
        sample: Sample = {"image": image, "label": -1, "row": row, "fault": fault}
        return sample if self.cues is None else {**sample, "cues": np.zeros_like(self.cues[0])}

    def _cropped(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image, mask = sample["image"], sample.get("mask")
        # a fourth channel, so that both are cut alike
        pixels = image if mask is None else np.dstack([image, mask])
        cut = self.view.train(pixels, rng) if self.training else self.view.eval_crops(pixels)
        # a copy, so that the next picture is decoded into the same memory, still in the processor's cache
        sample = {**sample, "image": np.ascontiguousarray(cut[..., :3])}
        if mask is None:
            return sample
        sample["mask"] = np.ascontiguousarray(cut[..., 3])
        if self.training and not sample["mask"].any():  # a crop beside what was forged is as real as it was
            sample["label"] = int(self.contents.label[sample["row"]])
        return sample
