"""What each part of the dual-stream detector gives: RGB alone, each frequency stream alone, and each with RGB
under each fusion, on clean and on delivered pictures, with several seeds.

Trains every net by `dfd fit` on the same shards with the same budget, judges it by `dfd evaluate`, and writes
OUT/ablation.md: AUROC with intervals, and the paired difference from RGB alone on the same pictures, p values
by Holm over all nets of a table. What is done is not done again: killed, the same command goes on.

    python benchmarks/ablation.py shards/140k --weights mobilenetv2_100.safetensors --out ablation --jobs 2
    python benchmarks/ablation.py shards/140k --only 'log*' --seeds 1 --epochs 2 --out look    # a short look
    python benchmarks/ablation.py shards/140k --on shards/dagnelies --dry_run                  # what it costs

The whole is 37 nets: nine streams alone, with each of three fusions, and RGB. A core trains about 40 pictures
of 128 px a second through the RGB stream; --dry_run says how many core hours all would take.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from streams import FUSIONS, STREAMS, part

from dfd.batch import Predictions
from dfd.evaluate.compare import ALPHA
from dfd.evaluate.conditions import load_conditions
from dfd.evaluate.prediction_file import read_predictions
from dfd.metrics import Difference, detection_metrics, holm, interval, paired, resamples

RGB = "rgb"
BACKBONE = "mobilenetv2_100"
# pictures of 128 px that a core trains a second through the RGB stream, and what a stream costs beside that
SPEED = 40
COST = {
    "log": 0.45,
    "dct": 0.85,
    "azimuthal": 0.05,
    "local": 0.15,
    "phase": 0.8,
    "fad": 1.2,
    "lfs": 0.3,
    "srm": 0.85,
    "bayar": 0.85,
}
JUDGED = 1.5  # times all that training takes: validations after each epoch, and the grids


def nets(weights: Path | None) -> dict[str, dict[str, Any]]:
    """Every net of the ablation by its name: rgb, log, log+gate."""
    pretrained = str(weights.resolve()) if weights else False
    rgb = part("TimmBackbone", name=BACKBONE, pretrained=pretrained)
    found = {RGB: part("SingleStream", backbone=rgb)}
    for stream, (spectrum, backbone) in STREAMS.items():
        found[stream] = part("SingleStream", backbone=backbone, spectrum=spectrum)
        for name, fusion in FUSIONS.items():
            found[f"{stream}+{name}"] = part(
                "DualStream", rgb=rgb, fft=backbone, spectrum=spectrum, fusion=fusion
            )
    return found


def config(net: dict[str, Any], epochs: int, learnt: bool) -> dict[str, Any]:
    """A config of `dfd fit`: the recipe of 140K, and half the rate where weights were learnt before."""
    optimizer = {"lr": 5e-4 if learnt else 1e-3, "weight_decay": 0.05, "fused": True}
    model = {
        "net": net,
        "class_weight": "balanced",
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": optimizer},
    }
    return {
        "model": {"class_path": "dfd.tasks.ClassificationTask", "init_args": model},
        "trainer": "trainer/supervised.yaml",
        "trainer.max_epochs": epochs,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": False,
    }


def dfd(threads: int, *words: object) -> None:
    """Raises RuntimeError with the end of what it printed where it fails."""
    threads_of = {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-m", "dfd.cli", *map(str, words)],
        env={**os.environ, **threads_of},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"dfd {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-3000:]}"
        )


def fit(name: str, seed: int, settings: dict[str, Any], args: argparse.Namespace) -> None:
    folder = args.out / "fits" / f"{name}-{seed}"
    if (folder / "done").is_file():
        return
    file = args.out / "configs" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    data = ("--data", "data/140k.yaml", "--data.roots", args.root, "--data.num_workers", 0)
    data += ("--data.view.size", args.size)
    seeds = ("--seed_everything", seed, "--data.seed", seed)
    dfd(args.threads, "fit", "--config", file, *data, *seeds, "--run_folder", folder)
    (folder / "done").touch()
    print(f"trained {name}, seed {seed}", flush=True)


def cell(name: str, seed: int) -> str:
    """A net's name in the grid, where a + has no place."""
    return f"{name.replace('+', '.')}-{seed}"


def judge(name: str, args: argparse.Namespace) -> None:
    out, seeds = args.out, args.seeds
    checkpoints = [
        f"{cell(name, seed)}={out}/fits/{name}-{seed}/checkpoints/best.ckpt" for seed in range(seeds)
    ]
    on = [word for root in (args.root, *args.on) for word in ("--on", root)]
    limit = ("--limit", args.limit) if args.limit else ()
    grid = out / "grids" / f"{name}-{seeds}"
    conditions = ("--conditions", args.conditions, "--workers", 0, "--device", "cpu")
    dfd(args.threads, "evaluate", *checkpoints, *on, *conditions, *limit, "--out", grid)
    print(f"judged {name}", flush=True)


def side_by_side(jobs: int, *calls: Callable[[], None]) -> None:
    """Several at once; after the first that fails no further one is begun."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for each in futures:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def tables_of(out: Path, name: str, seeds: int, root: str, condition: str) -> list[Predictions]:
    cells = out / "grids" / f"{name}-{seeds}" / "cells"
    files = [cells / cell(name, seed) / root / f"{condition}.parquet" for seed in range(seeds)]
    return [read_predictions(file)[0] for file in files]


def page(out: Path, names: Sequence[str], seeds: int, root: str, condition: str) -> Iterator[str]:
    """Lines of the Markdown table of one root under one condition, the best net first."""
    tables = {name: tables_of(out, name, seeds, root, condition) for name in names}
    values = {name: [detection_metrics(table)["auroc"] for table in each] for name, each in tables.items()}
    gaps = {
        name: paired(tables[name], tables[RGB], num=resamples(len(names)))
        for name in names
        if name != RGB and RGB in names
    }
    p = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    first = tables[names[0]][0]
    yield f"\n## {root}, {condition}\n"
    yield f"{len(first)} pictures in {first.num_families} families; seeds: {seeds}.\n"
    yield "| net | AUROC | of the seeds | minus RGB alone | p |"
    yield "|---|---|---|---|---|"
    for name in sorted(names, key=lambda name: -statistics.mean(values[name])):
        low, high = np.mean([interval(table) for table in tables[name]], axis=0)
        ends = f"{min(values[name]):.3f} to {max(values[name]):.3f}"
        row = f"{statistics.mean(values[name]):.3f} ({low:.3f}, {high:.3f})", ends, *difference(gaps, p, name)
        yield f"| {name} | {' | '.join(row)} |"
    if gaps:
        yield f"\n{in_words(gaps, p)}"


def overview(out: Path, names: Sequence[str], seeds: int, cells: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Lines of a table of all mean AUROCs: a net a row, a root under a condition a column."""
    yield f"| net | {' | '.join(f'{root}, {condition}' for root, condition in cells)} |"
    yield "|---" * (1 + len(cells)) + "|"
    for name in names:
        means = [
            statistics.mean(detection_metrics(table)["auroc"] for table in tables_of(out, name, seeds, *cell))
            for cell in cells
        ]
        yield f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |"


def difference(gaps: dict[str, Difference], p: dict[str, float], name: str) -> tuple[str, str]:
    if name not in gaps:
        return "", ""
    gap = gaps[name]
    return f"{gap.value:+.3f} ({gap.low:+.3f}, {gap.high:+.3f})", f"{p[name]:.3f}"


def in_words(gaps: dict[str, Difference], p: dict[str, float]) -> str:
    shown = [name for name in gaps if p[name] < ALPHA]
    better = [name for name in shown if gaps[name].value > 0]
    worse = [name for name in shown if gaps[name].value < 0]
    rest = len(gaps) - len(shown)
    return (
        f"Shown to be better than RGB alone: {', '.join(better) or 'none'}. Worse: "
        f"{', '.join(worse) or 'none'}. No difference is shown of {rest or 'none'}."
    )


def core_hours(names: Sequence[str], seeds: int, epochs: int, num_train: int) -> float:
    cost = sum(COST.get(name.partition("+")[0], 0) + (name == RGB or "+" in name) for name in names)
    return JUDGED * cost * seeds * epochs * num_train / SPEED / 3600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="finished shards that all nets are trained and judged on")
    parser.add_argument("--on", type=Path, nargs="*", default=[], help="further shards to judge them on")
    parser.add_argument("--weights", type=Path, help=f"ImageNet weights of {BACKBONE}; none by default")
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument(
        "--size",
        type=int,
        default=128,
        help="of the crops, in pixels; each net sees five of a judged picture",
    )
    parser.add_argument("--only", nargs="+", default=["*"], help="nets by name, such as log srm+*; RGB too")
    parser.add_argument("--conditions", default="conditions/quick", help="as of dfd evaluate")
    parser.add_argument("--limit", type=int, help="judge so many pictures of a class and source")
    parser.add_argument("--jobs", type=int, default=1, help="fits at once")
    parser.add_argument("--threads", type=int, default=1, help="of each fit")
    parser.add_argument("--dry_run", action="store_true", help="say what it would train and what that costs")
    args = parser.parse_args()
    every = nets(args.weights)
    names = [name for name in every if name == RGB or any(fnmatch(name, only) for only in args.only)]
    split = pq.read_table(args.root / "samples.parquet", columns=["split"])["split"].to_pylist()
    hours = core_hours(names, args.seeds, args.epochs, split.count("train")) * (args.size / 128) ** 2
    print(f"{len(names)} nets, {args.seeds} seeds, {args.epochs} epochs: about {hours:.1f} core hours")
    if args.dry_run:
        print(*names, sep="\n")
        return
    # a frequency stream alone begins with nothing learnt
    learnt = {name: bool(args.weights) and name not in STREAMS for name in names}
    configs = {name: config(every[name], args.epochs, learnt[name]) for name in names}
    side_by_side(
        args.jobs,
        *(partial(fit, name, seed, configs[name], args) for seed in range(args.seeds) for name in names),
    )
    side_by_side(args.jobs, *(partial(judge, name, args) for name in names))
    roots = [root.name for root in (args.root, *args.on)]
    conditions = [condition.title for condition in load_conditions(args.conditions)]
    cells = [(root, condition) for root in roots for condition in conditions]
    lines = [
        "# Ablation of streams and fusions\n",
        f"{args.epochs} epochs of crops of {args.size} px on {args.root.name}, the same for every net. AUROC, the mean over seeds; 95% "
        "intervals of the bootstrap over families, which speak of other pictures, not of other seeds.\n",
        *overview(args.out, names, args.seeds, cells),
    ]
    for root, condition in cells:
        lines += page(args.out, names, args.seeds, root, condition)
    text = "\n".join(lines) + "\n"
    (args.out / "ablation.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
