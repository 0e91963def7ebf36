"""ToyDataModule: the embedded default, a data module over the drawings of `dfd.synthetic`."""

from __future__ import annotations

from pathlib import Path

from dfd.data.datamodule import Mix, ShardDataModule, Transforms
from dfd.detector.card import TOY
from dfd.media.crops import View
from dfd.synthetic import make_toy, toy_root


class ToyDataModule(ShardDataModule):
    """The embedded default: faces that dfd draws itself, photographed by a simulated camera, and forgeries of
    them.

    Made on first use, in under a minute, and kept. They are drawings: a detector trained on them knows
    nothing of photographs.

    Args:
        num_images: pictures, half of them forged.
        picture: side of a picture in pixels.
        toy_seed: of the drawings.
        folder: where the shards go; by default the cache folder ($DFD_CACHE or ~/.cache/dfd).
        view, batch_size, augment, val_augment, corruption, mix, num_workers, seed, max_undecodable: as in
            `ShardDataModule`.
    """

    title = TOY

    def __init__(
        self,
        num_images: int = 2400,
        picture: int = 160,
        toy_seed: int = 0,
        folder: str | None = None,
        view: View = View(),  # noqa: B008
        batch_size: int = 32,
        augment: Transforms = None,
        val_augment: Transforms = None,
        corruption: Transforms = None,
        mix: Mix = None,
        num_workers: int = 2,
        seed: int = 0,
        max_undecodable: float = 0.01,
    ):
        self.toy = {"num_images": num_images, "size": picture, "seed": toy_seed}
        root = Path(folder) if folder else toy_root(**self.toy)
        super().__init__(
            str(root), view, batch_size, augment, val_augment, corruption, mix, num_workers,
            seed=seed, max_undecodable=max_undecodable,
        )  # fmt: skip

    def prepare_data(self) -> None:
        make_toy(Path(next(iter(self.roots))), **self.toy)
