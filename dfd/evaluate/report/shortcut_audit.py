"""Shortcut audit of the report: what small models reach that see no content, beside each detector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfd import plots
from dfd.evaluate.cue_baseline import CUES_AUROC
from dfd.evaluate.report.evidence import Evidence, Line
from dfd.evaluate.report.marks import SHORTCUTS, matches_shortcut
from dfd.evaluate.report.page import Block, Drawings, Part, Shaded, Table, Text, number, span
from dfd.plots.comparison import Band


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
                _says(line, name, mark),
                f"{line.count('num_images'):,} / {line.count('num_families'):,}",
            )
            for label, line, mark in zip(names, lines, matched, strict=True)
        ]
        header = ("", "detector", f"{sees} alone", "the shortcut", "pictures / families")
        blocks += [Drawings([(f"AUROC beside {sees} alone, 95% intervals", drawn)]), Table(header, rows)]
    blocks += _baseline(evidence)
    if not blocks and evidence.whole:
        blocks.append(
            Text(
                "Not asked, or too few families: nothing is known of what file facts or colour alone would "
                "reach on these pictures. `dfd audit` asks for a whole set of shards."
            )
        )
    return Part("Shortcut audit", blocks)


def _baseline(evidence: Evidence) -> list[Block]:
    """Each detector's AUROC beside that of a logistic model of forensic cues."""
    lines = [line for line in evidence.whole.values() if math.isfinite(line.number(CUES_AUROC))]
    if not lines:
        return []
    rows = [
        (
            f"{line.place.detector} on {line.place.root}",
            Shaded(number(line.number("auroc")), span(*line.ends("auroc"))),
            Shaded(number(line.number(CUES_AUROC)), span(*line.ends(CUES_AUROC))),
            f"{line.count('num_images'):,} / {line.count('num_families'):,}",
        )
        for line in lines
    ]
    text = (
        "Baseline: a logistic model of some hundred forensic cues (noise, spectrum, compression, pixels; no "
        "facts of the file), trained on the train split of the same pictures. A detector that is no better "
        "has learnt nothing that they do not say. No shortcut by itself: cues may well be traces of forgery."
    )
    return [Text(text), Table(("", "detector", "forensic cues alone", "pictures / families"), rows)]


def _says(line: Line, name: str, mark: bool) -> str:
    """Whether a shortcut explains a result, in words; with few pictures that may be unknown."""
    if mark:
        return "may explain the result"
    reaches = line.ends(name)[1] >= line.ends("auroc")[0]
    return "not shown, and not excluded: too few pictures" if reaches else "does not explain it"


def _band(lines: Sequence[Line], name: str) -> Band:
    ends = [line.ends(name) for line in lines]
    return Band(
        np.array([line.number(name) for line in lines]),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
    )
