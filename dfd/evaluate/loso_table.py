"""Table of leave-one-source-out: a line a fit, on the source that it has not seen; and the same in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from dfd.batch import REAL
from dfd.calibration import band
from dfd.calibration.certified import upper_bound
from dfd.evaluate.folder import read_grid
from dfd.evaluate.prediction_file import read_predictions
from dfd.evaluate.warnings import FLAGS
from dfd.metrics import format_metric
from dfd.outputs import output_file
from dfd.terminal import printable

LOSO_FILE = "loso.csv"
OF_TABLE = (
    "auroc", "auroc_low", "auroc_high", "balanced_acc", "balanced_acc_low", "balanced_acc_high", "acc_real",
    "acc_fake", "ece", "file_facts_auroc", "color_auroc", "coverage", "spoken", "num_images", "num_families",
    "num_real", "num_fake", "num_seen", "flags",
)  # fmt: skip


def write_loso(folder: Path, table: pa.Table) -> list[dict[str, Any]]:
    """Writes loso.csv and returns its lines, one for each cell of a grid whose nets left a source out.

    Beside metrics of the tidy table: `fpr_certified`, the share of reals above the band that the detector's
    own sources certify, and `fpr_bound`, the largest share that goes with it (Clopper-Pearson, 95%, over
    families); empty where too few pictures certify a band.
    """
    tidy = {
        (line["detector"], line["root"], line["condition"], str(line["severity"])): line
        for line in table.to_pylist()
        if (line["part"], line["kind"]) == ("all", "image")
    }
    lines = []
    for cell in read_grid(folder)["cells"]:
        predictions, _, _, facts = read_predictions(folder / cell)
        severity = math.nan if facts["severity"] is None else float(facts["severity"])
        names = (facts["detector"]["name"], facts["root"]["name"], facts["condition"])
        found = tidy[(*names, str(severity))]
        share, bound = _false_alarms(predictions, facts["thresholds"])
        lines.append(
            {
                "left_out": facts["left_out"],
                "seed": facts["loso_seed"],
                "detector": names[0],
                "root": names[1],
                "condition": names[2],
                "severity": severity,
                **{name: found[name] for name in OF_TABLE},
                "fpr_certified": share,
                "fpr_bound": bound,
            }
        )
    lines.sort(key=lambda line: (line["condition"], line["left_out"], line["seed"], line["root"]))
    with output_file(folder / LOSO_FILE) as temporary:
        pa_csv.write_csv(pa.Table.from_pylist(lines), temporary)
    return lines


def said(
    lines: Sequence[Mapping[str, Any]], silent: Mapping[str, str], failed: Mapping[str, str]
) -> list[str]:
    """What people read of it, the worst source first.

    Args:
        lines: of `write_loso`.
        silent: sources that are trained on alone, and why.
        failed: fits that gave no net, and why.
    """
    clean = [line for line in lines if line["condition"] == "clean"] or list(lines)
    by_source: dict[str, list[Mapping[str, Any]]] = {}
    for line in clean:
        by_source.setdefault(line["left_out"], []).append(line)
    means = {name: statistics.mean(line["auroc"] for line in found) for name, found in by_source.items()}
    texts = []
    for name in sorted(means, key=means.get):
        shown = f"left out {printable(name, keep='')}"
        texts.append(f"{shown}: {_words(by_source[name], means[name])}")
        flags = {flag for line in by_source[name] for flag in line["flags"].split()}
        texts += [f"{shown}: {FLAGS[flag]}" for flag in FLAGS if flag in flags and flag != "left_out"]
    if len(means) > 1:
        worst = min(means, key=means.get)
        texts.append(
            f"AUROC at worst {means[worst]:.3f} ({printable(worst, keep='')}), "
            f"{statistics.mean(means.values()):.3f} in the mean of {len(means)} sources"
        )
    for name, why in silent.items():
        texts.append(f"{printable(name, keep='')} is trained on and never left out: {why}")
    for name, why in failed.items():
        texts.append(f"the fit {printable(name, keep='')} failed and is missing: {printable(why, keep='')}")
    return texts


def _words(found: Sequence[Mapping[str, Any]], mean: float) -> str:
    first = found[0]
    if len(found) == 1:
        ends = f"{format_metric(first['auroc_low'], 3)}..{format_metric(first['auroc_high'], 3)}"
        auroc = f"AUROC {mean:.3f} ({ends})"
    else:
        values = [line["auroc"] for line in found]
        auroc = f"AUROC {mean:.3f} in the mean of {len(found)} fits ({min(values):.3f}..{max(values):.3f})"
    balanced = statistics.mean(line["balanced_acc"] for line in found)
    ece = statistics.mean(line["ece"] for line in found)
    alarms = [line["fpr_certified"] for line in found if line["fpr_certified"] is not None]
    certified = "no certified threshold"
    if alarms:
        certified = f"false alarms at the certified threshold {statistics.mean(alarms):.3f}"
    return (
        f"{auroc}, balanced accuracy {balanced:.3f}, {certified}, ECE {ece:.3f}; {first['num_images']} "
        f"images of {first['num_families']} families"
    )


def _false_alarms(predictions: Any, thresholds: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Share of reals above the band, and its upper bound over families."""
    _, high = band({name: float(value) for name, value in thresholds.items()})
    reals = predictions.judged.where(predictions.judged.label == REAL)
    if math.isinf(high) or not len(reals):
        return None, None
    _, family = np.unique(reals.family, return_inverse=True)
    wrong = np.zeros(family.max() + 1, bool)
    np.logical_or.at(wrong, family, reals.logit > high)
    return float((reals.logit > high).mean()), upper_bound(int(wrong.sum()), len(wrong))
