"""Sections of the report made of the tidy table: matrix, metrics, slices, shortcuts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfd import plots
from dfd.batch import FAKE, REAL
from dfd.evaluate.report.evidence import Evidence, Line, Place
from dfd.evaluate.report.marks import SHORTCUTS, Mark, matches_shortcut
from dfd.evaluate.report.page import (
    Block,
    Drawings,
    Part,
    Shaded,
    Table,
    Text,
    number,
    percent,
    span,
)
from dfd.evaluate.report.verdict_shares import share_interval, verdict_table
from dfd.evaluate.tidy import EVERY_ROOT
from dfd.plots.comparison import Band

# metrics of the table of all, by the names of the tidy table
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
_MOST_VALUES = 12  # of an attribute that is sliced; more are no groups
_MOST_SLICES = 60  # lines of a table of slices
_MOST_POOLED = 20  # lines of the table across sources
_SMALL = 8  # pictures of a class below which a slice's figures say nothing


def matrix(evidence: Evidence, marks: Sequence[Mark]) -> Part:
    """AUROC of detectors x (roots, conditions), the row with the worst cell first."""
    detectors = evidence.names("detector")
    marked = {place for mark in marks for place in mark.places}
    rows: dict[tuple[str, str], list[Line | None]] = {}
    for place in evidence.whole:
        rows.setdefault((place.root, place.step), [None] * len(detectors))
        rows[place.root, place.step][detectors.index(place.detector)] = evidence.whole[place]
    ordered = sorted(rows.items(), key=lambda item: _worst(item[1]))
    body = []
    for (root, step), lines in ordered:
        first = next(line for line in lines if line)
        body.append(
            (
                f"{root}, {step}",
                *(_auroc_cell(line, marked) for line in lines),
                f"{first.count('num_images'):,} / {first.count('num_families'):,}",
                Shaded(number(first.number("file_facts_auroc"), 2), span(*first.ends("file_facts_auroc"))),
            )
        )
    header = ("root, condition", *detectors, "pictures / families", "file facts alone")
    blocks: list[Block] = [
        Text(
            "AUROC with its 95% interval over families; .5 is guessing, and a score below it is left as it "
            "is. The row with the worst cell comes first. ▲ stands beside a cell with a red mark."
        )
    ]
    if body:
        blocks.append(Table(header, body))
    if evidence.missing:
        blocks.append(Text(f"Not judged: {', '.join(evidence.missing[:100])}.", "bad"))
    pooled = [line for line in evidence.lines if line.part.startswith("pooled:") and line.kind == "image"]
    if pooled:
        blocks += _pooled(pooled)
    return Part("Matrix", blocks if body else [])


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
            lines.sort(key=lambda line: (line.place.root == EVERY_ROOT, _auroc(line)))
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


def _pooled(lines: Sequence[Line]) -> list[Block]:
    rows = [
        (
            pooled_words(line.part),
            f"{line.place.detector}, {line.place.step}",
            Shaded(number(line.number("auroc")), span(*line.ends("auroc")), line.number("auroc")),
            f"{line.count('num_images'):,} / {line.count('num_families'):,}",
        )
        for line in sorted(lines, key=_auroc)[:_MOST_POOLED]
    ]
    text = (
        "Across sources: reals of one against fakes of the other. Scores shift between sources, which a mean "
        "of AUROCs hides; one threshold has to serve them all."
    )
    caption = f"The worst {len(rows)} of {len(lines)}" if len(rows) < len(lines) else ""
    return [Text(text), Table(("sources", "detector", "AUROC", "pictures / families"), rows, caption)]


def pooled_words(part: str) -> str:
    """What is compared in a part across sources; of roots with one source of their own name, the root."""
    reals, _, fakes = part.removeprefix("pooled:").partition("|")
    names = []
    for name in (reals, fakes):
        root, _, source = name.partition("/")
        names.append(root if root == source else name)
    return f"reals of {names[0]}, fakes of {names[1]}"


def slices(evidence: Evidence) -> Part:
    """Sources, methods, and whatever attributes the pictures have."""
    blocks: list[Block] = []
    for prefix, title in (("source:", "source"), ("method:", "method, against the reals of its sources")):
        lines = [
            line
            for line in evidence.lines
            if line.part.startswith(prefix) and line.kind == "image" and evidence.is_plain(line.place)
        ]
        lines.sort(key=_auroc)
        rows = [
            (
                line.part.removeprefix(prefix),
                f"{line.place.detector} on {line.place.root}",
                Shaded(number(line.number("auroc")), span(*line.ends("auroc")), line.number("auroc")),
                number(line.number("balanced_acc")),
                f"{line.count('num_real'):,} / {line.count('num_fake'):,} / {line.count('num_families'):,}",
            )
            for line in lines[:_MOST_SLICES]
        ]
        if rows:
            left = (
                f", the worst {len(rows)} of {len(lines)}" if len(lines) > len(rows) else ", the worst first"
            )
            header = (prefix[:-1], "detector", "AUROC", "balanced accuracy", "reals / fakes / families")
            blocks.append(Table(header, rows, f"By {title}{left}"))
    blocks += _attributes(evidence)
    return Part("Slices", blocks)


def _attributes(evidence: Evidence) -> list[Block]:
    """How often each group of pictures is falsely accused, and how often its fakes get away."""
    rows: dict[str, list[tuple[float, tuple[object, ...]]]] = {}
    for place in evidence.whole:
        cell = evidence.cell(place) if evidence.is_plain(place) else None
        for name, values in (cell.extra if cell else {}).items():
            groups = np.unique(values[values != ""])
            if not 1 < len(groups) <= _MOST_VALUES:
                continue
            for group in groups:
                shares, counts, worst = [], [], 0.0
                for truth, wrong in ((REAL, "fake"), (FAKE, "no_trace")):
                    mine = (values == group) & (cell.predictions.label == truth)
                    counts.append(int(mine.sum()))
                    if counts[-1] < _SMALL:
                        shares.append(Shaded("too few"))
                        continue
                    hit = cell.verdict[mine] == wrong
                    low, high = share_interval(hit, cell.predictions.family[mine])
                    worst = max(worst, float(hit.mean()))
                    shares.append(Shaded(percent(hit.mean()), f"{percent(low)} to {percent(high)}"))
                where = f"{place.detector} on {place.root}"
                line = (str(group), where, *shares, f"{counts[0]:,} / {counts[1]:,}")
                rows.setdefault(name, []).append((-worst, line))
    header = ("", "detector", "reals called fake", 'fakes "no trace found"', "reals / fakes")
    return [
        Table(
            (name, *header[1:]),
            [line for _, line in sorted(each, key=lambda pair: pair[0])[:_MOST_SLICES]],
            f"By {name}",
        )
        for name, each in rows.items()
    ]


def shortcuts(evidence: Evidence) -> Part:
    """Each detector's AUROC beside what small models reach that see no content."""
    blocks: list[Block] = []
    for name, sees in SHORTCUTS.items():
        lines = [
            line
            for place, line in evidence.whole.items()
            if evidence.is_plain(place)
            and math.isfinite(line.number(name))
            and math.isfinite(line.number("auroc"))
        ]
        lines.sort(key=lambda line: line.number("auroc") - line.number(name))
        if not lines:
            continue
        matched = [matches_shortcut(line, name) for line in lines]
        names = [f"{line.place.detector} on {line.place.root}" for line in lines]
        drawn = plots.beside_shortcuts(
            names, _band(lines, "auroc"), _band(lines, name), matched, f"{sees} alone"
        )
        rows = [
            (
                label,
                Shaded(number(line.number("auroc")), span(*line.ends("auroc"))),
                Shaded(number(line.number(name)), span(*line.ends(name)), marked=mark),
                "may explain the result" if mark else "does not",
                f"{line.count('num_images'):,} / {line.count('num_families'):,}",
            )
            for label, line, mark in zip(names, lines, matched, strict=True)
        ]
        header = ("", "detector", f"{sees} alone", "the shortcut", "pictures / families")
        blocks += [Drawings([(f"AUROC beside {sees} alone, 95% intervals", drawn)]), Table(header, rows)]
    if not blocks and evidence.whole:
        blocks.append(
            Text(
                "Not asked, or too few families: nothing is known of what file facts or colour alone would "
                "reach on these pictures. `dfd audit` asks for a whole set of shards."
            )
        )
    return Part("Shortcut audit", blocks)


def _band(lines: Sequence[Line], name: str) -> Band:
    ends = [line.ends(name) for line in lines]
    return Band(
        np.array([line.number(name) for line in lines]),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
    )


def _auroc_cell(line: Line | None, marked: set[Place]) -> Shaded:
    if line is None:
        return Shaded("missing")
    value = line.number("auroc")
    return Shaded(number(value), span(*line.ends("auroc")), value, line.place in marked)


def _auroc(line: Line) -> float:
    value = line.number("auroc")
    return math.inf if math.isnan(value) else value


def _worst(lines: Sequence[Line | None]) -> float:
    return min(_auroc(line) for line in lines if line)
