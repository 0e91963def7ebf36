"""Images/s of `dfd fit`, end to end, over a bare torch loop with the same net and optimizer on batches that wait in memory.

The fit goes through the command line with its defaults (loggers, progress, lr log) on a dual stream of mobilenetv2_100 and SmallCNN,
not pretrained, and is timed from its fifth step to its last; validation is off. It is run without augmentation and with
`delivery`, for each number of workers, and takes turns with the bare loop, in one process and on the same threads.

    python benchmarks/step.py shards/140k
    python benchmarks/step.py shards/140k --workers 0 1 2    # which number of workers is best here
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    """Writes the images/s of a fit, from step SKIP to the last, to the file `out`."""

    def __init__(self, out: str):
        self.out, self.images, self.start = Path(out), 0, 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == SKIP:
            self.start = time.perf_counter()
        elif trainer.global_step > SKIP:
            self.images += len(batch["label"])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.out.write_text(json.dumps(self.images / (time.perf_counter() - self.start)))


def fit(folder: Path, data: dict, steps: int) -> float:
    """Images/s of one `dfd fit`."""
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
    return json.loads((folder / "speed.json").read_text())
