"""The cross-dataset matrix: detectors of one source, of all sources and of the toy set, on every source.

Trains each with several seeds by `dfd fit`; judges all on all sources by `dfd evaluate`, those of
photographs with seed 0 under corruptions too; leaves one source out by `dfd evaluate --loso`; and prints the
tables of docs/results/cross-dataset.md. What is done is not done again: killed, the same command goes on.

    python benchmarks/cross_dataset.py shards --weights mobilenetv2_100.safetensors --out matrix
"""

import argparse
import csv
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfd.batch import FAKE, REAL, Predictions
from dfd.calibration import calibration_of
from dfd.evaluate.confidence import familiar_first
from dfd.evaluate.prediction_file import read_predictions
from dfd.metrics import risk_coverage
from dfd.plots.comparison import Band, risk_coverage_lines, robustness_bands

TRAINED = ("140k", "dagnelies", "manjilkarki", "ciplab")
STRANGE = ("casia",)  # no faces: a gate has to refuse them
ROOTS = (*TRAINED, *STRANGE)
SIDES = {"140k": ("140k",), "all": TRAINED}
DETECTORS = (*SIDES, "toy")
MOST_CORRUPTED = 60  # test pictures of a class and source, 21 times each
STEPS = ("fit", "loso", "grid", "tables")
POOLED = ("auroc", "ece", "aurc", "risk@cov80", "risk@cov50", "cov@risk5")
Line = dict[str, str]


def run(*words: object) -> None:
    print("$ dfd", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dfd.cli", *map(str, words)], check=True)


def recipe(weights: Path, epochs: int) -> str:
    """What all detectors of photographs share, as an overlay."""
    return f"""# ImageNet weights, few epochs, sources and classes weighed alike
model:
  init_args:
    class_weight: balanced
    net: {{init_args: {{backbone: {{init_args: {{pretrained: {weights.resolve()}}}}}}}}}
    optimizer: {{init_args: {{lr: 5.0e-4}}}}
data: {{init_args: {{num_workers: 0, balance: root}}}}
trainer: {{max_epochs: {epochs}, enable_progress_bar: false}}
"""


def fit(out: Path, name: str, seed: int, *options: object) -> None:
    run_folder = out / "fits" / f"{name}-{seed}"
    done = run_folder / "done"
    if not done.is_file():
        run("fit", *options, "--seed_everything", seed, "--data.seed", seed, "--run_folder", run_folder)
        done.touch()


def photographs(shards: Path, overlay: Path, names: tuple[str, ...]) -> list[object]:
    roots = ", ".join(str(shards / name) for name in names)
    config = ("--config", "single_stream", "--config", "overlay/cpu", "--data", "data/140k.yaml")
    return [*config, "--config", overlay, f"--data.roots=[{roots}]"]


def read(path: Path) -> list[Line]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def show(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(row), "|")


def of(lines: list[Line], name: str, root: str, condition: str, seeds: Sequence[int]) -> list[Line]:
    """The lines of a detector's seeds on all pictures of a root."""
    wanted = {(f"{name}-{seed}", root, condition, "all", "image") for seed in seeds}
    keys = ("detector", "root", "condition", "part", "kind")
    return [line for line in lines if tuple(line[key] for key in keys) in wanted]


def auroc(found: list[Line]) -> str:
    values, low, high = ([float(line[f"auroc{end}"]) for line in found] for end in ("", "_low", "_high"))
    mean = statistics.mean
    between = f"; {min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f} ({mean(low):.3f}, {mean(high):.3f}){between}"


def mean_of(found: list[Line], metric: str) -> str:
    return f"{statistics.mean(float(line[metric]) for line in found):.3f}"


def verdicts(out: Path, name: str, root: str, seeds: Sequence[int]) -> str:
    """Shares of clean pictures with a verdict, of these wrong, and unfamiliar; over all seeds together."""
    spoken, wrong, strange, num = 0, 0, 0, 0
    for seed in seeds:
        predictions, _, verdict, _ = read_predictions(out / f"grid/cells/{name}-{seed}/{root}/clean.parquet")
        fake, real = verdict == "fake", verdict == "no_trace"
        spoken += int((fake | real).sum())
        wrong += int((fake & (predictions.label == REAL)).sum() + (real & (predictions.label == FAKE)).sum())
        strange += int((verdict == "unfamiliar").sum())
        num += len(verdict)
    errors = f", {wrong / spoken:.2f} of them wrong" if spoken else ""
    return f"{spoken / num:.2f} spoken{errors}, {strange / num:.2f} unfamiliar"


def left_out(out: Path) -> Iterable[Sequence[str]]:
    by_source: dict[str, list[Line]] = {}
    for line in read(out / "loso/loso.csv"):
        by_source.setdefault(line["left_out"], []).append(line)
    for source, found in sorted(by_source.items(), key=lambda each: mean_of(each[1], "auroc")):
        means = (
            mean_of(found, metric) for metric in ("balanced_acc", "acc_real", "acc_fake", "ece", "spoken")
        )
        yield source, auroc(found), *means, found[0]["num_images"]


def robustness(lines: list[Line]) -> Iterable[Sequence[str]]:
    """AUROC of the detectors of seed 0 at each strength."""
    steps = dict.fromkeys((line["condition"], line["severity"]) for line in lines)
    for condition, severity in steps:
        at = [line for line in lines if line["severity"] == severity]
        home = auroc(of(at, "140k", "140k", condition, [0]))
        each = {root: float(of(at, "all", root, condition, [0])[0]["auroc"]) for root in TRAINED}
        worst = min(each, key=each.__getitem__)
        several = [
            f"{each['140k']:.3f}",
            f"{np.mean(list(each.values())):.3f}",
            f"{each[worst]:.3f} ({worst})",
        ]
        yield condition, "" if severity == "nan" else severity, home, *several


def draw_robustness(out: Path) -> None:
    """AUROC over JPEG quality of seed 0: robustness.png."""
    lines = read(out / "corruptions/metrics.csv")
    steps = [line["severity"] for line in of(lines, "all", "140k", "jpeg", [0])]
    bands = {}
    for name, root in (("140k", "140k"), *(("all", root) for root in TRAINED)):
        clean = of(lines, name, root, "clean", [0])
        found = clean + of(lines, name, root, "jpeg", [0])
        columns = (np.array([float(line[f"auroc{end}"]) for line in found]) for end in ("", "_low", "_high"))
        bands[f"{name}, on {root}"] = Band(*columns)
    robustness_bands(bands, ["clean", *steps], "JPEG quality", "AUROC").savefig(
        out / "robustness.png", dpi=110
    )


def draw_risks(out: Path) -> None:
    """Errors over coverage of seed 0, clean pictures of all roots together: risk_coverage.png."""
    risks = {}
    for name in SIDES:
        tables, sure = [], []
        for root in ROOTS:
            predictions, _, verdict, facts = read_predictions(
                out / f"grid/cells/{name}-0/{root}/clean.parquet"
            )
            calibrated, balanced = calibration_of(facts["calibration"]), facts["thresholds"]["balanced"]
            tables.append(predictions.judged)
            sure.append(familiar_first(predictions, verdict, calibrated, balanced)(tables[-1]))
        columns = Predictions.__dataclass_fields__
        every = Predictions(
            **{each: np.concatenate([getattr(table, each) for table in tables]) for each in columns}
        )
        alone = replace(every, familiarity=np.full(len(every), np.nan))
        order = np.concatenate(sure)
        risks[f"{name}: confidence alone"] = risk_coverage(alone, calibrated, balanced)
        risks[f"{name}: with familiarity"] = risk_coverage(
            every, calibrated, balanced, lambda _, order=order: order
        )
    risk_coverage_lines(risks, "Errors").savefig(out / "risk_coverage.png", dpi=110)


def tables(out: Path, seeds: Sequence[int]) -> None:
    lines = read(out / "grid/metrics.csv")
    for condition in ("clean", "jpeg", "delivery"):
        print(f"\nAUROC, {condition}: mean over seeds (mean interval); least to most of a seed\n")
        show(
            ("detector", *ROOTS),
            (
                (name, *(auroc(of(lines, name, root, condition, seeds)) for root in ROOTS))
                for name in DETECTORS
            ),
        )
    print("\nVerdicts on clean pictures, all seeds together\n")
    show(
        ("detector", *ROOTS),
        ((name, *(verdicts(out, name, root, seeds) for root in ROOTS)) for name in DETECTORS),
    )
    print("\nAll clean pictures of all roots together, mean over seeds\n")
    everywhere = {name: of(lines, name, "*", "clean", seeds) for name in DETECTORS}
    show(
        ("detector", *POOLED),
        ((name, *(mean_of(found, metric) for metric in POOLED)) for name, found in everywhere.items()),
    )
    print("\nThe shortcuts on the same clean pictures\n")
    shortcuts = ("file_facts_auroc", "color_auroc")
    show(
        ("root", *shortcuts),
        (
            (root, *(mean_of(of(lines, "140k", root, "clean", [0]), each) for each in shortcuts))
            for root in ROOTS
        ),
    )
    print("\nOne source left out\n")
    head = (
        "left out",
        "AUROC",
        "balanced accuracy",
        "reals right",
        "fakes right",
        "ECE",
        "spoken",
        "pictures",
    )
    show(head, left_out(out))
    print("\nAUROC of seed 0 under corruptions\n")
    head = ("condition", "severity", "140k at home", "all, on 140k", "all, mean of four", "all, worst")
    show(head, robustness(read(out / "corruptions/metrics.csv")))
    draw_robustness(out)
    draw_risks(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, help=f"folder with shards of {', '.join(ROOTS)}")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("--out", type=Path, default=Path("matrix"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="those to do")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    overlay = args.out / "recipe.yaml"
    overlay.write_text(recipe(args.weights, args.epochs))
    seeds = range(args.seeds)
    if "fit" in args.steps:
        for seed in seeds:
            for name, names in SIDES.items():
                fit(args.out, name, seed, *photographs(args.shards, overlay, names))
            fit(args.out, "toy", seed, "--config", "small_cnn", "--config", "overlay/cpu")
    on = [word for root in ROOTS for word in ("--on", args.shards / root)]
    if "loso" in args.steps:
        configs = [word for name in ("single_stream", "overlay/cpu", overlay) for word in ("--loso", name)]
        known = on[: 2 * len(TRAINED)]
        run("evaluate", *configs, *known, "--seeds", args.seeds, "--out", args.out / "loso")
    if "grid" in args.steps:
        best = {
            (name, seed): f"{name}-{seed}={args.out}/fits/{name}-{seed}/checkpoints/best.ckpt"
            for seed in seeds
            for name in DETECTORS
        }
        run("evaluate", *best.values(), *on, "--out", args.out / "grid")
        first = [best[name, 0] for name in SIDES]
        damaged = ("--conditions", "conditions/corruptions", "--limit", MOST_CORRUPTED)
        run("evaluate", *first, *on, *damaged, "--out", args.out / "corruptions")
    if "tables" in args.steps:
        tables(args.out, seeds)


if __name__ == "__main__":
    main()
