"""What it costs to save a checkpoint that survives: `DurableCheckpointIO` over torch.save alone.

The checkpoint is that of a dual stream of mobilenetv2_100 and SmallCNN with AdamW's state, as `dfd fit` saves
it (30 MB). The sides take turns, in one process, and write over their own file in one folder. Bare torch.save
leaves the data to the system's memory; beside it stands torch.save with the fsync that any promise about
power failures needs, and Lightning's own writer. CPU time counts where other programs crowd the cores or the
disk.

    python benchmarks/checkpoint.py --folder /scratch
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.durable import sync
from dfd.models import DualStream, LocalSpectrum, SmallCNN, TimmBackbone, recipe
from dfd.training.checkpoint_io import DurableCheckpointIO

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from lightning.pytorch.plugins import TorchCheckpointIO  # isort: skip

ALONE = "torch.save alone"


def trained() -> dict:
    """A checkpoint after one step."""
    net = DualStream(TimmBackbone("mobilenetv2_100"), SmallCNN(32, in_channels=64), LocalSpectrum())
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    return {"state_dict": weights, "optimizer_states": [optimizer.state_dict()], "dfd": {"net": recipe(net)}}


def save_and_sync(checkpoint: dict, path: Path) -> None:
    torch.save(checkpoint, path)
    sync(path)


def timed(save: Callable[[dict, Path], None], checkpoint: dict, path: Path) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    save(checkpoint, path)
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that is asked about")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    checkpoint = trained()
    sides = {
        ALONE: torch.save,
        "torch.save, fsync": save_and_sync,
        "Lightning's TorchCheckpointIO": TorchCheckpointIO().save_checkpoint,
        "dfd's DurableCheckpointIO": DurableCheckpointIO().save_checkpoint,
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with TemporaryDirectory(dir=args.folder) as folder:
        for round_ in range(args.rounds + 1):
            for number, (name, save) in enumerate(sides.items()):
                taken = timed(save, checkpoint, Path(folder) / f"{number}.ckpt")
                if round_:  # the first one warms up, and is the one that dfd reads back
                    times[name].append(taken)
        size = (Path(folder) / "0.ckpt").stat().st_size / 1e6
    page = Table("", "ms", f"of {ALONE}", "lowest-highest", "CPU ms", f"of {ALONE}'s")
    for name in sides:
        ours, alone = np.array(times[name]), np.array(times[ALONE])  # (rounds, 2)
        ratios = ours / alone
        page.add_row(
            name,
            f"{np.median(ours[:, 0]):.0f}",
            f"{np.median(ratios[:, 0]):.2f}",
            f"{ratios[:, 0].min():.2f}-{ratios[:, 0].max():.2f}",
            f"{np.median(ours[:, 1]):.0f}",
            f"{np.median(ratios[:, 1]):.2f}",
        )
    Console(width=120).print(f"{size:.1f} MB, {args.folder}, median of {args.rounds} rounds", page)


if __name__ == "__main__":
    main()
