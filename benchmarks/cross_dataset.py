"""The cross-dataset matrix: detectors of one source, of all sources and of the toy set, on every source.

Trains them, with several seeds, by `dfd fit`; judges all on all sources by `dfd evaluate`, those of seed 0
under the corruptions too; leaves one source out by `dfd evaluate --loso`; and prints the tables of
docs/results/cross-dataset.md. Each step that is done is not done again, so that it goes on where it was killed.

    python benchmarks/cross_dataset.py shards --weights mobilenetv2_100.safetensors --out matrix
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TRAINED = ("140k", "dagnelies", "manjilkarki", "ciplab")
STRANGE = ("casia",)  # no faces: a gate has to refuse them
SIDES = {"140k": ("140k",), "all": TRAINED}
MOST_ATTACKED = 20  # pictures of a class and source


def run(*words: object) -> None:
    print("$ dfd", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dfd.cli", *map(str, words)], check=True)


def recipe(weights: Path, epochs: int) -> str:
    """What all photographs' detectors share, as an overlay."""
    return f"""# ImageNet weights, few epochs, sources and classes weighed alike
model:
  init_args:
    class_weight: balanced
    net: {{init_args: {{backbone: {{init_args: {{pretrained: {weights.resolve()}}}}}}}}}
    optimizer: {{init_args: {{lr: 5.0e-4}}}}
data: {{init_args: {{num_workers: 0, balance_roots: true}}}}
trainer: {{max_epochs: {epochs}, enable_progress_bar: false}}
"""


def fit(out: Path, name: str, seed: int, *options: object) -> Path:
    run_folder = out / "fits" / f"{name}-{seed}"
    best = run_folder / "checkpoints/best.ckpt"
    done = run_folder / "done"
    if not done.is_file():
        run("fit", *options, "--seed_everything", seed, "--data.seed", seed, "--run_folder", run_folder)
        done.touch()
    return best


def photographs(shards: Path, overlay: Path, names: tuple[str, ...]) -> list[object]:
    roots = ", ".join(str(shards / name) for name in names)
    config = ("--config", "single_stream", "--config", "overlay/cpu", "--data", "data/140k.yaml")
    return [*config, "--config", overlay, f"--data.roots=[{roots}]"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, help=f"folder with shards of {', '.join(TRAINED + STRANGE)}")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("--out", type=Path, default=Path("matrix"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", nargs="+", default=["fit", "loso", "grid"], help="those to do")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    overlay = args.out / "recipe.yaml"
    overlay.write_text(recipe(args.weights, args.epochs))
    found = {}
    if "fit" in args.steps:
        for seed in range(args.seeds):
            for name, names in SIDES.items():
                found[f"{name}-{seed}"] = fit(args.out, name, seed, *photographs(args.shards, overlay, names))
            found[f"toy-{seed}"] = fit(args.out, "toy", seed, "--config", "small_cnn", "--config", "overlay/cpu")


if __name__ == "__main__":
    main()
