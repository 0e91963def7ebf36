"""Images/s from shards behind a web server beside the same shards on this disk, and what memory and disk that
takes.

Three loaders with the same order take turns, so that whatever else the machine does hits all: local shards;
remote ones that all lie in the cache after the first epoch (warm); remote ones in the least cache that
windows of this size may have, where each shard is fetched anew each epoch (passing). The root's training
pictures are put into small shards first, so that there are windows to pass. The server is a process on this
machine and takes its share of it; a network it is not.

    python benchmarks/remote.py shards/140k
    python benchmarks/remote.py                 # the toy set
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from dfd.data import ShardDataModule, View
from dfd.malloc import keep_pages
from dfd.shards import samples, table
from dfd.shards.cache import Cache
from dfd.synthetic import make_toy, toy_root

TARGET = 0.9  # warm / local


class Batches:
    """A training loader, epoch after epoch, and its images/s."""

    def __init__(self, data: ShardDataModule):
        data.setup("fit")
        self.data, self.sizes = data, self._sizes(data.train_dataloader())

    def __call__(self, seconds: float) -> float:
        for _ in range(1 + 2 * self.data.num_workers):  # may have been ready before the clock starts
            next(self.sizes)
        images, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            images += next(self.sizes)
        return images / (time.perf_counter() - start)

    @staticmethod
    def _sizes(loader) -> Iterator[int]:
        for epoch in itertools.count():
            loader.batch_sampler.position = lambda batches, epoch=epoch: (epoch, 0)
            for batch in loader:
                yield len(batch["image"])


class Watch(threading.Thread):
    """The most bytes that a folder held, and the most memory of this process and its children (each page by
    its share).
    """

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.disk, self.memory = folder, 0, 0

    def run(self) -> None:
        while True:
            self.disk = max(self.disk, sum(_size(path) for path in self.folder.glob("*")))
            self.memory = max(self.memory, sum(map(_share, _family())))
            time.sleep(0.1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _family() -> list[int]:
    mine = os.getpid()
    return [mine, *map(int, Path(f"/proc/{mine}/task/{mine}/children").read_text().split())]


def _share(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def recut(root: Path, out: Path, images: int) -> None:
    """The training pictures of `root` in shards of so many, and as many of val as one loader needs."""
    samples.SHARD_IMAGES = images

    def recut_samples() -> Iterator[samples.NewSample]:
        contents = table.load_table(root)
        for line in contents.select(
            ["key", "shard", "offset", "length", "label", "split", "source"]
        ).to_pylist():
            if line["split"] != "test":
                with open(root / line["shard"], "rb") as file:
                    file.seek(line["offset"])
                    data = file.read(line["length"])
                yield samples.NewSample(line["key"], data, line["label"], line["split"], line["source"])

    samples.write_samples(recut_samples(), out, {"command": "benchmarks/remote.py", "source": str(root)})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", nargs="?", help="prepared shards; the toy set without")
    parser.add_argument("--images", type=int, default=100, help="of a shard")
    parser.add_argument("--window", type=int, default=4, help="shards")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    args = parser.parse_args()
    keep_pages()
    with TemporaryDirectory() as scratch:
        root = Path(scratch) / "shards"
        recut(Path(args.root) if args.root else make_toy(toy_root()), root, args.images)
        command = [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(root),
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = server.stdout.readline().split(" port ")[1].split()[0]
            measure(root, f"http://127.0.0.1:{port}", Path(scratch), args)
        finally:
            server.kill()
            server.wait()


def measure(root: Path, url: str, scratch: Path, args: argparse.Namespace) -> None:
    view = View(size=128, longest=None)
    options = {
        "view": view,
        "batch_size": args.batch_size,
        "num_workers": args.workers,
        "window": args.window,
    }
    sizes = [path.stat().st_size for path in root.glob("*.tar")]
    caches = {
        "warm": Cache(str(scratch / "warm"), sum(sizes) / 1e9),
        "passing": Cache(str(scratch / "passing"), _least(url, options)),
    }
    sides = {"local": Batches(ShardDataModule(str(root), **options))}
    sides |= {name: Batches(ShardDataModule(url, cache=cache, **options)) for name, cache in caches.items()}
    watches = {name: Watch(cache.path) for name, cache in caches.items()}
    for watch in watches.values():
        watch.start()
    for _ in range(-(-len(sides["warm"].data.rows("train")) // args.batch_size)):
        next(sides["warm"].sizes)  # its cache is full now
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            speeds[name].append(side(args.seconds))
    page = Table("", "images/s", "it / local", "lowest-highest", "target", "cache, MB", "its limit")
    for name in sides:
        ratios = [mine / local for mine, local in zip(speeds[name], speeds["local"], strict=True)]
        ratio = statistics.median(ratios)
        facts = [f"{statistics.median(speeds[name]):.0f}"]
        if name in caches:
            facts += [f"{ratio:.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"]
            facts += [f"{TARGET} {'met' if ratio >= TARGET else 'MISSED'}" if name == "warm" else ""]
            facts += [f"{watches[name].disk / 1e6:.1f}", f"{caches[name].limit / 1e6:.1f}"]
        page.add_row(name, *facts)
    Console(width=120).print(
        f"{len(sizes)} shards, {sum(sizes) / 1e6:.0f} MB; windows of {args.window}, {args.workers} workers a "
        f"loader, median of {args.rounds} rounds",
        page,
        f"memory of all three loaders' processes together: at most {watches['warm'].memory / 1e6:.0f} MB",
    )


def _least(url: str, options: dict) -> float:
    """GB that a cache must have, as the refusal of a smaller one says."""
    with TemporaryDirectory() as folder:
        try:
            ShardDataModule(url, cache=Cache(folder, 1e-3), **options).setup("fit")
        except ValueError as error:
            return float(str(error).split("Set data.cache.gb=")[1].split()[0])
    return 1e-3


if __name__ == "__main__":
    main()
