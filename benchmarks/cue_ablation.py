"""What forensic cues add to pixels: the same backbone and budget with cues and without, with several seeds, on
test pictures of home and of other sources.

`dfd fit` trains both; a net with cues is judged as it is, with the metadata of every file stripped
(`dfd.models.cues.STRIPPED`), and by its pixels alone. Prints the mean AUROC of the seeds with the mean of their
intervals over families, and so the paired difference from the net without cues on the same pictures. What is done is not done again.

    python benchmarks/cue_ablation.py shards/140k --on shards/dagnelies --weights mobilenetv2_100.safetensors --out cues

The roots need cues (`dfd cues SHARDS`), which describe files as found: pictures are judged as found too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dfd.batch import Predictions
from dfd.calibration.ensemble import auroc
from dfd.evaluate.grid import Options, named_detector
from dfd.evaluate.members import member_table
from dfd.evaluate.names import root_name
from dfd.evaluate.plan import NamedDetector
from dfd.metrics import interval, paired

CONFIGS = {"pixels": "single_stream", "cues": "cue_fusion"}


class Read(nn.Module):
    """A net with cues that is shown fewer of them.

    Args:
        how: "stripped", with the metadata's cues as of a file without metadata, or "alone", by pixels alone.
    """

    def __init__(self, net: nn.Module, how: str):
        super().__init__()
        self.net, self.how = net, how
        self.cue_names, self.cue_version = net.cue_names, net.cue_version

    def forward(self, image: torch.Tensor, cues: torch.Tensor | None = None) -> torch.Tensor:
        return self.net(image) if self.how == "alone" else self.net(image, cues * self.net.kept)


def train(kind: str, seed: int, args: argparse.Namespace) -> Path:
    folder = args.out / f"{kind}-{seed}"
    if not (folder / "summary.yaml").is_file():
        command = [
            sys.executable, "-m", "dfd.cli", "fit", "--config", CONFIGS[kind], "--config", "overlay/cpu",
            "--data", "data/140k.yaml", f"--data.roots={args.root}", f"--seed_everything={seed}", f"--data.seed={seed}",
            "--data.num_workers=0", f"--trainer.max_epochs={args.epochs}", "--trainer.enable_progress_bar=false",
            "--model.optimizer.lr=5e-4", f"--model.net.backbone.pretrained={args.weights.resolve()}",
            "--run_folder", str(folder),
        ]  # fmt: skip
        with open(f"{folder}.log", "w", encoding="utf-8") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return folder / "checkpoints" / "best.ckpt"


def shown_less(member: NamedDetector, how: str) -> NamedDetector:
    again = named_detector(how, member.path, Options(workers=0))
    again.detector.net = Read(again.detector.net, how).eval()
    return replace(again, name=how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, help="finished shards with cues that both are trained on")
    parser.add_argument("--on", type=Path, nargs="*", default=[], help="further shards to judge them on")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("--out", type=Path, default=Path("cue-ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=1, help="fits at once")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan = [(kind, seed) for seed in range(args.seeds) for kind in CONFIGS]
    with ThreadPoolExecutor(args.jobs) as pool:
        files = dict(zip(plan, pool.map(lambda each: train(*each, args), plan), strict=True))
    options = Options(workers=0)
    for root in (args.root, *args.on):
        judged: dict[str, list[Predictions]] = {}
        for seed in range(args.seeds):
            pixels, cues = (named_detector(kind, str(files[kind, seed]), options) for kind in CONFIGS)
            members = [pixels, cues, shown_less(cues, "stripped"), shown_less(cues, "alone")]
            table, logits, _ = member_table(members, [str(root)], "test", options)
            for member, logit in zip(members, logits.T, strict=True):
                judged.setdefault(member.name, []).append(replace(table, logit=logit))
        first = judged["pixels"][0]
        print(
            f"\n{root_name(str(root))}: {len(first)} test pictures, {first.num_families} families, {args.seeds} seeds"
        )
        for name, tables in judged.items():
            values = [auroc(each.logit, each.label) for each in tables]
            low, high = np.mean([interval(each) for each in tables], axis=0)
            line = f"| {name} | {np.mean(values):.3f} ({low:.3f}, {high:.3f}); {min(values):.3f} to {max(values):.3f} |"
            if name != "pixels":
                gaps = [paired(mine, base) for mine, base in zip(tables, judged["pixels"], strict=True)]
                value, low, high = (
                    np.mean([getattr(gap, part) for gap in gaps]) for part in ("value", "low", "high")
                )
                line += f" {value:+.3f} ({low:+.3f}, {high:+.3f}) |"
            print(line, flush=True)


if __name__ == "__main__":
    main()
