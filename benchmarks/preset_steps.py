"""The training step of each preset over the same net in a bare loop, step by step in turn.

`dfd fit` runs as a user runs it (loggers, progress, schedule, metrics of each step, data from a loader process).
After each of its steps the same batch goes through a copy of the net in a loop of forward, loss, backward and
optimizer, so that other programs on the machine slow both alike. A ratio is the bare step's time to that of a
whole iteration of the fit: 1 means that dfd costs nothing. On a CPU the target is held against the CPU time of
the training process, which other programs move less than seconds; decoding is the loader process's.

    python benchmarks/preset_steps.py                                     # every preset of one picture, one logit
    python benchmarks/preset_steps.py resnet50 vit --size 224 --batch 16 --steps 30
"""

import argparse
import contextlib
import copy
import io
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.cli import main as dfd

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from lightning.pytorch import Callback, LightningModule, Trainer  # isort: skip
from torch.nn.functional import binary_cross_entropy_with_logits  # isort: skip

TARGET = 0.97
SKIP = 4  # steps before the clock counts: the allocator and the loader settle
PRESETS = (
    "small_cnn",
    "meso_sized",
    "frequency",
    "single_stream",
    "dual_stream",
    "efficientnet_b0",
    "resnet50",
    "densenet121",
    "xception",
    "convnext_tiny",
    "vit",
    "vgg16",
)


def now() -> tuple[float, float]:
    """Wall time, and CPU time of this process and its threads, in seconds."""
    return time.perf_counter(), time.process_time()


class BareBeside(Callback):
    """After each step of the fit one of a bare loop on the same batch; writes the times of both to the file `out`.

    `out` is a JSON list with a row a step: wall and CPU seconds of the fit's iteration, then of the bare step.
    """

    def __init__(self, out: str):
        self.out, self.rows = Path(out), []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.net = copy.deepcopy(pl_module.net).to(memory_format=torch.channels_last).train()
        given = trainer.optimizers[0]
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=given.defaults["lr"],
            weight_decay=given.defaults["weight_decay"],
            fused=given.defaults["fused"],
        )
        self.since = now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        fit = now()
        image, label = batch["image"], batch["label"].float()
        start = now()
        self.optimizer.zero_grad()
        binary_cross_entropy_with_logits(self.net(image), label).backward()
        self.optimizer.step()
        end = now()
        self.rows.append([b - a for a, b in zip((*self.since, *start), (*fit, *end), strict=True)])
        self.since = now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.out.write_text(json.dumps(self.rows))


def times(preset: str, args: argparse.Namespace) -> np.ndarray:
    """(steps, 4): as `BareBeside` writes them."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "beside.yaml"
        out = Path(folder) / "times.json"
        callback = {"class_path": "preset_steps.BareBeside", "init_args": {"out": str(out)}}
        config.write_text(json.dumps({"trainer.callbacks+": [callback]}))  # YAML holds JSON
        options = {
            "--data.view.size": args.size,
            "--data.view.longest": args.size,
            "--data.num_images": args.batch * 2 * args.steps,
            "--data.batch_size": args.batch,
            "--data.num_workers": 1,
            "--trainer.max_steps": args.steps,
            "--trainer.limit_val_batches": 0,
            "--run_folder": Path(folder) / "run",
        }
        words = [str(word) for option in options.items() for word in option]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = dfd(
                ["fit", "--config", preset, "--config", "overlay/cpu", "--config", str(config), *words]
            )
        if code:
            raise RuntimeError(f"dfd fit ended with {code}:\n{said.getvalue()}")
        return np.array(json.loads(out.read_text()))[SKIP:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("presets", nargs="*", help="by name; all by default")
    parser.add_argument("--size", type=int, default=96, help="of the crops, in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=24, help=f"the first {SKIP} without the clock")
    args = parser.parse_args()
    page = Table(
        "preset",
        "ms an image, bare",
        "bare / fit, seconds",
        "quartiles",
        "bare / fit, CPU",
        "quartiles",
        "CPU ms a step on top",
        "target",
    )
    for preset in args.presets or PRESETS:
        took = times(preset, args)
        wall, cpu = took[:, 2] / took[:, 0], took[:, 3] / took[:, 1]
        print(f"{preset}: {np.median(cpu):.3f} of its CPU time", flush=True)  # a killed run said so much
        page.add_row(
            preset,
            f"{1000 * np.median(took[:, 2]) / args.batch:.1f}",
            f"{np.median(wall):.3f}",
            "{:.3f}-{:.3f}".format(*np.quantile(wall, (0.25, 0.75))),
            f"{np.median(cpu):.3f}",
            "{:.3f}-{:.3f}".format(*np.quantile(cpu, (0.25, 0.75))),
            f"{1000 * np.median(took[:, 1] - took[:, 3]):.1f}",
            f"{TARGET} {'met' if np.median(cpu) >= TARGET else 'MISSED'}",
        )
    what = f"{args.steps - SKIP} steps of {args.batch} pictures of {args.size} px, {torch.get_num_threads()} threads"
    Console(width=140).print(what, page)


if __name__ == "__main__":
    main()
