"""Adversarial training of photographs at an equal budget: plain, PGD mixed, single steps and TRADES.

A single-stream mobilenetv2 begins with ImageNet weights, or with a detector that `dfd fit` trained. Each method
trains by `dfd fit` with the same number of forward and backward passes a training picture, so that attacks
are paid for with epochs; the last weights are judged, chosen by nothing. `dfd evaluate` then attacks test
pictures of home (PGD-20, APGD-CE and Square of the Adversarial Robustness Toolbox), and judges the other
sources as found. Prints the tables of docs/results/adversarial.md. What is done is not done again: killed,
the same command goes on.

    python benchmarks/adversarial.py shards --start 140k-{seed}.ckpt --out from-detectors
    python benchmarks/adversarial.py shards --weights mobilenetv2_100.safetensors --passes 20 --out from-imagenet
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfd.batch import FAKE
from dfd.evaluate.conditions import load_conditions
from dfd.evaluate.prediction_file import read_predictions

ATTACKS = ("pgd20", "apgd", "square")
EPS = (1, 2, 4)  # in 255ths
STEPS = 3  # of PGD in training
RESAMPLES = 2000
LOOK = 1 / 3  # a forward pass alone, as a share of forward and backward
Line = dict[str, str]


@dataclass(frozen=True)
class Method:
    """Options of `dfd fit`, and what it costs: forward and backward passes a picture and epoch."""

    options: tuple[str, ...]
    passes: float


def methods(eps: float, trades: float) -> dict[str, Method]:
    warmup = "--model.eps_warmup=.3"
    pgd = (
        f"--model.attack={{class_path: dfd.augment.PGD, init_args: {{eps: {eps}, steps: {STEPS}}}}}",
        warmup,
    )
    fast = (f"--model.attack={{class_path: dfd.augment.FastFGSM, init_args: {{eps: {eps}}}}}", warmup)
    return {
        "plain": Method((), 1),
        "fast": Method(fast, 1 + 0.5),
        "pgd": Method(pgd, 1 + 0.5 * STEPS),
        "trades": Method((*pgd, f"--model.trades={trades}"), 1 + 0.5 * (LOOK + STEPS + 1)),
    }


def recipe(method: str, epochs: int, args: argparse.Namespace) -> str:
    """What all methods share, as an overlay."""
    task = "ClassificationTask" if method == "plain" else "AdversarialTask"
    backbone = ""
    if args.weights:
        backbone = f"backbone: {{init_args: {{pretrained: {args.weights.resolve()}}}}}"
    return f"""# last weights: nothing is chosen on val
model:
  class_path: dfd.tasks.{task}
  init_args:
    net: {{init_args: {{{backbone}}}}}
    optimizer: {{init_args: {{lr: {args.lr}}}}}
data:
  init_args:
    num_workers: 0
    view: {{size: {args.size}, crops: 1, longest: 256}}
trainer:
  enable_progress_bar: false
  max_epochs: {epochs}
  check_val_every_n_epoch: {epochs}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {{filename: last, enable_version_counter: false}}
    - class_path: dfd.callbacks.AttackStats
      init_args:
        num_images: 64
        attack: {{class_path: dfd.augment.PGD, init_args: {{eps: {args.eps}, steps: 10}}}}
    - class_path: dfd.callbacks.MaskingStats
      init_args: {{eps: {args.eps}, num_images: 32}}
"""


def run(*words: object) -> None:
    print("$ dfd", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dfd.cli", *map(str, words)], check=True)


def fit(name: str, method: Method, seed: int, args: argparse.Namespace) -> Path:
    """The checkpoint of a method and seed, trained unless it is there."""
    folder, overlay = args.out / "fits" / f"{name}-{seed}", args.out / f"{name}.yaml"
    overlay.write_text(recipe(name, epochs(method, args), args))
    if not (folder / "done").is_file():
        start = [f"--model.init_from={str(args.start).format(seed=seed)}"] if args.start else []
        few = ["--trainer.limit_train_batches", args.batches] if args.batches else []
        run(
            *("fit", "--config", "single_stream", "--data", "data/140k.yaml", "--config", "overlay/cpu"),
            *("--config", overlay, f"--data.roots={args.shards / args.home}", *method.options, *start, *few),
            *("--seed_everything", seed, "--data.seed", seed, "--run_folder", folder),
        )
        (folder / "done").touch()
    return folder / "checkpoints/last.ckpt"


def epochs(method: Method, args: argparse.Namespace) -> int:
    return max(1, round(args.passes / method.passes))


def conditions(images: int) -> str:
    shared = f"eps: {list(EPS)}, images: {images}"
    return f"""conditions:
  - {{name: pgd20, attack: pgd, steps: 20, {shared}}}
  - {{name: apgd, attack: apgd, steps: 20, {shared}}}
  - {{name: square, attack: square, steps: 200, {shared}}}
"""


def right(cell: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M,) of a prediction file, and whether each was judged right by the detector's own threshold."""
    predictions, _, _, facts = read_predictions(cell)
    judged = predictions.judged
    fake = judged.logit > facts["thresholds"]["balanced"]
    return judged.row, fake == (judged.label == FAKE)


def withstood(folder: Path, seeds: Sequence[int], name: str, root: str, eps: float, file: Path) -> np.ndarray:
    """(seeds, M) whether pictures are judged right whichever attack of this budget changed them; of eps 0,
    those same pictures as found.
    """
    titles = [
        each.title for each in load_conditions(file) if each.attack and each.attack.eps == (eps or EPS[0])
    ]
    found = []
    for seed in seeds:
        cells = folder / "cells" / f"{name}-{seed}" / root
        rows, each = right(cells / f"{titles[0]}.parquet")
        for title in titles[1:]:
            others, also = right(cells / f"{title}.parquet")
            assert np.array_equal(rows, others), "all attacks of a root take the same pictures"
            each = each & also
        if not eps:
            everywhere, clean = right(cells / "clean.parquet")
            each = clean[np.isin(everywhere, rows)]
        found.append(each)
    return np.array(found)


def drawn(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of (seeds, M) over all, and its 95% bootstrap interval over pictures."""
    mean = values.mean(0, dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(mean), size=(RESAMPLES, len(mean)))
    low, high = np.quantile(mean[picks].mean(1), [0.025, 0.975])
    if np.ptp(mean) == 0:  # no resample differs: the exact bound of M equal ones (Clopper and Pearson 1934)
        rest = 1 - 0.025 ** (1 / len(mean))
        low, high = max(values.min() - rest, -1 if values.dtype == float else 0), min(1, values.max() + rest)
    return float(mean.mean()), float(low), float(high)


def with_interval(values: np.ndarray) -> str:
    return "{:.3f} ({:.3f}, {:.3f})".format(*drawn(values))


def read(path: Path) -> list[Line]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def mean_of(
    lines: list[Line], name: str, root: str, metric: str, condition: str = "clean", eps: str = ""
) -> str:
    """Mean over seeds of a metric of a detector, with the mean of its intervals."""
    found = [
        line
        for line in lines
        if line["detector"].rpartition("-")[0] == name
        and (line["root"], line["condition"], line["part"], line["kind"]) == (root, condition, "all", "image")
        and (not eps or float(line["severity"]) == float(eps))
    ]
    means = [np.mean([float(line[f"{metric}{end}"]) for line in found]) for end in ("", "_low", "_high")]
    return "{:.3f} ({:.3f}, {:.3f})".format(*means)


def show(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(row), "|")


def tables(known: dict[str, Method], seeds: Sequence[int], args: argparse.Namespace) -> None:
    file, attacked = args.out / "attacks.yaml", args.out / "attacked"
    lines = read(attacked / "metrics.csv") + read(args.out / "abroad/metrics.csv")
    survived = {
        (name, eps): withstood(attacked, seeds, name, args.home, eps, file)
        for name in known
        for eps in (0, *EPS)
    }
    num = survived["plain", 0].shape[1]
    print(
        f"\nAccuracy on {num} test pictures of {args.home}, right under all of PGD-20, APGD-CE and Square\n"
    )
    show(
        ("method", "epochs", "clean", *(f"{eps}/255" for eps in EPS)),
        (
            (
                name,
                str(epochs(method, args)),
                *(with_interval(survived[name, eps]) for eps in (0, *EPS)),
            )
            for name, method in known.items()
        ),
    )
    print("\nThe same less plain's, picture by picture\n")
    show(
        ("method", "clean", *(f"{eps}/255" for eps in EPS)),
        (
            (
                name,
                *(
                    with_interval(survived[name, eps].astype(float) - survived["plain", eps])
                    for eps in (0, *EPS)
                ),
            )
            for name in known
            if name != "plain"
        ),
    )
    for eps in EPS:
        print(f"\nEach attack at {eps}/255, accuracy\n")
        show(
            ("method", *ATTACKS),
            (
                (name, *(mean_of(lines, name, args.home, "acc", attack, str(eps)) for attack in ATTACKS))
                for name in known
            ),
        )
    roots = (args.home, *args.other)
    print("\nAUROC on clean test pictures: at home, and on sources that nothing was trained on\n")
    show(
        ("method", *roots),
        ((name, *(mean_of(lines, name, root, "auroc") for root in roots)) for name in known),
    )
    masked = sorted(
        {
            f"{line['detector']} {line['condition']} {line['severity']}"
            for line in lines
            if "masked" in line["flags"]
        }
    )
    print("\nSigns of masked gradients:", "; ".join(masked) or "none")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, help="folder of finished shards, one folder a source")
    parser.add_argument("--home", default="140k", help="source that all methods train on")
    parser.add_argument("--other", nargs="*", default=["dagnelies", "manjilkarki"])
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument(
        "--start", type=Path, help="checkpoint that all methods begin with; {seed} is the seed"
    )
    begin.add_argument("--weights", type=Path, help="ImageNet weights of mobilenetv2_100 to begin with")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--size", type=int, default=96, help="pixels of a crop, the only one of a picture")
    parser.add_argument("--passes", type=float, default=8, help="forward and backward, a training picture")
    parser.add_argument("--batches", type=int, help="of an epoch at most, for a quick look")
    parser.add_argument("--eps", type=float, default=1, help="of the training, in 255ths")
    parser.add_argument("--trades", type=float, default=6)
    parser.add_argument("--images", type=int, default=60, help="test pictures that are attacked")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=("plain", "fast", "pgd", "trades"), help="these methods")
    parser.add_argument("--out", type=Path, default=Path("adversarial"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    known = {
        name: method
        for name, method in methods(args.eps, args.trades).items()
        if name == "plain" or not args.only or name in args.only
    }
    seeds = range(args.seeds)
    best = [
        f"{name}-{seed}={fit(name, method, seed, args)}" for seed in seeds for name, method in known.items()
    ]
    (args.out / "attacks.yaml").write_text(conditions(args.images))
    workers = ("--workers", 0)
    attacked = ("--conditions", args.out / "attacks.yaml", "--out", args.out / "attacked")
    run("evaluate", *best, "--on", args.shards / args.home, *attacked, *workers)
    on = [word for root in args.other for word in ("--on", args.shards / root)]
    run("evaluate", *best, *on, "--out", args.out / "abroad", *workers)
    tables(known, seeds, args)


if __name__ == "__main__":
    main()
