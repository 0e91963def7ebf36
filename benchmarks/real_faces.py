"""Detectors side by side on one split of prepared shards, clean and after the same deliveries, with paired
intervals.

Each side of the comparison is a name and its seeds: checkpoints of `dfd fit` (.ckpt) or of `bare_loop.py`
(.pt). Every side sees the same pixels, cut as its checkpoint says, or as its name does: name@256x1 is judged
on one crop of 256 px.

    python benchmarks/real_faces.py shards/140k --split test --side dual=a.ckpt,b.ckpt --side
    bare=bare0.pt,bare1.pt python benchmarks/real_faces.py shards/140k --split val --side five@128x5=a.ckpt
    --side whole@256x1=a.ckpt
"""

import argparse
from dataclasses import replace

import bare_loop
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from dfd.augment import Corruption
from dfd.batch import Predictions
from dfd.data import ShardDataModule, View
from dfd.detector import load_net
from dfd.malloc import keep_pages
from dfd.metrics import Calibrated, detection_metrics, interval, paired, uncalibrated

CONDITIONS = {
    "clean": None,
    "JPEG 75": ("jpeg", 75),
    "JPEG 50": ("jpeg", 50),
    "half and back": ("half", None),
    "224 px + JPEG 75": ("delivery", None),
}


def load(path: str, cut: str) -> tuple[torch.nn.Module, View, Calibrated, float]:
    """Net, view, calibration and threshold of a checkpoint of either kind; a `cut` such as "256x1" replaces
    its own.
    """
    if path.endswith(".ckpt"):
        net, card = load_net(path)
        view, calibration, threshold = (
            View(**card.view),
            card.calibration,
            card.thresholds["balanced"],
        )
    else:
        bare = bare_loop.Bare(None)
        bare.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        net, view, calibration, threshold = (
            _Images(bare.eval()),
            View(size=bare_loop.SIZE, crops=5, longest=256),
            uncalibrated,
            0.0,
        )
    if cut:
        size, crops = map(int, cut.split("x"))
        view = replace(view, size=size, crops=crops)
    return net, view, calibration, threshold


class _Images(torch.nn.Module):
    """The bare net takes lists of arrays; here it takes what every net takes."""

    def __init__(self, bare: "bare_loop.Bare"):
        super().__init__()
        self.bare = bare

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.bare.net((image - self.bare.mean) / self.bare.std).squeeze(1)


@torch.inference_mode()
def eval_crops(
    nets: list[torch.nn.Module], view: View, root: str, split: str, condition: tuple | None
) -> list[Predictions]:
    """One verdict table a net, from pixels read once."""
    data = ShardDataModule(
        root, view=view, corruption=Corruption(*condition) if condition else None, num_workers=0
    )
    data.setup({"val": "validate", "test": "test"}[split])
    rows, logits, labels = [], [[] for _ in nets], []
    for batch in data.val_dataloader() if split == "val" else data.test_dataloader():
        image = data.on_after_batch_transfer(batch, 0)["image"]
        for net, logit in zip(nets, logits, strict=True):
            logit.append(net(image.flatten(0, 1)).view(image.shape[:2]).mean(1).double().numpy())
        rows.append(batch["row"].numpy())
        labels.append(batch["label"].numpy())
    row, label = np.concatenate(rows), np.concatenate(labels)
    data.check_ledger(split, row)
    facts = data.describe(row)
    return [Predictions.of(row, np.concatenate(logit), label, facts) for logit in logits]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument(
        "--side",
        action="append",
        required=True,
        help="name[@SIZExCROPS]=checkpoint,checkpoint,... ; the first is compared with each other one",
    )
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    args = parser.parse_args()
    keep_pages()
    sides = {
        name: [load(path, name.partition("@")[2]) for path in paths.split(",")]
        for name, paths in (side.split("=", 1) for side in args.side)
    }
    views = {net[1] for nets in sides.values() for net in nets}
    tables: dict[str, dict[str, list[Predictions]]] = {name: {} for name in sides}
    for condition in args.conditions.split(","):
        for view in views:
            chosen = [
                (name, net) for name, nets in sides.items() for net, its_view, *_ in nets if its_view == view
            ]
            judged = eval_crops(
                [net for _, net in chosen], view, args.root, args.split, CONDITIONS[condition]
            )
            for (name, _), predictions in zip(chosen, judged, strict=True):
                tables[name].setdefault(condition, []).append(predictions)

    console = Console(width=160)
    some = next(iter(next(iter(tables.values())).values()))[0]
    console.print(
        f"{args.root}, {args.split}: {len(some)} images, {some.num_families} groups; means over the seeds"
    )
    figures = Table("AUROC [95% interval]", "seeds", *args.conditions.split(","))
    certainty = Table("accuracy / ECE", "seeds", *args.conditions.split(","))
    for name, by_condition in tables.items():
        ranks, sure = [], []
        for seeds in by_condition.values():
            low, high = np.mean([interval(seed) for seed in seeds], axis=0)
            ranks.append(
                f"{np.mean([detection_metrics(seed)['auroc'] for seed in seeds]):.4f} [{low:.3f}, {high:.3f}]"
            )
            found = [
                detection_metrics(seed, net[2], net[3]) for seed, net in zip(seeds, sides[name], strict=True)
            ]
            sure.append(
                " / ".join(f"{np.mean([metrics[key] for metrics in found]):.3f}" for key in ("acc", "ece"))
            )
        figures.add_row(name, str(len(sides[name])), *ranks)
        certainty.add_row(name, str(len(sides[name])), *sure)
    console.print(figures, certainty)
    first, *others = tables
    for other in others:
        for condition in tables[first]:
            gap = paired(tables[first][condition], tables[other][condition])
            console.print(
                f"{first} - {other}, {condition}: {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], p = "
                f"{gap.p:.3f}"
            )


if __name__ == "__main__":
    main()
