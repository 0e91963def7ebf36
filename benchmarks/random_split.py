"""What the random split that most papers use leaks, beside the split by families, and what that does to a
score.

First 80/10/10 deals of the same pictures, at random and by families: how much of test is known from train.
Then a cheap detector, features of a pretrained net under a small classifier, in 5-fold cross-validation with
folds dealt either way: the same pictures, as many of them in training. The nearest neighbour shows what
remembering alone would do. The folds are dealt anew in each repeat; the interval of the difference is a
paired bootstrap over families, beside the lowest and highest repeat.

A relative of the other class misleads a detector that remembers, so leaks flatter only where relatives share
their class.

    python benchmarks/random_split.py shards/dagnelies --weights mobilenetv2_100.safetensors
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from dfd.audit.shortcuts import FOLDS, deal
from dfd.batch import FAKE, REAL, Predictions
from dfd.media.decode import decode
from dfd.metrics import detection_metrics, paired
from dfd.models import TimmBackbone
from dfd.shards.duplicates import KINDS, find_leaks, hashes, near_pairs
from dfd.shards.splits import SPLITS
from dfd.shards.table import load_table, read_bytes

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip

UPPER = (0.8, 0.9)  # draws below are train, val; test is the rest
BATCH = 32


def split_of(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The split (M,) of each picture, 80/10/10; pictures of one unit stay together."""
    names, place = np.unique(units, return_inverse=True)
    return np.array(SPLITS)[np.searchsorted(UPPER, rng.random(len(names)), side="right")][place]


def leaked(table: pa.Table, near: np.ndarray, split: np.ndarray) -> tuple[float, int, int]:
    """Share of the test pictures with a relative in train; groups, and near duplicates, that lie in several
    splits.
    """
    family = np.array(table["family"].to_pylist())
    known = np.isin(family[split == "test"], family[split == "train"]).mean()
    counts = find_leaks(
        table.set_column(table.schema.get_field_index("split"), "split", pa.array(split)), near
    ).counts
    return float(known), counts[KINDS[1]], counts[KINDS[2]]


@torch.inference_mode()
def features(root: Path, table: pa.Table, net: torch.nn.Module, side: int) -> np.ndarray:
    """(M, F) float32 of the pictures' central squares, resized to `side`."""
    found = []
    for batch in table.to_batches(max_chunksize=BATCH):
        images = []
        for line in batch.to_pylist():
            image = decode(read_bytes(root, line))
            edge = min(image.shape[:2])
            top, left = ((length - edge) // 2 for length in image.shape[:2])
            images.append(
                cv2.resize(
                    image[top : top + edge, left : left + edge], (side, side), interpolation=cv2.INTER_AREA
                )
            )
        found.append(net(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255).numpy())
    return np.concatenate(found)


def logistic(known: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Logits (A,) by logistic regression on the 64 strongest components."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    components = PCA(min(64, *known.shape), svd_solver="randomized", random_state=0)
    return (
        make_pipeline(StandardScaler(), components, LogisticRegression(C=0.1))
        .fit(known, label)
        .decision_function(asked)
    )


def neighbour(known: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Cosine of each asked picture with its nearest fake, less that with its nearest real (A,)."""
    known, asked = ((each - known.mean(0)) / known.std(0).clip(1e-6) for each in (known, asked))
    known, asked = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (known, asked))
    alike = asked @ known.T
    return alike[:, label == FAKE].max(axis=1) - alike[:, label == REAL].max(axis=1)


def judged(
    ask: Callable, vectors: np.ndarray, label: np.ndarray, family: np.ndarray, fold: np.ndarray
) -> Predictions:
    """Each picture judged by a classifier that learnt from the other folds."""
    logit = np.zeros(len(label))
    for number in range(FOLDS):
        test = fold == number
        logit[test] = ask(vectors[~test], label[~test], vectors[test])
    return Predictions.of(np.arange(len(label)), logit, label.astype(np.int64), {"family": family})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="shards of dfd prepare")
    parser.add_argument("--weights", required=True, help="file with the backbone's pretrained weights")
    parser.add_argument("--backbone", default="mobilenetv2_100", help="timm's name of it")
    parser.add_argument("--side", type=int, default=224, help="of the pictures that it sees")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()

    table = load_table(args.root)
    family, label = np.array(table["family"].to_pylist()), table["label"].to_numpy()
    _, place, size = np.unique(family, return_inverse=True, return_counts=True)
    fakes = np.bincount(place, label)
    related = size[place] > 1
    same = np.where(label == FAKE, fakes[place], (size - fakes)[place]) > 1
    units = {"random": np.arange(len(table)).astype(str), "by family": family}
    console = Console(width=124)
    console.print(
        f"{len(table)} pictures in {len(size)} families; {related.sum()} have relatives, {same.sum()} one of "
        "their own class"
    )
    near, page = (
        near_pairs(hashes(table)),
        Table("split", "test pictures with family in train", "groups", "near duplicates"),
    )
    for name, kept in units.items():
        deals = [
            leaked(table, near, split_of(kept, np.random.default_rng(seed))) for seed in range(args.repeats)
        ]
        known, groups, pairs = np.array(deals).T
        page.add_row(name, spread(known, ".1%"), spread(groups, ".0f"), spread(pairs, ".0f"))
    console.print(
        f"{args.repeats} deals 80/10/10; groups and near duplicates across splits; mean (lowest to highest)",
        page,
    )

    net = TimmBackbone(args.backbone, pretrained=args.weights).eval()
    vectors = features(args.root, table, net, args.side)
    page = Table("detector", "judged on", "random", "by family", "random minus by family", "repeats")
    for name, ask in {"logistic regression": logistic, "nearest neighbour": neighbour}.items():
        sides = [
            [
                judged(ask, vectors, label, family, deal(label, kept, np.random.default_rng(n)))
                for n in range(args.repeats)
            ]
            for kept in units.values()
        ]
        for what, rows in {
            "all pictures": np.ones(len(label), bool),
            "those with relatives": related,
        }.items():
            if len(set(label[rows])) == 2:
                page.add_row(
                    name,
                    what,
                    *compared(*([predictions.where(rows) for predictions in side] for side in sides)),
                )
    console.print(f"AUROC in {args.repeats} repeats of {FOLDS} folds", page)


def compared(random: list[Predictions], grouped: list[Predictions]) -> tuple[str, ...]:
    """Mean AUROC of either side, the difference with its 95% interval over families, and its spread over
    repeats.
    """
    scores = np.array(
        [[detection_metrics(predictions)["auroc"] for predictions in side] for side in (random, grouped)]
    )
    difference = paired(random, grouped)
    interval = f"{difference.value:+.3f} ({difference.low:+.3f}, {difference.high:+.3f})"
    return (*(f"{mean:.3f}" for mean in scores.mean(axis=1)), interval, spread(scores[0] - scores[1], "+.3f"))


def spread(values: np.ndarray, how: str) -> str:
    return f"{values.mean():{how}} ({values.min():{how}} to {values.max():{how}})"


if __name__ == "__main__":
    main()
