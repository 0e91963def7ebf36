"""What pairs cost in training: a picture of a pair over a picture of a single, loaded and learnt from.

Batches of singles (the tables' reals and fakes), of reals with blends of their faces, and of reals with their
reconstructions come in turn, in this process, each followed by a step of mobilenetv2 on it. A ratio is that of
CPU times a picture, the median over the turns, with a 95% interval of the bootstrap over turns: of loading
alone, and of loading and learning together. The target is held against the second.

    dfd landmarks shards/140k --mesh face_landmark.tflite
    python benchmarks/pair_steps.py shards/140k --remade shards/remade-train shards/remade-val
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.augment import Augment, FaceBlend, Reconstruction
from dfd.batch import Batch
from dfd.data import ShardDataModule, View
from dfd.malloc import keep_pages
from dfd.models import SingleStream, TimmBackbone

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from torch.nn.functional import binary_cross_entropy_with_logits  # isort: skip

TARGET = 1.1
SKIP = 3  # turns before the clock counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", help="shards with landmarks")
    parser.add_argument(
        "--remade", nargs="*", default=[], help="shards of reconstructions of its training and val reals"
    )
    parser.add_argument("--size", type=int, default=224, help="of a crop, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="pictures of a step")
    parser.add_argument("--turns", type=int, default=40)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_pages()  # as dfd fit does
    modules = {
        "singles": module([args.root], args),
        "pairs of FaceBlend": module([args.root], args, pairs=FaceBlend(), fakes=False),
    }
    if args.remade:
        roots = [args.root, *args.remade]
        modules["pairs of Reconstruction"] = module(
            roots, args, pairs=Reconstruction(), fakes=["reconstruction-*"]
        )
    step = learning()
    batches = {name: unending(data) for name, data in modules.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in batches}
    for _ in range(SKIP + args.turns):
        for name, stream in batches.items():
            start = time.process_time()
            batch = next(stream)
            loaded = time.process_time()
            step(batch)
            num = len(batch["label"])
            spent[name].append(((loaded - start) / num, (time.process_time() - start) / num))
    show(spent, args)


def module(
    roots: list[str], args: argparse.Namespace, pairs: Callable | None = None, fakes: bool | list[str] = True
) -> ShardDataModule:
    data = ShardDataModule(
        roots,
        View(size=args.size, longest=None, resize=True),
        batch_size=args.batch if pairs is None else args.batch // 2,  # of a pair both stand in the batch
        num_workers=0,
        pairs=pairs,
        fakes=fakes,
        augment=Augment("delivery", p=0.75),
    )
    data.setup("fit")
    return data


def unending(data: ShardDataModule) -> Iterator[Batch]:
    while True:
        yield from data.train_dataloader()


def learning() -> Callable[[Batch], None]:
    """A step of forward, loss, backward and optimizer on a batch."""
    net = SingleStream(backbone=TimmBackbone("mobilenetv2_100", pretrained=False)).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def step(batch: Batch) -> None:
        images, labels = batch["image"].permute(0, 3, 1, 2).float() / 255, batch["label"].float()
        loss = binary_cross_entropy_with_logits(net(images).flatten(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def show(spent: dict[str, list[tuple[float, float]]], args: argparse.Namespace) -> None:
    """The table of milliseconds and ratios."""
    title = f"{Path(args.root).name}, {args.size} px, {args.turns} turns of batches of {args.batch}; aim {TARGET} with learning"
    table = Table("", "loading, ms a picture", "over singles", "with learning", "over singles", title=title)
    base = np.array(spent["singles"])[SKIP:]
    for name, rows in spent.items():
        own = np.array(rows)[SKIP:]
        cells = [
            word
            for column in (0, 1)
            for word in (f"{1e3 * np.median(own[:, column]):.2f}", ratio(own[:, column], base[:, column]))
        ]
        table.add_row(name, *cells)
    Console(width=140).print(table)


def ratio(own: np.ndarray, base: np.ndarray) -> str:
    """Of the medians, with its interval over turns."""
    turns = np.random.default_rng(0).integers(len(own), size=(2000, len(own)))
    spread = np.median(own[turns], axis=1) / np.median(base[turns], axis=1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return f"{np.median(own) / np.median(base):.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
