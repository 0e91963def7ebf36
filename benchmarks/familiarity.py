"""What tells a strange picture: candidates for the gate, chosen by leaving one source out, and its price.

Each source in turn is strange. A cheap detector (logistic regression on frozen ImageNet features) and every
candidate gate are fitted on delivered copies of the other sources' training pictures; val gives the ranks.
Then all sources' test pictures are judged, clean and after JPEG 75. For each candidate the table has the share
accepted (rank .05 or more) of home and of the strange source, and the area under the risk-coverage curve
(AURC) over both together, as a share of that of the detector's plain confidence: accepted pictures come
first, by confidence, the others last, by rank.

    python benchmarks/familiarity.py SHARDS SHARDS ... --weights mobilenetv2_100.safetensors
"""

import argparse
import time
from collections.abc import Iterable

import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.augment import Corruption
from dfd.data import ShardDataModule
from dfd.data.collate import collate
from dfd.data.home import chosen_rows
from dfd.data.stream import ShardDataset
from dfd.familiarity import UNFAMILIAR, Familiarity, Features
from dfd.familiarity.features import block_dct
from dfd.familiarity.gaussians import Gaussians
from dfd.models import EarlyLayers, TimmBackbone
from dfd.tasks.home import learn_home

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip

DRAWS = {"train": 3, "val": 1}
NEIGHBOURS = 5
CANDIDATES = (
    ("early",), ("first",), ("dct",), ("dct mean",), ("final",), ("final kNN",), ("early", "dct"),
    ("early", "dct", "final kNN"), ("first", "dct"),
)  # fmt: skip


class Measure:
    """All that any candidate measures in a picture, by name."""

    def __init__(self, backbone: TimmBackbone):
        self.backbone, self.early = backbone, EarlyLayers.of(backbone)

    @torch.inference_mode()
    def __call__(self, image: torch.Tensor) -> dict[str, np.ndarray]:
        parts = []
        for few in image.split(8):
            normal = (few - self.backbone.mean) / self.backbone.std
            last, maps = self.backbone.model.forward_intermediates(normal, indices=[0, 1, 2])
            statistics = [torch.cat([each.mean((2, 3)), each.std((2, 3), correction=0)], 1) for each in maps]
            dct = block_dct(few)
            final = self.backbone.model.forward_head(last)
            parts.append(
                {
                    "first": torch.cat(statistics[:2], 1),  # maps 0 and 1
                    "early": torch.cat(statistics[1:], 1),  # maps 1 and 2, as `EarlyLayers` takes them
                    "dct": dct,
                    "dct mean": dct[:, :64],
                    "final": final,
                    "final kNN": final,
                }
            )
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


class Neighbours:
    """Distance to the fifth nearest training picture, by the angle between features (Sun et al., 2204.06507)."""

    def __init__(self, features: np.ndarray):
        self.known = _unit(features)

    def distance(self, features: np.ndarray) -> np.ndarray:
        alike = _unit(features) @ self.known.T
        return -np.partition(alike, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def measured(root: str, measure: Measure, num: dict[str, int]) -> dict[str, dict[str, np.ndarray]]:
    """Features of a root's pictures: "train", "val" (clean and delivered, label) and "test clean", "test JPEG
    75"; (M, F) each, with "label" (M,).
    """
    data = ShardDataModule(root, num_workers=0)
    data.setup("test")
    found = {}
    for split, draws in DRAWS.items():
        if len(data.rows(split)):
            batches = data.home(split, num[split], draws)
            found[split] = _columns(measure, ((each["image"], each["label"]) for each in batches))
    rows = chosen_rows(data.catalog, "test", num["test"])
    for name, transforms in {"test clean": [], "test JPEG 75": [Corruption("jpeg", 75)]}.items():
        dataset = ShardDataset(data.contents, data.view, transforms, 0, False)
        batches = (
            collate([dataset[0, int(row)] for row in part])
            for part in np.array_split(rows, len(rows) // 32 + 1)
        )
        found[name] = _columns(measure, ((each["image"][:, -1:], each["label"]) for each in batches))
    return found


def _columns(measure: Measure, batches: Iterable) -> dict[str, np.ndarray]:
    parts = []
    for image, label in batches:
        found = measure(image.flatten(0, 1).movedim(-1, 1).float() / 255)
        parts.append({**found, "label": label.repeat_interleave(image.shape[1]).numpy()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def gate(
    candidate: tuple[str, ...], home: list[dict[str, dict[str, np.ndarray]]]
) -> "tuple[callable, np.ndarray]":
    """Features -> distance, and the distances of home's val pictures, sorted."""
    parts = {}
    source = np.concatenate([np.full(len(each["train"]["label"]), str(n)) for n, each in enumerate(home)])
    for name in candidate:
        known = np.concatenate([each["train"][name] for each in home])
        fitted = Neighbours(known) if name == "final kNN" else Gaussians.fit(known, source)
        at_home = fitted.distance(np.concatenate([each["val"][name] for each in home]))
        parts[name] = fitted, at_home.mean(), at_home.std()

    def distance(features: dict[str, np.ndarray]) -> np.ndarray:
        return np.max(
            [(fit.distance(features[n]) - mean) / std for n, (fit, mean, std) in parts.items()], axis=0
        )

    return distance, np.sort(np.concatenate([distance(each["val"]) for each in home]))


def detector(home: list[dict[str, dict[str, np.ndarray]]]) -> "callable":
    """Features -> logits, of a logistic regression on frozen features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.concatenate([each["train"]["final"] for each in home])
    label = np.concatenate([each["train"]["label"] for each in home])
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)).fit(known, label)
    return lambda features: fitted.decision_function(features["final"])


def aurc(order: np.ndarray, wrong: np.ndarray) -> float:
    """Mean error rate over all coverages, the pictures taken by falling `order` (Geifman et al., 1805.08206)."""
    wrong = wrong[np.argsort(-order, kind="stable")]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def choose(roots: list[str], weights: str, name: str, num: dict[str, int], console: Console) -> None:
    measure = Measure(TimmBackbone(name, pretrained=weights).eval())
    found = {root.rstrip("/").rpartition("/")[2]: measured(root, measure, num) for root in roots}
    homes = [root for root, parts in found.items() if {"train", "val"} <= parts.keys()]
    page = Table("gate", *(f"without {root}" for root in homes), "mean of AURC")
    rows: dict[tuple[str, ...], list[str]] = {candidate: [] for candidate in CANDIDATES}
    ratios: dict[tuple[str, ...], list[float]] = {candidate: [] for candidate in CANDIDATES}
    for left in homes:
        home = [found[root] for root in homes if root != left]
        judge = detector(home)
        for candidate in CANDIDATES:
            distance, known = gate(candidate, home)
            rank, order, wrong, shares = [], [], [], []
            for condition in ("test clean", "test JPEG 75"):
                for part in (*home, found[left]):
                    features = part[condition]
                    logit = judge(features)
                    familiar = 1 - np.searchsorted(known, distance(features)) / len(known)
                    rank.append(familiar)
                    order.append(np.abs(logit))
                    wrong.append((logit > 0) != features["label"])
                shares.append((np.concatenate(rank[-len(home) - 1 : -1]) >= UNFAMILIAR).mean())
                shares.append((rank[-1] >= UNFAMILIAR).mean())
            rank, order, wrong = map(np.concatenate, (rank, order, wrong))
            spoken = rank >= UNFAMILIAR
            gated = np.where(spoken, 1 + order, rank - 1)
            ratio = aurc(gated, wrong) / aurc(order, wrong)
            ratios[candidate].append(ratio)
            rows[candidate].append(
                f"home {shares[0]:.2f} {shares[2]:.2f}, strange {shares[1]:.2f} {shares[3]:.2f}, AURC {ratio:.2f}"
            )
    for candidate, cells in rows.items():
        page.add_row(" + ".join(candidate), *cells, f"{np.mean(ratios[candidate]):.3f}")
    console.print("accepted clean and after JPEG 75; AURC as a share of plain confidence's", page)


def price(root: str, weights: str, name: str, console: Console) -> None:
    """Seconds to fit, bytes in a checkpoint, and milliseconds of one core for a picture."""
    data = ShardDataModule(root, num_workers=0)
    data.setup("fit")
    features = Features(EarlyLayers.of(TimmBackbone(name, pretrained=weights)))
    began = time.process_time()
    fitted = learn_home(features, data, torch.device("cpu"))
    seconds = time.process_time() - began
    assert isinstance(fitted, Familiarity)
    size = sum(value.numel() * value.element_size() for value in fitted.state()["tensors"].values())
    image = torch.rand(64, 3, 128, 128)
    fitted.distance(image)
    began = time.process_time()
    fitted.distance(image)
    each = (time.process_time() - began) / len(image) * 1e3
    console.print(
        f"fitted in {seconds:.1f} s of CPU, {size / 1e6:.2f} MB in a checkpoint, {each:.1f} ms a picture"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roots", nargs="+", help="shards of dfd prepare, a source each")
    parser.add_argument("--weights", required=True, help="file with the backbone's pretrained weights")
    parser.add_argument("--backbone", default="mobilenetv2_100", help="timm's name of it")
    parser.add_argument("--pictures", type=int, default=240, help="of each root's train, val and test split")
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=220)
    num = dict.fromkeys(("train", "val", "test"), args.pictures)
    choose(args.roots, args.weights, args.backbone, num, console)
    price(args.roots[0], args.weights, args.backbone, console)


if __name__ == "__main__":
    main()
