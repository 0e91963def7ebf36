"""ROC, DET, precision and recall, confusion, reliability and risk-coverage of a prediction table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from scipy.special import expit, ndtri

from dfd.batch import FAKE, LABELS, NUM_BINS, Predictions
from dfd.plots.figure import Figure
from dfd.plots.palette import COLORS, INK, PALE
from dfd.weighing import weighed

DET_EDGE = 0.001  # error rates beyond which the DET curve lies on its edge
DET_TICKS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


def roc(
    label: np.ndarray, logit: np.ndarray, threshold: float | None = None, figure: FigureBase | None = None
) -> FigureBase:
    """ROC curve: fakes found over false alarms, of every threshold.

    Args:
        label: (M,) REAL or FAKE.
        logit: (M,); above `threshold` an image is called fake.
        threshold: marked by a dot.
        figure: where to draw; a new one by default.
    """
    from sklearn.metrics import roc_curve

    figure, axes = _square(figure, "ROC", "False alarms: share of reals called fake", "Share of fakes found")
    axes.plot([0, 1], [0, 1], color=PALE, linestyle="--", linewidth=1)
    if _needs_both(axes, label):
        fpr, tpr, _ = roc_curve(label, logit)
        axes.plot(fpr, tpr, color=INK, linewidth=2)
        if threshold is not None:
            called, fake = logit > threshold, label == FAKE
            _mark(axes, called[~fake].mean(), called[fake].mean())
    return figure


def det(
    label: np.ndarray, logit: np.ndarray, threshold: float | None = None, figure: FigureBase | None = None
) -> FigureBase:
    """Detection error tradeoff (Martin et al. 1997): misses over false alarms, arguments as of `roc`.

    On normal deviates, where a detector whose two classes are normal is a straight line, and small error
    rates have as much room as large ones. Rates below 0.1% lie on the edge.
    """
    from sklearn.metrics import roc_curve

    figure, axes = _square(
        figure, "DET", "False alarms: share of reals called fake", "Misses: share of fakes not found"
    )
    low, high = ndtri([DET_EDGE, 1 - DET_EDGE])
    axes.plot([low, high], [high, low], color=PALE, linestyle="--", linewidth=1)
    place, words = ndtri(DET_TICKS), [f"{tick:.3g}" for tick in DET_TICKS]
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_xticks(place, words)
    axes.set_yticks(place, words)

    def deviate(rate: np.ndarray) -> np.ndarray:
        return ndtri(np.clip(rate, DET_EDGE, 1 - DET_EDGE))

    if _needs_both(axes, label):
        fpr, tpr, _ = roc_curve(label, logit, drop_intermediate=False)
        axes.plot(deviate(fpr), deviate(1 - tpr), color=INK, linewidth=2, clip_on=False)
        if threshold is not None:
            called, fake = logit > threshold, label == FAKE
            _mark(axes, float(deviate(called[~fake].mean())), float(deviate(1 - called[fake].mean())))
    return figure


def risk_coverage(
    coverage: np.ndarray, risk: np.ndarray, area: float, figure: FigureBase | None = None
) -> FigureBase:
    """Risk-coverage curve: share of errors among the images that are kept, over the share that is kept.

    Args:
        coverage, risk: (S,) each, as `dfd.metrics.risk_coverage` gives them.
        area: AURC, `aurc` of the metrics; the dashed line is an order that knows nothing.
        figure: where to draw; a new one by default.
    """
    figure, axes = _new(figure, "Risk and coverage")
    axes.set(
        xlabel="Coverage: share of images kept, the surest first",
        ylabel="Risk: share of errors among them",
        xlim=(-0.02, 1.02),
    )
    axes.spines[["top", "right"]].set_visible(False)
    if not len(coverage):
        axes.text(0.5, 0.5, "undefined:\nit takes images", ha="center", va="center", color=INK)
        return figure
    axes.axhline(risk[-1], color=PALE, linestyle="--", linewidth=1)
    axes.plot(coverage, risk, color=INK, linewidth=2, drawstyle="steps-pre", label=f"area {area:.4f}")
    axes.set_ylim(-0.02 * max(risk.max(), 0.05), 1.1 * max(risk.max(), 0.05))
    axes.legend(loc="upper left", frameon=False)
    return figure


def precision_recall(
    label: np.ndarray, logit: np.ndarray, threshold: float | None = None, figure: FigureBase | None = None
) -> FigureBase:
    """Precision over recall, arguments as of `roc`. The dashed line calls everything fake."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _square(
        figure,
        "Precision and recall",
        "Recall: share of fakes found",
        "Precision: share right of those called fake",
    )
    if _needs_both(axes, label):
        precision, recall, _ = precision_recall_curve(label, logit)
        axes.axhline((label == FAKE).mean(), color=PALE, linestyle="--", linewidth=1)
        axes.step(recall, precision, where="pre", color=INK, linewidth=2)
        called, fake = (None if threshold is None else logit > threshold), label == FAKE
        if called is not None and called.any():
            _mark(axes, called[fake].mean(), fake[called].mean())
    return figure


def confusion(label: np.ndarray, called: np.ndarray, figure: FigureBase | None = None) -> FigureBase:
    """Counts of truth against what it was called, (M,) REAL or FAKE each; the shade is the share of the true
    class.
    """
    figure, axes = _new(figure, "Confusion at the threshold")
    counts = np.array([[((label == truth) & (called == word)).sum() for word in (0, 1)] for truth in (0, 1)])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.25)
    for (truth, word), count in np.ndenumerate(counts):
        shade = "white" if shares[truth, word] > 0.6 else INK
        share = f"{shares[truth, word]:.1%}" if counts[truth].sum() else "no such image"
        axes.text(word, truth, f"{count}\n{share}", ha="center", va="center", color=shade, fontsize=13)
    axes.set(
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=[f"called {name}" for name in LABELS],
        yticklabels=[f"is {name}" for name in LABELS],
    )
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for tick, color in zip(ticks, COLORS, strict=True):
            tick.set_color(color)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def reliability(label: np.ndarray, prob: np.ndarray, figure: FigureBase | None = None) -> FigureBase:
    """Reliability diagram: share of fakes in each bin of prob (M,), 95% Wilson intervals; counts below."""
    figure = figure or Figure(figsize=(4.8, 4.4), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    place = np.minimum((prob * NUM_BINS).astype(int), NUM_BINS - 1)
    count = np.bincount(place, minlength=NUM_BINS)
    used = count > 0
    total = count[used]
    mean, share = (
        np.bincount(place, weights=values, minlength=NUM_BINS)[used] / total
        for values in (prob, label == FAKE)
    )
    middle = (share + 1.92 / total) / (1 + 3.84 / total)
    half = 1.96 * np.sqrt(share * (1 - share) / total + 0.9604 / total**2) / (1 + 3.84 / total)
    axes.plot([0, 1], [0, 1], color=PALE, linestyle="--", linewidth=1)
    axes.vlines(mean, middle - half, middle + half, color=PALE, linewidth=3)
    axes.plot(mean, share, "o", color=INK, markersize=5)
    axes.set_title("Reliability", loc="left", fontweight="bold")
    axes.set(ylabel="Share that is fake", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    edges, bottom = np.linspace(0, 1, NUM_BINS + 1), np.zeros(NUM_BINS)
    for kind, color in enumerate(COLORS):
        height = np.bincount(place[label == kind], minlength=NUM_BINS)
        below.bar(
            edges[:-1],
            height,
            width=1 / NUM_BINS,
            bottom=bottom,
            align="edge",
            color=color,
            edgecolor="white",
            label=LABELS[kind],
        )
        bottom = bottom + height
    below.set(ylabel="Images", xlabel="P(fake) after calibration")
    # above the bars: inside, it lies over the one bar of a small set
    below.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2
    )
    for each in (axes, below):
        each.spines[["top", "right"]].set_visible(False)
    return figure


def curves(
    predictions: Predictions,
    calibrated: Callable[[np.ndarray], np.ndarray] | None = None,
    threshold: float = 0.0,
    title: str = "",
    risk: tuple[np.ndarray, np.ndarray, float] | None = None,
) -> Figure:
    """ROC, DET, precision and recall, confusion, reliability and, where given, risk and coverage on one page,
    of judged rows with a known label.

    Args:
        calibrated: raw logits to log odds; by default as they are.
        threshold: raw logit, above which an image is called fake.
        risk: coverage, risk and area, see `risk_coverage`.
    """
    known = predictions.where((predictions.label >= 0) & (predictions.status == "ok"))
    counted = weighed(known.logit, known.familiarity, threshold)
    log_odds = counted if calibrated is None else calibrated(counted)
    figure = Figure(figsize=(10, 14), layout="constrained")
    figure.suptitle(title, fontsize=13)
    parts = figure.subfigures(3, 2)
    roc(known.label, known.logit, threshold, parts[0, 0])
    det(known.label, known.logit, threshold, parts[0, 1])
    precision_recall(known.label, known.logit, threshold, parts[1, 0])
    confusion(known.label, (known.logit > threshold).astype(int), parts[1, 1])
    reliability(known.label, expit(log_odds), parts[2, 0])
    if risk is not None:
        risk_coverage(*risk, parts[2, 1])
    return figure


def _new(figure: FigureBase | None, title: str) -> tuple[FigureBase, Axes]:
    figure = figure or Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    return figure, axes


def _square(figure: FigureBase | None, title: str, xlabel: str, ylabel: str) -> tuple[FigureBase, Axes]:
    figure, axes = _new(figure, title)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _needs_both(axes: Axes, label: np.ndarray) -> bool:
    both = len(np.unique(label)) == 2
    if not both:
        axes.text(0.5, 0.5, "undefined:\nit takes reals and fakes", ha="center", va="center", color=INK)
    return both


def _mark(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=COLORS[FAKE], markersize=8, clip_on=False, label="the threshold")
    axes.legend(loc="lower center", frameon=False)
