"""Table of all metrics of the report, with what each detector said of which pictures (confusion)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dfd.evaluate.report.evidence import Evidence, Line
from dfd.evaluate.report.page import Block, Part, Shaded, Table, number, percent, span
from dfd.evaluate.report.verdict_shares import verdict_table
from dfd.evaluate.tidy import EVERY_ROOT

# by the names of the tidy table, as the page calls them
METRICS = {
    "auroc": "AUROC",
    "ap": "AP",
    "eer": "EER",
    "balanced_acc": "balanced accuracy",
    "acc_real": "reals right",
    "acc_fake": "fakes right",
    "recall": "fakes found",
    "precision": "precision",
    "f1": "F1",
    "tpr@fpr0.1": "TPR at 0.1% FPR",
    "tpr@fpr1": "TPR at 1% FPR",
    "tpr@fpr5": "TPR at 5% FPR",
    "ece": "ECE",
    "brier": "Brier",
    "nll": "NLL",
    "aurc": "AURC",
    "risk@cov80": "risk at 80% coverage",
    "risk@cov50": "risk at 50% coverage",
    "cov@risk5": "coverage at 5% risk",
}


def metrics(evidence: Evidence) -> Part:
    """All metrics of the cells with clean pictures, the worst first, one table a detector; of clips too."""
    blocks: list[Block] = []
    for detector in evidence.names("detector"):
        for kind in ("image", "clip"):
            lines = [
                line
                for line in evidence.lines
                if (line.part, line.kind, line.place.detector) == ("all", kind, detector)
                and evidence.is_plain(line.place)
            ]
            lines.sort(key=lambda line: (line.place.root == EVERY_ROOT, line.by_auroc()))
            if lines:
                blocks.append(_all_metrics(lines, f"{detector}, {kind}s"))
        cells = {
            f"{place.root}:": cell
            for place in evidence.whole
            if place.detector == detector and evidence.is_plain(place) and (cell := evidence.cell(place))
        }
        if cells:
            blocks.append(verdict_table(cells, f"{detector}, confusion: what it said of which pictures"))
    return Part("All metrics", blocks)


def _all_metrics(lines: Sequence[Line], caption: str) -> Table:
    """Metrics downward, roots across: narrow where there are few roots, which is the rule."""
    rows = []
    for name, title in METRICS.items():
        if all(math.isnan(line.number(name)) for line in lines):
            continue
        cells = []
        for line in lines:
            value = line.number(name)
            shade = value if name in ("auroc", "balanced_acc") else math.nan
            cells.append(Shaded(number(value), span(*line.ends(name)), shade))
        rows.append((title, *cells))
    rows.append(("coverage", *(percent(line.number("coverage")) for line in lines)))
    rows.append(("spoken", *(percent(line.number("spoken")) for line in lines)))
    rows.append(("pictures", *(f"{line.count('num_images'):,}" for line in lines)))
    rows.append(("families", *(f"{line.count('num_families'):,}" for line in lines)))
    if any(line.count("num_clips") for line in lines):
        rows.append(("clips", *(f"{line.count('num_clips'):,}" for line in lines)))
    roots = [line.place.root for line in lines]
    header = ("", *("all roots together" if root == EVERY_ROOT else root for root in roots))
    return Table(header, rows, f"{caption}; 95% intervals below each figure, where it has one")
