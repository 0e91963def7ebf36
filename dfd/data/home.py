"""Pictures of home: some of a split, clean and delivered, for what a detector learns of its own sources."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dfd.augment import Augment
from dfd.batch import LoadedBatch, Sample
from dfd.data.collate import collate
from dfd.data.stream import EvalSampler, ShardDataset
from dfd.shards.catalog import Catalog
from dfd.shards.splits import SPLITS

SHARDS = 8  # of a root, at most: each is read whole once, to check it
BATCH = 32  # pictures


class HomeDataset(ShardDataset):
    """The middle crop of each picture as it is and as it looks after `draws` deliveries: "image" is
    (1 + draws, size, size, 3). Drawn from the row alone, so that nothing else draws other numbers for it.
    """

    draws = 0

    def _cropped(self, sample: Sample, rng: np.random.Generator) -> Sample:
        smallest = max(part.size for part in self.view.parts)
        deliver = Augment("delivery", p=1.0, min_side=smallest)
        versions = [sample["image"], *(deliver(sample, rng)["image"] for _ in range(self.draws))]
        crops = [self.view.eval_crops(each)[-1][self.view.middle] for each in versions]
        return {**sample, "image": np.stack(crops)}


def chosen_rows(catalog: Catalog, split: str, num: int) -> np.ndarray:
    """At most `num` rows of a split, as many of each source and label as there are, out of a few shards of
    each root; always the same.
    """
    rng = np.random.default_rng((num, SPLITS.index(split)))
    rows = catalog.rows[split]
    by_shard = catalog.by_shard[:, SPLITS.index(split)]
    starts = np.cumsum([0, *by_shard])
    found = []
    for root, (begin, end) in enumerate(zip(bounds := catalog.bounds(split), bounds[1:], strict=False)):
        places = np.arange(begin, end)
        if catalog.by_shards[split]:
            shards = np.flatnonzero((catalog.root_of_shard == root) & (by_shard > 0))
            shards = np.sort(rng.permutation(shards)[:SHARDS])
            places = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in shards] or [places[:0]])
        found.append(rng.permutation(places)[: 8 * num])
    candidates = rows[rng.permutation(np.concatenate(found))]
    source = catalog.describe(candidates)["source"]
    label = catalog.contents.label[candidates].astype(str)
    kind = np.unique(np.char.add(label, source), return_inverse=True)[1]
    turn = np.zeros(len(candidates), np.int64)  # place of each among those of its kind
    for number in range(kind.max(initial=-1) + 1):
        turn[kind == number] = np.arange((kind == number).sum())
    kept = candidates[np.argsort(turn, kind="stable")[:num]]
    return kept[np.argsort(catalog.contents.shard[kept], kind="stable")]


def home_batches(dataset: HomeDataset, rows: np.ndarray, rank: int, world: int) -> Iterator[LoadedBatch]:
    """This rank's share of the pictures, without those that cannot be decoded."""
    # no DataLoader: it would draw from torch's generator, which training draws from
    for places in EvalSampler(rows, BATCH, rank, world):
        batch = collate([dataset[place] for place in places])
        if batch["valid"].any():
            yield batch
