"""How far a detector that knows its home may be believed elsewhere: test pictures of its own and of strange
sources, clean and after JPEG 75 of both classes.

The share that the gate accepts one by one and in random folders of 20; then over all sources together the
calibration error (ECE) of what is spoken, and the area under the risk-coverage curve (AURC) as a share of
that of plain confidence, |log odds| alone: accepted pictures come first, by confidence, the others last, by
rank. A checkpoint without familiarity gets the one that its fit would have learnt, from the backbone's
pretrained weights and the home's training and validation pictures.

    python benchmarks/familiarity_targets.py best.ckpt --home 140k --strange dagnelies manjilkarki casia
        --weights mobilenetv2_100.safetensors
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.augment import Corruption
from dfd.batch import Predictions
from dfd.calibration import UNFAMILIAR
from dfd.data import ShardDataModule
from dfd.detector import Detector, load_net
from dfd.evaluate.judging import judge
from dfd.familiarity import Familiarity, Features
from dfd.familiarity.alarm import FOLDER, strange_sources, table_verdicts
from dfd.metrics import detection_metrics
from dfd.models import EarlyLayers, TimmBackbone
from dfd.tasks.home import learn_home
from dfd.weighing import weighed

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip

CONDITIONS = {"clean": [], "JPEG 75": [Corruption("jpeg", 75)]}
FOLDERS = 200  # random ones of each source
SILENT = ("unfamiliar", "inconclusive")


def detector_of(checkpoint: Path, home: str, weights: str, backbone: str) -> Detector:
    net, card = load_net(checkpoint)
    if card.familiarity is None:
        data = ShardDataModule(home, view=card.made_view(str(checkpoint)), num_workers=0)
        data.setup("fit")
        features = Features(EarlyLayers.of(TimmBackbone(backbone, pretrained=weights)))
        gate = learn_home(features, data, torch.device("cpu"))
        assert gate is not None, "home has too few pictures"
        card = replace(card, familiarity=gate.state())
    return Detector(net, card)


def judged(detector: Detector, root: str, transforms: list) -> Predictions:
    """The test pictures of a root that could be judged; its name is their source."""
    data = ShardDataModule(root, view=detector.view, corruption=transforms, num_workers=0)
    data.setup("test")
    (found,) = judge([detector], data.test_dataloader(), data.rows("test"), data, lambda number: None)
    known = found.predictions.judged
    return replace(known, source=np.full(len(known), name_of(root)))


def name_of(root: str) -> str:
    return root.rstrip("/").rpartition("/")[2]


def in_folders(gate: Familiarity, rank: np.ndarray) -> float:
    """Share of the pictures that are accepted in random folders of FOLDER."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(FOLDERS):
        folder = rank[rng.choice(len(rank), min(FOLDER, len(rank)), replace=False)]
        raised = strange_sources(gate, folder, np.full(len(folder), "folder"))
        shares.append(0.0 if raised else float((folder >= UNFAMILIAR).mean()))
    return float(np.mean(shares))


def aurc(order: np.ndarray, wrong: np.ndarray) -> float:
    """Mean error rate over all coverages, the pictures taken by falling `order` (Geifman et al., 1805.08206)."""
    wrong = wrong[np.argsort(-order, kind="stable")]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def pooled(detector: Detector, parts: list[Predictions], console: Console) -> None:
    """ECE and AURC over all sources together: as the net says it, refused by the gate, weighed by familiarity
    too, and with the folder alarm.
    """
    card, names = detector.card, Predictions.__dataclass_fields__
    together = Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    balanced = card.thresholds["balanced"]
    wrong = (together.logit > balanced) != together.label
    whole = replace(together, familiarity=np.full(len(together), np.nan))

    def sure(table: Predictions) -> np.ndarray:
        counted = card.calibration(weighed(table.logit, table.familiarity, balanced))
        return np.abs(counted - card.calibration(np.array([balanced])))

    def ece(table: Predictions, rows: np.ndarray) -> float:
        return detection_metrics(table.where(rows), card.calibration, balanced)["ece"]

    plain = aurc(sure(whole), wrong)
    everything = np.ones(len(together), bool)
    console.print(
        f"all {len(together)} pictures, no gate: ECE {ece(whole, everything):.3f}, AURC {plain:.3f}"
    )
    for what, table, gate in (
        ("refused one by one", whole, None),
        ("and weighed", together, None),
        ("and with the folder alarm", together, detector.gate),
    ):
        # where nothing is weighed, familiar is familiar
        strange = together.familiarity < UNFAMILIAR
        rank = together.familiarity if table is together else np.where(strange, 0.0, 1.0)
        verdict, _ = table_verdicts(together.logit, rank, together.source, card.thresholds, gate)
        familiar, spoken = verdict != "unfamiliar", ~np.isin(verdict, SILENT)
        order = np.where(familiar, 1 + sure(table), together.familiarity - 2)
        console.print(
            f"{what}: {familiar.sum()} familiar, ECE {ece(table, familiar):.3f}; {spoken.sum()} spoken, ECE "
            f"{ece(table, spoken):.3f}, errors {wrong[spoken].mean():.3f}; AURC {aurc(order, wrong) / plain:.2f} "
            "of plain confidence's"
        )
        for name in np.unique(together.source):
            here = together.source == name
            said = f"{(spoken & here).sum()} of {here.sum()} spoken"
            console.print(f"    {name}: {said}, {(wrong & spoken & here).sum()} wrong")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--home", required=True, help="shards that trained it")
    parser.add_argument("--strange", nargs="+", required=True, help="shards that it has not seen")
    parser.add_argument("--weights", help="file with the backbone's pretrained weights")
    parser.add_argument("--backbone", default="mobilenetv2_100", help="timm's name of it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    detector = detector_of(args.checkpoint, args.home, args.weights, args.backbone)
    for condition, transforms in CONDITIONS.items():
        parts = [judged(detector, root, transforms) for root in (args.home, *args.strange)]
        page = Table("source", "images", "AUROC", "accepted", f"in folders of {FOLDER}", title=condition)
        for part in parts:
            rank = part.familiarity
            auroc = detection_metrics(part)["auroc"]
            accepted = f"{(rank >= UNFAMILIAR).mean():.3f}"
            page.add_row(
                part.source[0],
                str(len(part)),
                f"{auroc:.3f}",
                accepted,
                f"{in_folders(detector.gate, rank):.3f}",
            )
        console.print(page)
        pooled(detector, parts, console)


if __name__ == "__main__":
    main()
