"""Ten thousand images: the same order, and the same pixels, at any number of ranks and workers."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dfd.data import ShardDataModule, View
from dfd.shards.samples import NewSample, write_samples

pytestmark = pytest.mark.slow
IMAGES, BATCH = 10_000, 64


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[str]:
    """7000 and 3000 training pictures, each with its own pixels."""
    folder = tmp_path_factory.mktemp("ledger")
    for root, count in (("large", 7000), ("small", 3000)):
        write_samples(_drawn(root, count), folder / root, {"test": root})
    return [str(folder / "large"), str(folder / "small")]


def _drawn(root, count):
    rng = np.random.default_rng(count)
    for index in range(count + 4):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (18, 18, 3), dtype=np.uint8)).save(buffer, "PPM")
        yield NewSample(
            f"{root}-{index}", buffer.getvalue(), index % 2, "train" if index < count else "val", root
        )


class Ranks:
    """The training loaders of all ranks of a run."""

    def __init__(self, roots, world: int, workers: int, window: int | None = None):
        self.data, self.world = (
            ShardDataModule(roots, View(size=16, longest=None), BATCH, num_workers=workers, window=window),
            world,
        )
        self.data.setup("fit")

    def shown(self, first: int, last: int) -> list[tuple[int, int]]:
        """(row, sum of its pixels) of the global batches from `first` to before `last`, counted over epochs."""
        columns = []
        for rank in range(self.world):
            progress = SimpleNamespace(total=SimpleNamespace(ready=first))
            self.data.trainer = SimpleNamespace(
                global_rank=rank, world_size=self.world, overfit_batches=0, limit_train_batches=1.0,
                fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
            )  # fmt: skip
            loader, batches = self.data.train_dataloader(), []
            while progress.total.ready < last:
                for batch in loader:
                    batches.append(np.stack([batch["row"].numpy(), batch["image"].sum((1, 2, 3)).numpy()], 1))
                    progress.total.ready += 1
                    if progress.total.ready == last:
                        break
            columns.append(np.stack(batches))
        # ranks take turns within a global batch
        return list(map(tuple, np.stack(columns, 2).reshape(-1, 2)))


@pytest.fixture(scope="module")
def one_rank(roots):
    return Ranks(roots, world=1, workers=0).shown(0, IMAGES // BATCH)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_ranks_and_workers_show_the_same_pixels_in_the_same_order(roots, one_rank, world, workers):
    shown = Ranks(roots, world, workers).shown(0, IMAGES // BATCH)
    assert shown == one_rank
    # less than one global batch is dropped
    assert len(shown) == len({row for row, _ in shown}) == IMAGES // BATCH * BATCH


@pytest.mark.parametrize(("weights", "window"), [((1, 1), None), ((1, 1), 1), ((1.5, 0.25), None)])
def test_ranks_that_come_and_go_in_mid_epoch_neither_repeat_nor_miss(roots, weights, window):
    mixed = dict(zip(roots, weights, strict=True))
    size = round(7000 * weights[0] + 3000 * weights[1])
    per_epoch = size // BATCH
    whole = Ranks(mixed, 1, 0, window).shown(0, 2 * per_epoch)
    cuts = [0, 37, 100, per_epoch + 20, 2 * per_epoch]
    parts = [
        Ranks(mixed, world, 1, window).shown(*cuts[at : at + 2]) for at, world in enumerate((8, 2, 8, 4))
    ]
    assert [each for part in parts for each in part] == whole
    counts = np.unique([row for row, _ in whole[: per_epoch * BATCH]], return_counts=True)[1]
    if weights == (1, 1):
        assert set(counts) == {1}
    else:  # half of the larger root twice, a quarter of the smaller one
        assert abs((counts == 2).sum() - 3500) < BATCH and len(counts) > 7750 - BATCH
