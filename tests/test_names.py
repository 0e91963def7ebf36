"""What an engineer looks for is found by `ls` or in the first line of a module."""

import ast
from pathlib import Path

import pytest

import dfd

PACKAGE = Path(dfd.__file__).parent
SEARCHES = {
    "datamodule": "data/datamodule.py",
    "dataloader": "data/loader.py",
    "checks": "data/checks.py",
    "dataset": "data/stream.py",
    "sampler": "data/stream.py",
    "collate": "data/collate.py",
    "prefetch": "data/prefetch.py",
    "undecodable": "data/undecodable.py",
    "face": "media/faces.py",
    "video": "media/video.py",
    "crop": "media/crops.py",
    "preprocess": "media/crops.py",
    "file": "media/files.py",
    "split": "shards/splits.py",
    "near duplicates": "shards/duplicates.py",
    "checksum": "shards/checksum.py",
    "schema": "shards/format.py",
    "validat": "shards/validate.py",
    "writer": "shards/writer.py",
    "process pool": "parallel.py",
    "reader": "prepare/readers/__init__.py",
    "manifest": "prepare/manifest.py",
    "split assignment": "prepare/assign.py",
    "re-encode": "prepare/reencode.py",
    "fsdp": "training/fsdp.py",
    "w&b": "training/wandb_logger.py",
    "csv logger": "training/metrics_csv.py",
    "checkpoint": "models/checkpoint.py",
    "base class": "models/net.py",
    "loss": "tasks/losses.py",
    "learning-rate schedule": "tasks/schedule.py",
    "moving average": "tasks/ema.py",
    "metrics": "metrics/values.py",
    "bootstrap": "metrics/bootstrap.py",
    "paired": "metrics/paired.py",
    "temperature": "calibration/fit.py",
    "threshold": "calibration/thresholds.py",
    "calibration": "calibration/__init__.py",
    "attribution": "explain/attribution.py",
    "optuna": "sweep/study.py",
    "sigterm": "signals.py",
    "out of memory": "cli/runtime_errors.py",
    "throughput": "callbacks/throughput.py",
    "nan": "callbacks/non_finite.py",
    "predictions": "callbacks/predictions.py",
    "leave one source out": "evaluate/loso.py",
    "html page": "evaluate/report/__init__.py",
    "matrix": "evaluate/report/matrix.py",
    "all metrics": "evaluate/report/metrics_table.py",
    "confusion": "evaluate/report/metrics_table.py",
    "slices": "evaluate/report/slices.py",
    "shortcut audit": "evaluate/report/shortcut_audit.py",
    "reliability": "evaluate/report/curves.py",
    "gallery": "evaluate/report/gallery.py",
    "model card": "evaluate/report/model_card.py",
    "red marks": "evaluate/report/marks.py",
}


def first_line(module: Path) -> str:
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


@pytest.mark.parametrize("word", SEARCHES)
def test_a_search_finds_its_module(word):
    module = PACKAGE / SEARCHES[word]
    found = f"{module.stem.replace('_', ' ')} {first_line(module)}".lower().replace("\n", " ")
    assert word in found, f"{SEARCHES[word]} begins with: {first_line(module)}"


def test_each_module_begins_with_a_sentence():
    modules = [module for module in sorted(PACKAGE.rglob("*.py")) if module.name != "__main__.py"]
    wrong = [
        str(module)
        for module in modules
        if module.read_text(encoding="utf-8").strip() and not first_line(module).rstrip().endswith(".")
    ]
    assert not wrong, f"{wrong} have no first sentence"
