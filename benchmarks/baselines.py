"""Baselines and clusters on real faces: what needs no training of a net, at home and on other sources.

Fits each pair of features and model on each source by `dfd baseline`, judges it on all sources, and finds
clusters of all sources together by `dfd cluster`; then prints the tables of docs/results/baselines.md. What is
done is not done again: killed, the same command goes on. The shards need their cues (`dfd cues SHARDS`).

    python benchmarks/baselines.py shards --weights mobilenetv2_100.safetensors --out baselines
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SOURCES = ("140k", "dagnelies", "manjilkarki", "ciplab")
PAIRS = (
    ("metadata", "logistic"), ("metadata", "svm"), ("spectrum", "logistic"), ("spectrum", "svm"),
    ("pixels", "svm"), ("pixels", "logistic"), ("cues", "logistic"), ("cues", "svm"),
    ("embeddings", "logistic"), ("embeddings", "svm"),
)  # fmt: skip
CLUSTERS = (
    ("spectrum", "kmeans"),
    ("cues", "kmeans"),
    ("pixels", "kmeans"),
    ("embeddings", "kmeans"),
    ("embeddings", "gmm"),
)
Line = dict[str, str]


def run(*words: object) -> None:
    print("$ dfd", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dfd.cli", *map(str, words)], check=True)


def lines_of(out: Path, home: str) -> dict[tuple[str, str], Line]:
    """The lines of all pictures of a grid, by detector and root."""
    with (out / home / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return {
            (line["detector"], line["root"]): line
            for line in csv.DictReader(file)
            if (line["part"], line["kind"]) == ("all", "image")
        }


def auroc(line: Line | None) -> str:
    if line is None:
        return ""
    value, low, high = (float(line[f"auroc{end}"] or "nan") for end in ("", "_low", "_high"))
    return (
        ""
        if math.isnan(value)
        else ", ".join(f"{each:.3f}".lstrip("0") for each in (value, low, high)).replace(", ", " (", 1) + ")"
    )


def baseline_tables(out: Path) -> Iterable[str]:
    """Each pair at home, and those of 140K everywhere."""
    grids = {home: lines_of(out, home) for home in SOURCES if (out / home / "metrics.csv").is_file()}
    yield "| Features | Model | " + " | ".join(grids) + " |"
    yield "|---" * (2 + len(grids)) + "|"
    for on, model in PAIRS:
        cells = [auroc(lines.get((f"{on}-{model}", home))) for home, lines in grids.items()]
        yield f"| {on} | {model} | {' | '.join(cells)} |"
    for home, lines in grids.items():
        yield f"\nLearnt on {home}:\n"
        roots = sorted({root for _, root in lines if root != "*"}, key=lambda root: root != home)
        yield "| Features | Model | " + " | ".join(roots) + " |"
        yield "|---" * (2 + len(roots)) + "|"
        for on, model in PAIRS:
            yield f"| {on} | {model} | {' | '.join(auroc(lines.get((f'{on}-{model}', root))) for root in roots)} |"
        for path in sorted((out / home / "baselines").glob("*.json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            yield from (f"- {path.stem}: {sentence}" for sentence in told["audit"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "shards", type=Path, help=f"folder that holds {', '.join(SOURCES)}, prepared, with cues"
    )
    parser.add_argument("--weights", type=Path, required=True, help="of mobilenetv2_100")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--checkpoint", action="append", default=[], help="NAME=FILE of a net of 140K to stand beside them"
    )
    given = parser.parse_args()
    net = ["--backbone", "mobilenetv2_100", "--weights", given.weights]
    roots = {name: given.shards / name for name in SOURCES if (given.shards / name).is_dir()}
    if given.checkpoint and not (given.out / "140k/grid.json").is_file():
        run("evaluate", *given.checkpoint, "--on", *roots.values(), "--out", given.out / "140k")
    for on, model in PAIRS:
        more = net if on == "embeddings" else []
        for home, root in roots.items():
            if not (given.out / home / "baselines" / f"{on}-{model}.json").is_file():
                others = [other for name, other in roots.items() if name != home]
                judge = ["--judge", *others] if others else []
                run("baseline", root, "--on", on, "--model", model, "--out", given.out / home, *judge, *more)
    for on, method in CLUSTERS:
        if not (given.out / "clusters/clusters" / f"{on}-{method}.html").is_file():
            more = net if on == "embeddings" else []
            run(
                "cluster",
                *roots.values(),
                "--on",
                on,
                "--method",
                method,
                "--out",
                given.out / "clusters",
                *more,
            )
    print("\n".join(baseline_tables(given.out)))


if __name__ == "__main__":
    main()
