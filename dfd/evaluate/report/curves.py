"""Curves of the report: ROC, PR, DET, risk-coverage, reliability with counts, and metrics over strength."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dfd import plots
from dfd.batch import Predictions
from dfd.evaluate.confidence import familiar_first
from dfd.evaluate.report.evidence import CLEAN, Cell, Evidence, Line, Place
from dfd.evaluate.report.page import Block, Drawings, Part, Text, counted, number
from dfd.metrics import risk_coverage
from dfd.plots.comparison import MOST_LINES, Band

_MOST_RELIABILITY = 6  # diagrams of a detector, of the roots with the largest calibration error


def curves(evidence: Evidence) -> Part:
    """The curves of each detector on clean pictures, a line a root."""
    blocks: list[Block] = []
    for detector in evidence.names("detector"):
        cells = {
            place.root: (cell, line)
            for place, line in evidence.whole.items()
            if place.detector == detector and evidence.is_plain(place) and (cell := evidence.cell(place))
        }
        if not cells:
            continue
        scores = {root: _scores(cell) for root, (cell, _) in cells.items()}
        risks = _risks({root: cell for root, (cell, _) in cells.items()})
        on = ", ".join(f"{root}: {counted(len(label), 'picture')}" for root, (label, _) in scores.items())
        left = f" Only the first {MOST_LINES} are drawn." if len(scores) > MOST_LINES else ""
        drawn = {
            "fakes found over false alarms, of every threshold": plots.roc_lines(scores),
            "precision over recall": plots.precision_recall_lines(scores),
            "misses over false alarms, on normal deviates": plots.det_lines(scores),
            "errors among the answers, the surest answered first; the line of a detector that knows what it "
            "does not know falls to the left": plots.risk_coverage_lines(risks, "Errors"),
        }
        blocks += [
            Text(f"{detector}, on {on}.{left}"),
            Drawings([(f"{detector}: {what}", figure) for what, figure in drawn.items()]),
            Drawings(_reliability(detector, cells)),
        ]
    return Part("Curves", blocks)


def robustness(evidence: Evidence) -> Part:
    """AUROC over the strength of each condition: a figure a detector and condition, a line a root."""
    strengths: dict[str, list[Place]] = {}
    for place in evidence.whole:
        if place.condition != CLEAN:
            steps = strengths.setdefault(place.condition, [])
            steps += [place] if place.step not in [each.step for each in steps] else []
    together = [steps[0] for steps in strengths.values() if len(steps) == 1]
    figures = {name: steps for name, steps in strengths.items() if len(steps) > 1}
    if together:
        figures["one strength each" if figures else "Conditions"] = together
    blocks: list[Block] = []
    for detector in evidence.names("detector"):
        drawn = [(name, _over_steps(evidence, detector, name, steps)) for name, steps in figures.items()]
        drawings = [(f"{detector}: {name}", figure) for name, figure in drawn if figure is not None]
        if drawings:
            blocks += [
                Text(f"{detector}, from clean pictures on the left to the strongest on the right."),
                Drawings(drawings),
            ]
    if blocks:
        blocks.insert(0, Text("Bands are 95% intervals over families; the dashed line is guessing."))
    return Part("Robustness", blocks)


def _risks(cells: Mapping[str, Cell]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Risk-coverage curves in the order of the tidy table's AURC; of all roots together also by confidence
    alone.
    """
    first = next(iter(cells.values()))
    calibrated, threshold = first.calibrated, first.threshold
    tables = {root: cell.predictions.judged for root, cell in cells.items()}
    sure = {
        root: familiar_first(cell.predictions, cell.verdict, calibrated, threshold)(tables[root])
        for root, cell in cells.items()
    }
    curves = {
        root: risk_coverage(table, calibrated, threshold, lambda _, order=sure[root]: order)
        for root, table in tables.items()
    }
    every = Predictions(
        **{
            name: np.concatenate([getattr(table, name) for table in tables.values()])
            for name in Predictions.__dataclass_fields__
        }
    )
    if len(cells) > 1:
        together = np.concatenate(list(sure.values()))
        curves["all together"] = risk_coverage(every, calibrated, threshold, lambda _: together)
    if np.isfinite(every.familiarity).any():
        alone = replace(every, familiarity=np.full(len(every), np.nan))
        curves["all, confidence alone"] = risk_coverage(alone, calibrated, threshold)
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def _scores(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    judged = cell.predictions.judged
    known = judged.where(judged.label >= 0)
    return known.label, known.logit


def _reliability(detector: str, cells: dict[str, tuple[Cell, Line]]) -> list[tuple[str, plots.Figure]]:
    """Reliability diagrams of the roots where the calibration error is largest."""
    worst = sorted(cells, key=lambda root: np.nan_to_num(-cells[root][1].number("ece")))
    figures = []
    for root in worst[:_MOST_RELIABILITY]:
        cell, line = cells[root]
        known = (cell.predictions.label >= 0) & np.isfinite(cell.prob)
        if known.any():
            drawn = plots.reliability(cell.predictions.label[known], cell.prob[known])
            caption = (
                f"{detector} on {root}: of the pictures that it gives a P(fake), how many are fake; ECE "
                f"{number(line.number('ece'))}, {counted(int(known.sum()), 'picture')}, counts below"
            )
            figures.append((caption, drawn))
    return figures


def _over_steps(evidence: Evidence, detector: str, title: str, steps: list[Place]) -> plots.Figure | None:
    """A figure of the AUROC of clean pictures and at these strengths; None where none is known."""
    bands = {}
    for root in evidence.names("root"):
        places = [
            Place(detector, root),
            *(Place(detector, root, step.condition, step.severity) for step in steps),
        ]
        lines = [evidence.whole.get(place) for place in places]
        values = [math.nan if line is None else line.number("auroc") for line in lines]
        if all(math.isnan(value) for value in values[1:]):
            continue
        ends = [(math.nan, math.nan) if line is None else line.ends("auroc") for line in lines]
        low, high = np.array(ends).T
        bands[root] = Band(np.array(values), low, high)
    if not bands:
        return None
    alone = len({step.condition for step in steps}) > 1
    words = [step.step if alone or step.severity is None else f"{step.severity:g}" for step in steps]
    return plots.robustness_bands(bands, [CLEAN, *words], title, "AUROC")
