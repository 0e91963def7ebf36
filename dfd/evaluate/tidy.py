"""Tidy table of a grid: a line for each cell and each part of its pictures: every metric and its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dfd.batch import FAKE, REAL, Predictions
from dfd.calibration import calibration_of
from dfd.evaluate.prediction_file import read_predictions
from dfd.metrics import METRICS, by_method, by_source, detection_metrics, intervals
from dfd.outputs import output_file
from dfd.text_files import read_object

METRICS_FILE, CSV_FILE = "metrics.parquet", "metrics.csv"
SHORTCUTS = ("file_facts_auroc", "color_auroc")
# what a line is of; then the metrics; then what they rest on
NAMES = ("detector", "root", "condition", "severity", "part", "kind")
SILENT = ("inconclusive", "unfamiliar")


def schema() -> pa.Schema:
    """Columns of the table: NAMES, each metric with _low and _high, and what they rest on."""
    fields = [(name, pa.float64() if name == "severity" else pa.string()) for name in NAMES]
    for name in (*METRICS, *SHORTCUTS):
        fields += [(f"{name}{end}", pa.float64()) for end in ("", "_low", "_high")]
    fields += [(f"num_{what}", pa.int64()) for what in ("images", "families", "clips", "real", "fake")]
    fields += [("coverage", pa.float64()), ("spoken", pa.float64()), ("refused_by_reason", pa.string())]
    fields += [("selected_on", pa.string()), ("calibrated_split", pa.string()), ("num_seen", pa.int64())]
    return pa.schema([*fields, ("flags", pa.string())])


def write_metrics(folder: Path) -> pa.Table:
    """metrics.parquet and metrics.csv of the cells that a grid has."""
    lines = [
        line for cell in read_object(folder / "grid.json")["cells"] for line in cell_lines(folder / cell)
    ]
    table = pa.Table.from_pylist(lines, schema())
    with output_file(folder / METRICS_FILE) as temporary:
        pq.write_table(table, temporary)
    with output_file(folder / CSV_FILE) as temporary:
        pa_csv.write_csv(table, temporary)
    return table


def read_metrics(folder: str | Path) -> pa.Table:
    """The table of a grid.

    Raises:
        ValueError: it is not there yet, or no table of dfd's.
    """
    path = Path(folder) / METRICS_FILE
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read. Run `dfd evaluate` again: it finishes the grid.") from error


def cell_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one cell."""
    predictions, _, verdict, facts = read_predictions(path)
    parts = {"all": predictions}
    parts |= {f"source:{name}": part for name, part in by_source(predictions).items()}
    parts |= {f"method:{name}": part for name, part in by_method(predictions).items()}
    for part, rows in parts.items():
        yield _line(part, "image", rows, verdict[np.isin(predictions.row, rows.row)], facts)


def _line(
    part: str, kind: str, predictions: Predictions, verdict: np.ndarray, facts: Mapping[str, Any]
) -> dict[str, Any]:
    judged = predictions.judged
    calibrated, threshold = calibration_of(facts["calibration"]), float(facts["thresholds"]["balanced"])
    values = detection_metrics(judged, calibrated, threshold)
    ends = intervals(judged, calibrated, threshold)
    line: dict[str, Any] = {
        "detector": facts["detector"]["name"],
        "root": facts["root"]["name"],
        "condition": facts["condition"],
        "severity": math.nan if facts["severity"] is None else facts["severity"],
        "part": part,
        "kind": kind,
    }
    for name in METRICS:
        low, high = ends.get(name, (math.nan, math.nan))
        line |= {name: values[name], f"{name}_low": low, f"{name}_high": high}
    refused = {
        str(why): int(number)
        for why, number in zip(*np.unique(predictions.status, return_counts=True), strict=True)
    }
    refused.pop("ok", None)
    spoken = ~np.isin(verdict, (*SILENT, ""))
    return line | {
        "num_images": len(predictions),
        "num_families": predictions.num_families,
        "num_clips": len(set(predictions.clip.tolist()) - {""}),
        "num_real": int((predictions.label == REAL).sum()),
        "num_fake": int((predictions.label == FAKE).sum()),
        "coverage": len(judged) / len(predictions),
        "spoken": float(spoken.mean()),
        "refused_by_reason": json.dumps(
            refused | {word: int((verdict == word).sum()) for word in SILENT if (verdict == word).any()}
        ),
        "selected_on": facts["selected_on"],
        "calibrated_split": (facts["calibrated_on"] or {}).get("split"),
        "num_seen": facts["num_seen"],
        "flags": "",
    }
