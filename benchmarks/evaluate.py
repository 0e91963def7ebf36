"""What `dfd evaluate` takes beside bare inference: the same loader, the same net, the same batches, no table.

The bare loop opens the checkpoint and the shards, and puts every batch of every condition through the net. The
grid also keeps predictions, asks for shortcuts, resamples every metric and writes its files. The two take turns,
so that whatever else the machine does hits both.

    python benchmarks/evaluate.py shards/140k --checkpoint runs/mine/checkpoints/best.ckpt
    python benchmarks/evaluate.py                # the toy set, a mobilenetv2 that has learnt nothing
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import dfd
from dfd.calibration import Temperature
from dfd.detector import Card
from dfd.evaluate.conditions import load_conditions
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.plan import NamedRoot
from dfd.media.crops import View
from dfd.models import SingleStream, TimmBackbone, recipe
from dfd.synthetic import make_toy

import torch  # isort: skip  after dfd, which lets torchvision load beside CPU torch

TARGET = 1.1


def checkpoint(path: Path, backbone: str) -> Path:
    """A net that says something of everything, with the card of a trained one."""
    torch.manual_seed(0)
    net = SingleStream(TimmBackbone(backbone, pretrained=False))
    calibrated = {"split": "val", "images": 300, "groups": 300, "data": "nothing"}
    thresholds = {"balanced": 0.0, "fpr5": 0.1, "fnr5": -0.1}
    view = dict(vars(View(margin=1.35)))
    card = Card(
        recipe(net), view=view, calibration=Temperature(1.0), thresholds=thresholds, calibrated_on=calibrated
    )
    state = {f"{card.weights_in}{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": card.to_plain(), "state_dict": state}, path)
    return path


def bare(file: Path, root: Path, conditions: list, options: Options, device: str) -> None:
    detector = dfd.load(file, device=device)
    opened = NamedRoot("root", str(root), "test", detector.view, options.batch_size, options.workers, None)
    with torch.inference_mode():
        for condition in conditions:
            logits = []
            for batch in opened.loader(condition, detector.view):
                image = batch["image"].to(device, non_blocking=True)
                crops = image.flatten(0, 1).movedim(-1, -3).float().div_(255)
                logits.append(detector.net(crops).view(image.shape[:2]).mean(1))
            torch.cat(logits).cpu()


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of CPU of this process and those that it waited for."""
    start, before = time.perf_counter(), cpu()
    with redirect_stdout(StringIO()):
        work()
    return time.perf_counter() - start, cpu() - before


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", nargs="?", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--backbone", default="mobilenetv2_100", help="of the net, without a checkpoint")
    parser.add_argument("--conditions", default="conditions/quick")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2000, help="of the toy set, of which a tenth is judged")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        here = Path(folder)
        root = args.root or make_toy(here / "toy", args.images, size=256)
        file = args.checkpoint or checkpoint(here / "net.ckpt", args.backbone)
        options = Options(workers=args.workers, device=args.device, drawings=True)
        conditions = load_conditions(args.conditions)
        ratios = []
        for number in range(args.rounds):
            alone = measured(lambda: bare(file, root, conditions, options, args.device))
            out = here / f"grid{number}"
            grid = measured(lambda out=out: evaluate([file], [root], out, conditions, options))
            ratios.append((grid[0] / alone[0], grid[1] / alone[1]))
            print(
                f"bare {alone[0]:.1f} s, grid {grid[0]:.1f} s; CPU {alone[1]:.1f} s, {grid[1]:.1f} s",
                flush=True,
            )
    for what, values in zip(("seconds", "CPU"), zip(*ratios, strict=True), strict=True):
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"grid / bare, {what}: {middle:.3f} ({low:.3f}-{high:.3f}), at most {TARGET} wanted")


if __name__ == "__main__":
    main()
