"""Images/s of the training loader beside bare decoding, webdataset's pipeline and an ImageFolder, on the same
pictures.

All four decode and cut one random crop, without augmentation, in as many processes, and take turns, so that
whatever else the machine does hits all of them. Everything was read before, so the disk takes no part. Bare
decoding takes bytes that it holds in memory and drops the crops: no batches, no hand-over, the most that
these processes could do.

    python benchmarks/loader.py shards/140k
    python benchmarks/loader.py                # the toy set
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import simplejpeg
from rich.console import Console
from rich.table import Table

from dfd.data import ShardDataModule, ToyDataModule, View
from dfd.malloc import keep_pages
from dfd.media.decode import decode

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
import webdataset  # isort: skip
from torch.utils.data import DataLoader  # isort: skip
from torchvision.datasets import ImageFolder  # isort: skip
from torchvision.transforms import Compose, PILToTensor, RandomCrop  # isort: skip

TARGETS = {"bare decoding": 0.9, "webdataset": 1.2, "ImageFolder": 1.5}


class Bare:
    """Decoding and cropping alone, in `processes` of their own, each with a share of the pictures in its
    memory.
    """

    def __init__(self, pictures: list[bytes], view: View, processes: int):
        context = get_context("fork")
        self.pipes = []
        for share in range(processes):
            ours, theirs = context.Pipe()
            context.Process(
                target=self._work, args=(theirs, pictures[share::processes], view), daemon=True
            ).start()
            self.pipes.append(ours)

    def warm_up(self) -> None:
        self(0.2)

    def __call__(self, seconds: float) -> tuple[int, float]:
        """Images and seconds."""
        for pipe in self.pipes:
            pipe.send(seconds)
        images, took = zip(*(pipe.recv() for pipe in self.pipes), strict=True)
        return sum(images), statistics.mean(took)

    @staticmethod
    def _work(pipe: Connection, pictures: list[bytes], view: View) -> None:
        rng = np.random.default_rng(0)
        while True:
            seconds, images, start = pipe.recv(), 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                for data in pictures[:32]:
                    image = simplejpeg.decode_jpeg(data) if simplejpeg.is_jpeg(data) else decode(data)
                    view.train(image, rng)
                images += 32
                pictures = pictures[32:] + pictures[:32]
            pipe.send((images, time.perf_counter() - start))


class Batches:
    """A loader, epoch after epoch; the `ready` batches that it may hold before the clock starts are taken off
    first.
    """

    def __init__(self, loader: DataLoader, ready: int):
        self.sizes, self.ready = self._sizes(loader), ready

    def __call__(self, seconds: float) -> tuple[int, float]:
        """Images and seconds."""
        images, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            images += next(self.sizes)
        return images, time.perf_counter() - start

    def warm_up(self) -> None:
        for _ in range(self.ready):
            next(self.sizes)

    @staticmethod
    def _sizes(loader: DataLoader) -> Iterator[int]:
        while True:
            for batch in loader:
                yield len(batch["image"] if isinstance(batch, dict) else batch[0])


def webdatasets_own(shards: list[Path], view: View, batch_size: int, workers: int) -> DataLoader:
    """Samples through a buffer of 1000; shards drawn at random for ever, so that two workers have work on one
    shard.
    """
    rng = np.random.default_rng(0)

    def cut(sample: dict) -> tuple[torch.Tensor, int]:
        name = next(name for name in sample if not name.startswith("__") and name not in ("json", "mask.png"))
        crop = view.train(decode(sample[name]), rng)
        # batches of arrays would be pickled
        return torch.from_numpy(crop), json.loads(sample["json"])["label"]

    stream = webdataset.WebDataset([str(shard) for shard in shards], resampled=True, shardshuffle=False)
    stream = stream.shuffle(1000).map(cut).batched(batch_size)
    return webdataset.WebLoader(stream, batch_size=None, num_workers=workers)


def image_folder(folder: Path, view: View, batch_size: int, workers: int) -> DataLoader:
    """torchvision's: Pillow opens, converts and crops; uint8, as ours."""
    crop = Compose([RandomCrop(view.size, pad_if_needed=True, padding_mode="reflect"), PILToTensor()])
    files = ImageFolder(str(folder), crop)
    return DataLoader(
        files, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )


def cpu_seconds() -> float:
    """Of this process and its children, who sleep while it is another's turn."""
    mine = os.getpid()
    children = Path(f"/proc/{mine}/task/{mine}/children").read_text().split()
    stats = [
        Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in (mine, *children)
    ]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", nargs="?", help="prepared shards; the toy set without")
    parser.add_argument("--workers", type=int, default=2, help="processes of each, 1 or more")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128, help="of the crop, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    args = parser.parse_args()
    keep_pages()  # as `dfd fit` does; for all four
    view = View(size=args.size, longest=None)
    options = {"view": view, "batch_size": args.batch_size, "num_workers": args.workers}
    data = ShardDataModule(args.root, **options) if args.root else ToyDataModule(**options)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    rows = data.rows("train")
    pictures = [loader.dataset.read(int(row)) for row in rows]
    shards = [data.contents.shards[shard] for shard in np.unique(data.contents.shard[rows])]
    with TemporaryDirectory() as folder:
        for row, picture in zip(rows, pictures, strict=True):
            file = Path(folder) / f"{data.contents.label[row]}" / f"{row}.jpg"  # Pillow goes by the bytes
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(picture)
        ready = 1 + 2 * args.workers  # torch asks each worker for two batches ahead
        sides: dict[str, Bare | Batches] = {
            "bare decoding": Bare(pictures, view, args.workers),
            "dfd": Batches(loader, ready),
            "webdataset": Batches(webdatasets_own(shards, view, args.batch_size, args.workers), ready),
            "ImageFolder": Batches(image_folder(Path(folder), view, args.batch_size, args.workers), ready),
        }
        speed: dict[str, list[float]] = {name: [] for name in sides}
        cpu: dict[str, list[float]] = {name: [] for name in sides}  # seconds an image
        for _ in range(args.rounds):
            for name, side in sides.items():
                side.warm_up()
                before = cpu_seconds()
                images, seconds = side(args.seconds)
                speed[name].append(images / seconds)
                cpu[name].append((cpu_seconds() - before) / images)
    page = Table("", "images/s", "CPU ms an image", "dfd / it", "lowest-highest", "target")
    for name in sides:
        ratios = [ours / theirs for ours, theirs in zip(speed["dfd"], speed[name], strict=True)]
        ratio, target = statistics.median(ratios), TARGETS.get(name)
        page.add_row(
            name,
            f"{statistics.median(speed[name]):.0f}",
            f"{1000 * statistics.median(cpu[name]):.2f}",
            f"{ratio:.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            "" if target is None else f"{target} {'met' if ratio >= target else 'MISSED'}",
        )
    where = args.root or "the toy set"
    Console(width=120).print(
        f"{where}: {len(rows)} pictures, {args.workers} workers, median of {args.rounds} rounds", page
    )


if __name__ == "__main__":
    main()
