"""Images/s of `dfd fit`, end to end, over a bare torch loop with the same net and optimizer on batches that
wait in memory.

The fit goes through the command line with its defaults (loggers, progress) on a dual stream of
mobilenetv2_100 and SmallCNN, not pretrained, and is timed from its fifth step to its last; validation is off.
It is run without augmentation and with `delivery`, for each number of workers, and takes turns with the bare
loop, in one process and on the same threads. CPU time is that of all processes together: where other programs
crowd the cores it says more than images/s.

    python benchmarks/step.py shards/140k
    python benchmarks/step.py shards/140k --workers 0 1 2    # which number of workers is best here
"""

import argparse
import contextlib
import io
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from loader import cpu_seconds
from rich.console import Console
from rich.table import Table

from dfd.cli import main as dfd
from dfd.data import ShardDataModule, ToyDataModule, View
from dfd.malloc import keep_pages
from dfd.models import DualStream, SmallCNN, TimmBackbone

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from lightning.pytorch import Callback, LightningModule, Trainer  # isort: skip
from torch.nn.functional import binary_cross_entropy_with_logits  # isort: skip

TARGET = 0.95
SKIP = 5  # steps before the clock starts: the allocator and the workers settle
OPTIMIZER = {"lr": 1e-3, "weight_decay": 0.05}


class Clock(Callback):
    """Writes the Speed of a fit, from step SKIP to the last, to the file `out`."""

    def __init__(self, out: str):
        self.out = Path(out)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == SKIP:
            self.images, self.start = 0, now()
        elif trainer.global_step > SKIP:
            self.images, self.end = self.images + len(batch["label"]), now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.out.write_text(json.dumps(speed(self.images, self.start, self.end)))


def now() -> tuple[float, float]:
    """Wall and CPU time, seconds."""
    return time.perf_counter(), cpu_seconds()


def speed(images: int, start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Images a second, and CPU milliseconds an image."""
    return images / (end[0] - start[0]), 1000 * (end[1] - start[1]) / images


def fit(folder: Path, data: dict, steps: int) -> tuple[float, float]:
    """Speed of one `dfd fit`."""
    small = {"class_path": "dfd.models.SmallCNN", "init_args": {"width": 16}}
    rgb = {"class_path": "dfd.models.TimmBackbone", "init_args": {"name": "mobilenetv2_100"}}
    config = {
        "model": {
            "class_path": "dfd.tasks.ClassificationTask",
            "init_args": {
                "net": {"class_path": "dfd.models.DualStream", "init_args": {"rgb": rgb, "fft": small}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": OPTIMIZER},
            },
        },
        "data": data,
        "trainer": {
            "accelerator": "cpu",
            "max_steps": steps,
            "limit_val_batches": 0,
            "callbacks": [{"class_path": "step.Clock", "init_args": {"out": str(folder / "speed.json")}}],
        },
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # YAML holds JSON
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = dfd(["fit", "--config", str(folder / "config.yaml"), "--run_folder", str(folder / "run")])
    if code:
        raise RuntimeError(f"dfd fit ended with {code}:\n{said.getvalue()}")
    return tuple(json.loads((folder / "speed.json").read_text()))


class Bare:
    """The loop that nothing can beat: no loading, no logging, no schedule."""

    def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]]):
        net = DualStream(TimmBackbone("mobilenetv2_100"), SmallCNN(width=16))
        self.net, self.batches = net.to(memory_format=torch.channels_last).train(), batches
        self.optimizer = torch.optim.AdamW(self.net.parameters(), **OPTIMIZER)

    def __call__(self, steps: int) -> tuple[float, float]:
        for step in range(steps):
            if step == SKIP:
                start = now()
            image, label = self.batches[step % len(self.batches)]
            self.optimizer.zero_grad()
            binary_cross_entropy_with_logits(self.net(image), label).backward()
            self.optimizer.step()
        return speed((steps - SKIP) * len(image), start, now())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", nargs="?", help="prepared shards; the toy set without")
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument(
        "--steps", type=int, default=40, help=f"of one turn, the first {SKIP} without the clock"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    keep_pages()  # `dfd fit` does
    torch.set_num_threads(args.threads)
    view = {"size": 128, "longest": 256}
    options = {"view": View(**view), "batch_size": 32, "num_workers": 0}
    data = ShardDataModule(args.root, **options) if args.root else ToyDataModule(**options)
    data.prepare_data()
    data.setup("fit")
    batches = [
        data.on_after_batch_transfer(batch, 0)
        for _, batch in zip(range(8), data.train_dataloader(), strict=False)
    ]
    bare = Bare([(batch["image"], batch["label"].float()) for batch in batches])
    sides = {
        f"dfd fit, {preset}, {workers} workers": {
            "class_path": f"dfd.data.{type(data).__name__}",
            "init_args": {
                **({"roots": args.root} if args.root else {}),
                "view": view,
                "batch_size": 32,
                "augment": {"class_path": "dfd.augment.Augment", "init_args": {"preset": preset}},
                "num_workers": workers,
            },
        }
        for workers in args.workers
        for preset in ("none", "delivery")
    }
    speeds: dict[str, list[tuple[float, float]]] = {"bare loop": [], **{name: [] for name in sides}}
    for _ in range(args.rounds):
        speeds["bare loop"].append(bare(args.steps))
        for name, config in sides.items():
            with TemporaryDirectory() as folder:
                speeds[name].append(fit(Path(folder), config, args.steps))
    page = Table(
        "",
        "images/s",
        "of the bare loop",
        "lowest-highest",
        "CPU ms an image",
        "of the bare loop's",
        "target",
    )
    for name in speeds:
        ours, bares = (np.array(speeds[which]) for which in (name, "bare loop"))  # (rounds, 2)
        ratios = ours / bares
        ratio, cpu = np.median(ratios, axis=0)
        page.add_row(
            name,
            f"{np.median(ours[:, 0]):.1f}",
            f"{ratio:.3f}",
            f"{ratios[:, 0].min():.3f}-{ratios[:, 0].max():.3f}",
            f"{np.median(ours[:, 1]):.1f}",
            f"{cpu:.3f}",
            f"{TARGET} {'met' if ratio >= TARGET else 'MISSED'}" if "none" in name else "",
        )
    where = f"{args.root or 'the toy set'}, {args.threads} threads, median of {args.rounds} rounds of {args.steps - SKIP} steps"
    Console(width=140).print(where, page)


if __name__ == "__main__":
    main()
