"""Which map deserves trust: each method on forgeries whose place is known, with the measures that need no mask.

The toy set's fakes have masks. Of the central crops of its test split that are forged in part and that the
detector calls fake, each method's map is asked: does its strongest place lie on the forgery (pointing game);
which share of its positive values does, against the forgery's share of the crop; and, as `dfd explain` does
without a mask, does it beat random orders by deletion and insertion, and does it survive shuffled weights.
Beside the methods stand maps that know nothing of the net: noise, edges, and the middle of the picture.
Intervals are 95% bootstraps over families.

    python benchmarks/explanations.py                    # trains a small detector first, some ten minutes
    python benchmarks/explanations.py --checkpoint runs/toy/checkpoints/best.ckpt --num 100
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dfd.batch import FAKE
from dfd.cli import main as dfd
from dfd.detector import load
from dfd.explain import METHODS, attribute, faithfulness, pointing_game, random_orders, share_on, survival
from dfd.media.crops import View
from dfd.progress import progress
from dfd.synthetic.toy import FAMILY, SPLIT, draw_sample

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from torch import Tensor, nn  # isort: skip
from torch.nn import functional as F  # isort: skip

TOY = {"num_images": 2400, "size": 160, "seed": 0}  # the default toy set
LEAST, MOST = 0.02, 0.5  # of the crop is forged: where all of it is, every map hits
RESAMPLES = 2000
COLUMNS = {
    "hit": "pointing game",
    "share": "share on the forgery",
    "beats": "beats random orders",
    "marked": "survives shuffled weights",
    "likeness": "likeness to shuffled",
    "infidelity": "infidelity",
    "holds": "may be read",
}


@dataclass
class Line:
    """One method's map of one picture."""

    hit: float
    share: float
    beats: float
    marked: float
    likeness: float
    infidelity: float
    holds: float
    seconds: float


def forgeries(view: View) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Family, central crop (S, S, 3) uint8 and its mask (S, S) bool of the test split's fakes, where the
    crop is forged in part.
    """
    for number in range(TOY["num_images"]):
        if SPLIT.get(number // FAMILY % 10) != "test":
            continue
        sample = draw_sample(number, **TOY)
        if sample["label"] != FAKE:
            continue
        picture = np.asarray(Image.open(io.BytesIO(sample["image_bytes"])).convert("RGB"))
        mask = np.asarray(Image.open(io.BytesIO(sample["mask_bytes"]))) > 127
        picture, mask = view.eval_crops(picture)[-1], view.eval_crops(mask.astype(np.uint8))[-1] > 0
        if LEAST <= mask.mean() <= MOST:
            yield number // FAMILY, picture, mask


def edges(net: nn.Module, image: Tensor) -> Tensor:
    """Laplace's operator on the brightness."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None].to(image)
    return F.conv2d(image.mean(1, keepdim=True), kernel, padding=1).abs()[:, 0]


def noise(net: nn.Module, image: Tensor) -> Tensor:
    return torch.rand(len(image), *image.shape[-2:])


def middle(net: nn.Module, image: Tensor) -> Tensor:
    """A hill in the middle of the picture, where faces are."""
    down, across = (torch.linspace(-1, 1, side) for side in image.shape[-2:])
    hill = torch.exp(-(down[:, None].square() + across.square()) / (2 * 0.3**2))
    return hill.expand(len(image), -1, -1)


CONTROLS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "noise (control)": noise,
    "edges (control)": edges,
    "middle (control)": middle,
}


def map_of(method: str) -> Callable[[nn.Module, Tensor], Tensor]:
    return CONTROLS.get(method) or (lambda net, image: attribute(net, image, method).map)


def lines_of(net: nn.Module, image: Tensor, mask: Tensor) -> dict[str, Line]:
    """Every method's line for one image (1, 3, S, S) with its mask (S, S) bool."""
    orders, lines = random_orders(net, image[0]), {}
    for method in (*METHODS, *CONTROLS):
        start = time.perf_counter()
        found = map_of(method)(net, image)
        seconds = time.perf_counter() - start
        measured = faithfulness(net, image[0], found[0], orders, samples=16)
        if not measured.empty:
            measured = replace(measured, survival=survival(net, image, map_of(method), found, seeds=1))
        lines[method] = Line(
            hit=float(pointing_game(found[0], mask) and not measured.empty),
            share=share_on(found[0], mask),
            beats=float(measured.better_than_chance),
            marked=float(measured.survives),
            likeness=np.nan if measured.survival is None else measured.survival,
            infidelity=measured.infidelity,
            holds=float(measured.holds),
            seconds=seconds,
        )
    return lines


def interval(values: np.ndarray, family: np.ndarray) -> str:
    """The mean and its 95% bootstrap interval over families; without the pictures that have no value."""
    known = np.isfinite(values)
    values, family = values[known], family[known]
    if not len(values):
        return "-"
    names, at = np.unique(family, return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    draw = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[draw].sum(1) / counts[draw].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f}, {high:.2f})"


def train(folder: Path) -> Path:
    run = folder / "run"
    fit = ["fit", "--config", "small_cnn", "--model.net.backbone.width=16", "--run_folder", str(run)]
    assert dfd(fit) == 0
    return run / "checkpoints" / "best.ckpt"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="of a detector of the toy set; by default one is trained"
    )
    parser.add_argument(
        "--num", type=int, default=40, help="forgeries that are looked at, called fake or not"
    )
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        detector = load(args.checkpoint or train(Path(folder)), drawings=True)
    torch.manual_seed(0)
    threshold, family, areas, kept = detector.card.thresholds["balanced"], [], [], []
    with progress(args.num, "explaining") as advance:
        for home, crop, mask in islice(forgeries(detector.view), args.num):
            if detector.logits([crop[None]])[0] > threshold:
                image = torch.from_numpy(crop.copy()).movedim(-1, 0).float().div(255)[None]
                kept.append(lines_of(detector.net, image, torch.from_numpy(mask)))
                family.append(home)
                areas.append(mask.mean())
            advance(1)
    assert kept, f"of {args.num} forgeries none was called fake: look at more, or train a better detector"
    family = np.array(family)
    table = Table(title=f"{len(kept)} forgeries called fake of {args.num}, {len(set(family))} families")
    for name in ("map", *COLUMNS.values(), "seconds"):
        table.add_column(name)
    for method in kept[0]:
        found = [lines[method] for lines in kept]
        cells = [
            interval(np.array([getattr(each, name) for each in found], float), family) for name in COLUMNS
        ]
        table.add_row(method, *cells, f"{np.mean([each.seconds for each in found]):.1f}")
    console = Console(width=200)
    console.print(table)
    console.print(
        f"The forgery is {interval(np.array(areas), family)} of the crop: a map that knows nothing gets that."
    )


if __name__ == "__main__":
    main()
