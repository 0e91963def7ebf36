"""Which map deserves trust: each method on forgeries whose place is known, with the measures that need no mask.

The toy set's fakes have masks. Of its test split's partly forged fakes that the detector calls fake, each
method's map of the decision is asked: does its strongest place lie on the forgery (pointing game), which share
of its positive values does, against the share that the forgery has of the picture; and, as `dfd explain` does
without a mask, whether it beats random orders by deletion and insertion, and whether it survives shuffled
weights. Beside the methods stand maps that know nothing of the net: noise, edges, and the middle of the picture.
Intervals are 95% bootstraps over families.

    python benchmarks/explanations.py                    # trains a small detector first, some ten minutes
    python benchmarks/explanations.py --checkpoint runs/toy/checkpoints/best.ckpt --num 100
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dfd.batch import FAKE
from dfd.cli import main as dfd
from dfd.detector import Detector, load
from dfd.explain import METHODS, Decision, faithfulness, pointing_game, random_orders, share_on, survival
from dfd.inference.explain import UNSEEN, measure_map
from dfd.progress import progress
from dfd.synthetic.toy import FAMILY, SPLIT, draw_sample

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from torch import Tensor, nn  # isort: skip
from torch.nn import functional as F  # isort: skip

TOY = {"num_images": 2400, "size": 160, "seed": 0}  # the default toy set
MOST = 0.5  # of the picture is forged, at most: elsewhere every map hits
RESAMPLES = 2000


@dataclass
class Line:
    """One method's map of one picture."""

    hit: bool
    share: float
    beats: float
    marked: float
    likeness: float
    infidelity: float
    holds: float
    seconds: float


def forgeries() -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """Family, method, picture (H, W, 3) uint8 and mask (H, W) bool of the test split's partly forged fakes."""
    for number in range(TOY["num_images"]):
        if SPLIT.get(number // FAMILY % 10) != "test":
            continue
        sample = draw_sample(number, **TOY)
        if sample["label"] != FAKE:
            continue
        mask = np.asarray(Image.open(io.BytesIO(sample["mask_bytes"]))) > 127
        if mask.mean() <= MOST:
            picture = np.asarray(Image.open(io.BytesIO(sample["image_bytes"])).convert("RGB"))
            yield number // FAMILY, sample["method"], picture, mask


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


def lines_of(detector: Detector, picture: np.ndarray, mask: np.ndarray) -> dict[str, Line] | None:
    """Every method's line; None where the detector does not call the picture fake."""
    (face,) = detector.crop_faces(picture, whole=True)
    (score,) = detector.judge([face])
    if score.logit is None or score.logit <= detector.card.thresholds["balanced"]:
        return None
    crops = torch.from_numpy(face.crops).movedim(-1, -3).float().div(255)
    decision = Decision(detector.net, face.corners, crops.shape[-1])
    whole = decision.picture(crops).nan_to_num(UNSEEN)
    orders, where, lines = random_orders(decision, whole), torch.from_numpy(mask), {}
    for method in METHODS:
        start = time.perf_counter()
        found = measure_map(detector, decision, crops, orders, method)
        lines[method] = line(found.values, where, found.measured, time.perf_counter() - start)
    for name, control in CONTROLS.items():
        values = control(decision, whole[None])[0]
        measured = faithfulness(decision, whole, values, orders)
        likeness = survival(detector, crops[-1:], control)
        found = line(values.numpy(), where, measured, 0.0)
        found.likeness, found.marked = likeness, likeness >= 0.5
        found.holds = found.beats and not found.marked
        lines[name] = found
    return lines


def line(values: np.ndarray, mask: Tensor, measured, seconds: float) -> Line:
    found = torch.from_numpy(values)
    return Line(
        hit=pointing_game(found, mask) and not measured.empty,
        share=share_on(found, mask),
        beats=float(measured.better_than_chance),
        marked=float(measured.survives),
        likeness=np.nan if measured.survival is None else measured.survival,
        infidelity=measured.infidelity,
        holds=float(measured.holds),
        seconds=seconds,
    )


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
        "--num", type=int, default=80, help="forgeries that are looked at, called fake or not"
    )
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        checkpoint = args.checkpoint or train(Path(folder))
        detector = load(checkpoint, drawings=True)
    torch.manual_seed(0)
    family, areas, kept = [], [], []
    with progress(args.num, "explaining") as advance:
        for number, (home, _, picture, mask) in enumerate(forgeries()):
            if number == args.num:
                break
            if lines := lines_of(detector, picture, mask):
                family.append(home)
                areas.append(mask.mean())
                kept.append(lines)
            advance(1)
    family = np.array(family)
    table = Table(title=f"{len(kept)} forgeries called fake of {args.num}, {len(set(family))} families")
    columns = (
        "pointing game",
        "share on the forgery",
        "beats random orders",
        "marked: survives shuffled weights",
    )
    for name in ("map", *columns, "likeness", "infidelity", "may be read", "s a picture"):
        table.add_column(name)
    for method in kept[0]:
        found = [lines[method] for lines in kept]
        cells = [
            interval(np.array([getattr(each, name) for each in found], float), family)
            for name in ("hit", "share", "beats", "marked", "likeness", "infidelity", "holds")
        ]
        table.add_row(method, *cells, f"{np.mean([each.seconds for each in found]):.1f}")
    console = Console(width=220)
    console.print(table)
    console.print(
        f"The forgery is {interval(np.array(areas), family)} of the picture: what a map that knows nothing gets."
    )


if __name__ == "__main__":
    main()
