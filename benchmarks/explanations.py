"""Which map deserves trust: each method on forgeries whose place is known, with the measures that need no mask.

The toy set's fakes have masks. Of the central crops of its test split that are forged in part and that the
detector calls fake, each method's map is asked: does its strongest place lie on the forgery (pointing game);
which share of its positive values does, against the forgery's share of the crop; and, as `dfd explain` does
without a mask, does it beat random orders by deletion and insertion, do its values foretell more than random
maps, and does it change with the weights. Beside the methods stand the true mask, and maps that know nothing of
the net: noise, edges, and the middle of the picture. Intervals are 95% bootstraps over families.

It prints the tables of docs/results/explanations.md, as they stand there. Ctrl-C ends it early, with the tables
of the crops that were done.

    python benchmarks/explanations.py                    # trains a dual-stream detector first
    python benchmarks/explanations.py --checkpoint runs/toy/checkpoints/best.ckpt --num 40
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.cli import main as dfd
from dfd.detector import Detector, load
from dfd.explain import (
    METHODS,
    Removals,
    attribute,
    faithfulness,
    pointing_game,
    random_orders,
    removals,
    share_on,
    survival,
)
from dfd.explain.deletion import GRID, cells, places
from dfd.explain.unchanged import coarse
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
REPLACED = 8  # pictures of a class whose detail, colours or all is replaced
Maps = Callable[[nn.Module, Tensor], Tensor]  # images (B, 3, S, S) -> maps (B, S, S)


@dataclass
class Line:
    """One method's map of one crop."""

    hit: float
    share: float
    survives: float
    beaten: float
    beats: float
    infidelity: float
    foretells: float
    holds: float
    scattered_even: float
    scattered_zero: float
    seconds: float


def crops(view: View, label: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Family, central crop (S, S, 3) uint8 and its mask (S, S) bool of a class in the test split."""
    for number in range(TOY["num_images"]):
        if SPLIT.get(number // FAMILY % 10) != "test":
            continue
        sample = draw_sample(number, **TOY)
        if sample["label"] != label:
            continue
        picture = np.asarray(Image.open(io.BytesIO(sample["image_bytes"])).convert("RGB"))
        mask = np.zeros(picture.shape[:2], np.uint8)
        if label == FAKE:
            mask = np.asarray(Image.open(io.BytesIO(sample["mask_bytes"])))
        yield number // FAMILY, view.eval_crops(picture)[-1], view.eval_crops(np.uint8(mask > 127))[-1] > 0


def forgeries(view: View) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Those of the fakes that are forged in part."""
    return (each for each in crops(view, FAKE) if LEAST <= each[2].mean() <= MOST)


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


def rows_of(net: nn.Module) -> dict[str, Maps]:
    """Each row of the tables: every method, of each layer that it has a map for, then the controls."""
    rows: dict[str, Maps] = {}
    for method, kind in METHODS.items():
        layers = list(getattr(net, "cam_layers", {})) if "gradcam" in method else [None]
        # guided backpropagation ends at the pixels, so it is of the pixels' stream
        for layer in layers[:1] if method == "guided_gradcam" else layers:
            name = kind.title if layer is None else f"{kind.title}, `{layer}`"
            rows[name] = lambda net, image, method=method, layer=layer: (
                attribute(net, image, method, layer).map
            )
    rows |= {
        "the middle of the picture (control)": middle,
        "noise (control)": noise,
        "edges (control)": edges,
    }
    return rows


def scattered(net: nn.Module, image: Tensor, samples: int = 64) -> Removals:
    """As `removals`, of scattered places, as Yeh et al. and captum.metrics leave it open."""
    rng = np.random.default_rng(0)
    gone = rng.random((samples, GRID * GRID)).argsort(1) < GRID * GRID // 4
    kept = torch.from_numpy(~gone)[:, places(*image.shape[-2:])][:, None].to(image)
    with torch.no_grad():
        return Removals(gone, (net(image) - net(image * kept)).double().numpy())


def without_offset(found: Tensor, of: Removals) -> float:
    """Mean squared error of what a map foretells at its best scale, as captum.metrics with normalize=True."""
    told = of.gone @ cells(found)[0]
    scale = (told * of.falls).mean() / (told**2).mean()
    return float(((scale * told - of.falls) ** 2).mean())


def lines_of(net: nn.Module, image: Tensor, mask: Tensor) -> dict[str, Line]:
    """Every row's line for one image (1, 3, S, S) with its mask (S, S) bool."""
    orders, removed, scatter = random_orders(net, image[0]), removals(net, image[0]), scattered(net, image)
    truth: dict[str, Maps] = {"the true mask (control)": lambda net, image: mask[None].float()}
    lines = {}
    for name, explain in (truth | rows_of(net)).items():
        start = time.perf_counter()
        found = explain(net, image)
        seconds = time.perf_counter() - start
        measured = faithfulness(net, image[0], found[0], orders, removed=removed)
        if not measured.empty:
            measured = replace(measured, survival=survival(net, image, explain, found, seeds=1))
        error = without_offset(found, scatter) if not measured.empty else np.nan
        lines[name] = Line(
            hit=float(pointing_game(found[0], mask) and not measured.empty),
            share=share_on(found[0], mask),
            survives=float(measured.survives),
            beaten=measured.beaten,
            beats=float(measured.better_than_chance),
            infidelity=measured.infidelity,
            foretells=float(measured.foretells and not measured.empty),
            holds=float(measured.holds),
            scattered_even=error / scatter.falls.var(),
            scattered_zero=error / (scatter.falls**2).mean(),
            seconds=seconds,
        )
    return lines


def replaced(detector: Detector) -> list[Sequence[str]]:
    """Mean logit (standard deviation) of some fakes and reals when all of a crop is replaced."""
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "nothing": lambda crop: crop,
        "8 x 8 soft patches of colour": _soft,
        "black": np.zeros_like,
        "the mean colour": lambda crop: np.broadcast_to(crop.mean((0, 1)).astype(np.uint8), crop.shape),
        "a blur of 5 px": lambda crop: cv2.GaussianBlur(crop, (0, 0), 5),
    }
    stacks = [
        [crop for _, crop, _ in islice(found, REPLACED)]
        for found in (forgeries(detector.view), crops(detector.view, REAL))
    ]
    rows = []
    for name, change in ways.items():
        logits = [detector.logits([change(crop)[None] for crop in stack]) for stack in stacks]
        rows.append((name, *(f"{_short(np.mean(each))} ({_short(np.std(each))})" for each in logits)))
    return rows


def _soft(crop: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(crop.copy()).movedim(-1, 0)[None].float()
    return coarse(image)[0].movedim(0, -1).round().byte().numpy()


def interval(values: np.ndarray, family: np.ndarray) -> str:
    """The mean and its 95% bootstrap interval over families; without the crops that have no value."""
    known = np.isfinite(values)
    values, family = values[known], family[known]
    if not len(values):
        return "-"
    _, at = np.unique(family, return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    draw = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[draw].sum(1) / counts[draw].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{_short(values.mean())} ({_short(low)}, {_short(high)})"


def _short(value: float) -> str:
    """.25, -.25, 1.25"""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """In Markdown."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def report(kept: list[dict[str, Line]], family: np.ndarray, areas: np.ndarray) -> None:
    print(f"{len(kept)} crops of {len(set(family))} families; the forgery is {interval(areas, family)}.\n")

    def column(row: str, name: str, of: str) -> str:
        values = np.array([getattr(lines[row], name) for lines in kept], float)
        return interval(values, family) if of == "mean" else f"{values.sum():.0f} of {len(values)}"

    tables = (
        {
            "strongest place on the forgery": ("hit", "mean"),
            "share of its positive values there": ("share", "mean"),
            "nearly the same with shuffled weights": ("survives", "number"),
        },
        {
            "random orders beaten": ("beaten", "mean"),
            "beats 95% of them": ("beats", "number"),
            "infidelity": ("infidelity", "mean"),
            "foretells more than 95% of random maps": ("foretells", "number"),
            "may be read": ("holds", "number"),
        },
        {
            "scattered, no offset, of an even map's": ("scattered_even", "mean"),
            "scattered, no offset, of a zero map's": ("scattered_zero", "mean"),
            "patches, with offset": ("infidelity", "mean"),
        },
    )
    for columns in tables:
        print_table(
            ["Map", *columns], [[row, *(column(row, *what) for what in columns.values())] for row in kept[0]]
        )
    seconds = {row: np.mean([lines[row].seconds for lines in kept]) for row in kept[0]}
    print("Seconds a crop:", ", ".join(f"{row} {value:.1f}" for row, value in seconds.items()))


def train(folder: Path) -> Path:
    run = folder / "run"
    assert dfd(["fit", "--config", "dual_stream", "--run_folder", str(run)]) == 0
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
    print_table(["Replaced by", "fakes", "reals"], replaced(detector))
    torch.manual_seed(0)
    threshold, family, areas, kept = detector.card.thresholds["balanced"], [], [], []
    try:
        with progress(args.num, "explaining") as advance:
            for home, crop, mask in islice(forgeries(detector.view), args.num):
                if detector.logits([crop[None]])[0] > threshold:
                    image = torch.from_numpy(crop.copy()).movedim(-1, 0).float().div(255)[None]
                    kept.append(lines_of(detector.net, image, torch.from_numpy(mask)))
                    family.append(home)
                    areas.append(mask.mean())
                advance(1)
    except KeyboardInterrupt:
        print("Ended early.")
    assert kept, f"of {args.num} forgeries none was called fake: look at more, or train a better detector"
    report(kept, np.array(family), np.array(areas))


if __name__ == "__main__":
    main()
