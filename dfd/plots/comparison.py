"""Curves of several prediction tables in one figure: a line for each data root, all of one detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from dfd.batch import FAKE
from dfd.plots.figure import Figure, shortened
from dfd.plots.palette import COLORS, INK, PALE

# none is the colour of real or fake; for the colour-blind too (Okabe and Ito 2008)
_LINES = ("#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_STYLES = ("-", "--", ":")
_NAME = 22  # letters of a name in a legend
MOST_LINES = len(_LINES) * len(_STYLES)

Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]  # name -> label (M,) REAL or FAKE, logit (M,)


def roc_lines(scores: Scores) -> Figure:
    """ROC curves: fakes found over false alarms, of every threshold."""
    from sklearn.metrics import roc_curve

    figure, axes = _square("ROC", "False alarms: share of reals called fake", "Share of fakes found")
    axes.plot([0, 1], [0, 1], color=PALE, linestyle="--", linewidth=1)
    for at, (name, (label, logit)) in enumerate(_of_both(scores).items()):
        fpr, tpr, _ = roc_curve(label, logit)
        _line(axes, at, fpr, tpr, name)
    return _with_names(figure, axes)


def precision_recall_lines(scores: Scores) -> Figure:
    """Precision over recall; where the shares of fakes differ, so do the floors of the lines."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _square(
        "Precision and recall", "Recall: share of fakes found", "Precision: share right of those called fake"
    )
    for at, (name, (label, logit)) in enumerate(_of_both(scores).items()):
        precision, recall, _ = precision_recall_curve(label, logit)
        _line(axes, at, recall, precision, name, drawstyle="steps-pre")
    return _with_names(figure, axes)


def det_lines(scores: Scores) -> Figure:
    """Detection error tradeoff: misses over false alarms on normal deviates, where a detector whose two
    classes are normal is a straight line (Martin et al. 1997).
    """
    from scipy.stats import norm
    from sklearn.metrics import roc_curve

    figure, axes = _square("DET", "False alarms: share of reals called fake", "Misses: share of fakes missed")
    ticks = [0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99]
    low, high = 0.003, 0.997
    for at, (name, (label, logit)) in enumerate(_of_both(scores).items()):
        fpr, tpr, _ = roc_curve(label, logit, drop_intermediate=False)
        alarms, misses = (norm.ppf(np.clip(each, low, high)) for each in (fpr, 1 - tpr))
        _line(axes, at, alarms, misses, name)
    words = [f"{tick:.0%}" for tick in ticks]
    place = norm.ppf(ticks)
    ends = (float(norm.ppf(low)), float(norm.ppf(high)))
    axes.set(xlim=ends, ylim=ends)
    axes.set_xticks(place, words)
    axes.set_yticks(place, words)
    axes.plot(ends, ends[::-1], color=PALE, linestyle="--", linewidth=1)
    return _with_names(figure, axes)


def risk_coverage_lines(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], ylabel: str) -> Figure:
    """Share of errors among the answers, over the share of pictures answered, the surest first.

    Args:
        curves: name -> coverage (N,) upward, risk (N,).
    """
    figure, axes = _square("Risk and coverage", "Coverage: share of pictures answered", ylabel)
    # of the first few answers a share jumps from none to all
    most = max(
        (float(risk[len(risk) // 20 :].max()) for _, risk in curves.values() if len(risk)), default=0.5
    )
    axes.set(aspect="auto", ylim=(-0.02, min(1.02, max(0.3, 1.1 * most))))
    for at, (name, (coverage, risk)) in enumerate(list(curves.items())[:MOST_LINES]):
        _line(axes, at, coverage, risk, name)
    return _with_names(figure, axes)


class Band(NamedTuple):
    """A metric at each step of a condition, with its 95% interval; NaN where it is not known."""

    value: np.ndarray  # (N,)
    low: np.ndarray
    high: np.ndarray


def robustness_bands(
    bands: Mapping[str, Band], steps: Sequence[str], title: str, ylabel: str, chance: float = 0.5
) -> Figure:
    """A metric over the strengths of a condition, a line with a band for each name.

    Args:
        bands: name -> values (N,).
        steps: (N,) names of the strengths, the first being the clean pictures.
        title: the condition.
        ylabel: the metric.
        chance: what guessing gives, drawn dashed.
    """
    figure, axes = _square(title, "Strength", ylabel)
    place = np.arange(len(steps))
    axes.axhline(chance, color=PALE, linestyle="--", linewidth=1)
    for at, (name, band) in enumerate(list(bands.items())[:MOST_LINES]):
        color, known = _LINES[at % len(_LINES)], np.isfinite(band.value)
        axes.fill_between(place, band.low, band.high, color=color, alpha=0.13, linewidth=0)
        _line(axes, at, place[known], band.value[known], name, marker="o", markersize=4)
    axes.set(aspect="auto", xlim=(-0.2, len(steps) - 0.8))
    axes.set_xticks(place, [shortened(step, 12) for step in steps])
    return _with_names(figure, axes)


def beside_shortcuts(
    names: Sequence[str], score: Band, shortcut: Band, matched: Sequence[bool], what: str
) -> Figure:
    """The AUROC of a detector beside that of a model that sees no picture content, with 95% intervals.

    Args:
        names: (N,) one a line.
        score, shortcut: (N,) each.
        matched: (N,) whether the shortcut can explain the score: then both are vermilion.
        what: what the shortcut sees, for the legend.
    """
    figure = Figure(figsize=(4.8, 1.4 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.5, color=PALE, linestyle="--", linewidth=1)
    for at, marked in enumerate(matched):
        color = COLORS[FAKE] if marked else INK
        for values, offset, marker, fill in ((score, -0.13, "o", color), (shortcut, 0.13, "D", "white")):
            axes.plot([values.low[at], values.high[at]], [at + offset] * 2, color=color, linewidth=1.5)
            axes.plot([values.value[at]], [at + offset], marker, color=color, markerfacecolor=fill)
    axes.plot([], [], "o", color=INK, label="detector")
    axes.plot([], [], "D", color=INK, markerfacecolor="white", label=what)
    axes.plot([], [], "s", color=COLORS[FAKE], label="the shortcut can match it")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=1, frameon=False, fontsize=9)
    axes.set_yticks(range(len(names)), [shortened(name, 28) for name in names])
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(-0.02, 1.02), xlabel="AUROC")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _of_both(scores: Scores) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first of those that have reals and fakes: others have no such curve."""
    both = {name: pair for name, pair in scores.items() if len(np.unique(pair[0])) == 2}
    return dict(list(both.items())[:MOST_LINES])


def _square(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axes: Axes, at: int, x: np.ndarray, y: np.ndarray, name: str, **look: object) -> None:
    style = _STYLES[at // len(_LINES) % len(_STYLES)]
    # a name that begins with "_" would be left out of the legend
    label = "\u200b" + shortened(name, _NAME)
    axes.plot(x, y, color=_LINES[at % len(_LINES)], linestyle=style, linewidth=1.6, label=label, **look)


def _with_names(figure: Figure, axes: Axes) -> Figure:
    """With its legend below, where it covers no line."""
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure
