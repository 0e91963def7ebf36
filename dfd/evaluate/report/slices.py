"""Slices of the report: by source, by method, and by whatever attributes the pictures have."""

from __future__ import annotations

import numpy as np

from dfd.batch import FAKE, REAL
from dfd.evaluate.report.evidence import Evidence, Line
from dfd.evaluate.report.page import Block, Part, Shaded, Table, number, percent, span
from dfd.evaluate.report.verdict_shares import share_interval

_MOST_VALUES = 12  # of an attribute that is sliced; more are no groups
_MOST_SLICES = 60  # lines of a table of slices
_SMALL = 8  # pictures of a class below which a slice's figures say nothing


def slices(evidence: Evidence) -> Part:
    """Sources, methods, and whatever attributes the pictures have."""
    blocks: list[Block] = []
    for prefix, title in (("source:", "source"), ("method:", "method, against the reals of its sources")):
        lines = [
            line
            for line in evidence.lines
            if line.part.startswith(prefix) and line.kind == "image" and evidence.is_plain(line.place)
        ]
        lines.sort(key=Line.by_auroc)
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
