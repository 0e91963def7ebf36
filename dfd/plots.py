"""Every figure: arrays in, matplotlib Figure out. Never pyplot, so nothing is global and no display is needed.

Real is blue and fake vermilion throughout (Okabe and Ito 2008), which every kind of colour vision tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from scipy.special import expit

from dfd.batch import FAKE, LABELS, Verdicts

COLORS = ("#0072B2", "#D55E00")  # of REAL and FAKE
INK, PALE = "#333333", "#BBBBBB"
NUM_BINS = 15  # of the reliability diagram, as in the metric `ece`


def roc(label: np.ndarray, logit: np.ndarray, threshold: float | None = None, figure: FigureBase | None = None) -> FigureBase:
    """Fakes found over false alarms of every threshold. The dot is `threshold`: logit (M,) above it is called fake.

    label: (M,) REAL or FAKE, as in the other figures; `figure` is where to draw, a new one by default.
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


def precision_recall(
    label: np.ndarray, logit: np.ndarray, threshold: float | None = None, figure: FigureBase | None = None
) -> FigureBase:
    """How many of the images called fake are fake, over the share of fakes found. The dashed line calls everything fake."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _square(
        figure, "Precision and recall", "Recall: share of fakes found", "Precision: share right of those called fake"
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
    """Counts of truth against what it was called, (M,) REAL or FAKE each; the shade is the share of the true class."""
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
    """Does P(fake) keep its word? Share of fakes in each bin of prob (M,), with 95% Wilson intervals; the counts below."""
    figure = figure or Figure(figsize=(4.8, 4.4), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    place = np.minimum((prob * NUM_BINS).astype(int), NUM_BINS - 1)
    count = np.bincount(place, minlength=NUM_BINS)
    used = count > 0
    total = count[used]
    mean, share = (np.bincount(place, weights=values, minlength=NUM_BINS)[used] / total for values in (prob, label == FAKE))
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
    below.set(ylabel="Images", xlabel="P(fake) after temperature")
    below.legend(loc="upper center", ncols=2, frameon=False, fontsize=8, borderaxespad=0)
    for each in (axes, below):
        each.spines[["top", "right"]].set_visible(False)
    return figure


def curves(verdicts: Verdicts, temperature: float = 1.0, threshold: float = 0.0, title: str = "") -> Figure:
    """ROC, precision and recall, confusion and reliability on one page; rows with an unknown label are left out."""
    known = verdicts.where(verdicts.label >= 0)
    figure = Figure(figsize=(10, 9.4), layout="constrained")
    figure.suptitle(title, fontsize=13)
    (upper_left, upper_right), (lower_left, lower_right) = figure.subfigures(2, 2)
    roc(known.label, known.logit, threshold, upper_left)
    precision_recall(known.label, known.logit, threshold, upper_right)
    confusion(known.label, (known.logit > threshold).astype(int), lower_left)
    reliability(known.label, expit(known.logit / temperature), lower_right)
    return figure


def image_grid(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    maps: Sequence[np.ndarray | None] | None = None,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """Pictures in rows of `columns`, each under its caption; one that has a map is shown grey with the map over it.

    images: each (H, W, 3), float in [0, 1] or uint8. maps: each (H, W) or None; what is positive (speaks for fake) is red,
    what is negative (for real) blue, and the strongest 1% of a map is opaque: maps are not comparable with each other.
    """
    maps = [None] * len(images) if maps is None else maps
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.3 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, caption, heat in zip(grid.flat, images, captions, maps, strict=False):
        if heat is None:
            axes.imshow(image)
        else:
            grey = image.mean(axis=2) / (255 if image.dtype == np.uint8 else 1)
            axes.imshow(0.3 + 0.7 * grey, cmap="gray", vmin=0, vmax=1)
            strength = np.clip(heat / max(np.quantile(np.abs(heat), 0.99), 1e-12), -1, 1)
            axes.imshow(strength, cmap="RdBu_r", vmin=-1, vmax=1, alpha=0.85 * np.abs(strength))
        axes.set_title(caption, fontsize=8)
    return figure


def shares(counts: Mapping[str, int], title: str = "") -> Figure:
    """Counts as a pie, with their numbers; real and fake in their colours."""
    figure = Figure(figsize=(4.8, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    known = dict(zip(LABELS, COLORS, strict=True))
    others = iter(["#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#E69F00"] * len(counts))
    used = {name: count for name, count in counts.items() if count}
    total = sum(used.values())
    axes.pie(
        list(used.values()),
        labels=[f"{name}\n{count} ({count / total:.1%})" for name, count in used.items()],
        colors=[known.get(name) or next(others) for name in used],
        wedgeprops={"edgecolor": "white"},
        startangle=90,
    )
    return figure


def class_bars(counts: Mapping[str, tuple[int, int]], title: str = "") -> Figure:
    """How many real and fake pictures each name has: horizontal bars, one above another."""
    figure = Figure(figsize=(7, 1.2 + 0.34 * len(counts)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    names, left = list(counts), np.zeros(len(counts))
    for kind, color in enumerate(COLORS):
        width = np.array([counts[name][kind] for name in names])
        axes.barh(names, width, left=left, color=color, edgecolor="white", label=LABELS[kind])
        left = left + width
    for place, name in enumerate(names):
        axes.annotate(" + ".join(map(str, counts[name])), (left[place], place), (4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_xlabel("Images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0)
    return figure


def histograms(values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "", log: Sequence[str] = ()) -> Figure:
    """The spread of each quantity (M,) in reals and in fakes, as shares of the class; those in `log` may have a log axis."""
    figure, places = _row_of_axes(values, title)
    for axes, (name, value) in zip(places, values.items(), strict=True):
        if _constant(axes, name, value):
            continue
        low, high = float(value.min()), float(value.max())
        scaled = name in log and _spans_decades(value)
        edges = np.geomspace(low, high, 41) if scaled else np.linspace(low, high, 41)
        for kind, color in enumerate(COLORS):
            mine = value[label == kind]
            if len(mine):
                axes.hist(mine, edges, weights=np.full(len(mine), 1 / len(mine)), color=color, alpha=0.6, label=LABELS[kind])
        axes.set(xlabel=name, ylabel="Share of the class", xscale="log" if scaled else "linear")
    if drawn := [axes for axes in places if axes.has_data()]:
        drawn[0].legend(frameon=False)
    return figure


def boxes(values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "", log: Sequence[str] = ()) -> Figure:
    """Quartiles of each quantity (M,) in reals and in fakes; whiskers reach 1.5 times the box, dots are what lies beyond."""
    figure, places = _row_of_axes(values, title)
    for axes, (name, value) in zip(places, values.items(), strict=True):
        if _constant(axes, name, value):
            continue
        parts = [value[label == kind] for kind in (0, 1)]
        drawn = axes.boxplot(parts, widths=0.6, patch_artist=True, flierprops={"markersize": 3, "markeredgecolor": PALE})
        _dress(axes, drawn["boxes"], name, name in log and _spans_decades(value))
        for line in drawn["medians"]:
            line.set_color(INK)
    return figure


def violins(values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "") -> Figure:
    """The shape of each quantity's (M,) spread in reals and in fakes, with its median."""
    figure, places = _row_of_axes(values, title)
    for axes, (name, value) in zip(places, values.items(), strict=True):
        parts = [value[label == kind] for kind in (0, 1)]
        if min(map(len, parts)) < 2:
            axes.text(0.5, 0.5, "it takes two images\nof each class", ha="center", va="center", transform=axes.transAxes)
            continue
        drawn = axes.violinplot(parts, widths=0.8, showmedians=True, showextrema=False)
        _dress(axes, drawn["bodies"], name, False)
        drawn["cmedians"].set_color(INK)
    return figure


def mean_spectra(spectra: np.ndarray, counted: Sequence[int]) -> Figure:
    """Mean log spectra of reals and of fakes (2, N, N // 2 + 1), frequency 0 in row N // 2, and fake minus real."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle("Mean spectra of the central squares, log amplitude", fontsize=11)
    real, fake, change = figure.subplots(1, 3)
    bounds = [0, 0.5, -0.5, 0.5]  # cycles a pixel
    top = float(np.quantile(spectra, 0.995))
    for axes, spectrum, name, count in zip((real, fake), spectra, LABELS, counted, strict=True):
        axes.imshow(spectrum, extent=bounds, cmap="magma", vmin=0, vmax=top, origin="lower", aspect="auto")
        axes.set_title(f"{name}, {count} images", fontsize=10)
    difference = spectra[1] - spectra[0]
    most = max(float(np.quantile(np.abs(difference), 0.995)), 1e-6)
    shown = change.imshow(difference, extent=bounds, cmap="RdBu_r", vmin=-most, vmax=most, origin="lower", aspect="auto")
    change.set_title("fake minus real", fontsize=10)
    figure.colorbar(shown, ax=change)
    for axes in (real, fake, change):
        axes.set(xlabel="cycles a pixel, across", ylabel="cycles a pixel, down")
    return figure


def quantization_tables(tables: Mapping[str, Sequence[int]], title: str = "") -> Figure:
    """Each name's 64 quantization steps, row by row, as an 8 x 8 grid: dark is coarse."""
    columns = min(4, max(1, len(tables)))
    rows = -(-max(1, len(tables)) // columns)
    figure = Figure(figsize=(2.9 * columns, 3.2 * rows), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (name, steps) in zip(grid.flat, tables.items(), strict=False):
        steps = np.array(steps).reshape(8, 8)
        axes.imshow(steps, cmap="Greys", vmin=0, vmax=max(120, steps.max()))
        for (row, at), step in np.ndenumerate(steps):
            axes.text(at, row, step, ha="center", va="center", fontsize=7, color="white" if step > 70 else INK)
        axes.set_title(name, fontsize=8)
    return figure


def score_bars(scores: Mapping[str, float], title: str = "", chance: float = 0.5) -> Figure:
    """AUROCs, one bar each from `chance` on; nan draws nothing."""
    figure = Figure(figsize=(7, 1.2 + 0.3 * max(1, len(scores))), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    value = np.nan_to_num(np.array(list(scores.values()), float), nan=chance)
    axes.barh(list(scores), value - chance, left=chance, color=INK)
    for place, score in enumerate(value):
        axes.annotate(
            f"{score:.2f}", (score, place), (4 if score >= chance else -26, 0), textcoords="offset points", va="center"
        )
    axes.axvline(chance, color=PALE, linewidth=1)
    axes.set(xlim=(min(0.3, float(value.min(initial=1)) - 0.08), 1.06), xlabel="AUROC of this alone")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _row_of_axes(values: Mapping[str, np.ndarray], title: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(max(4.8, 2.7 * len(values)), 3.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    places = figure.subplots(1, len(values), squeeze=False)[0]
    for axes in places:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, places


def _constant(axes: Axes, name: str, value: np.ndarray) -> bool:
    """Whether all images have one value, which is then said in place of a figure."""
    if value.min() < value.max():
        return False
    axes.axis("off")
    axes.text(0.5, 0.5, f"{name}:\n{value[0]:.10g} in every image", ha="center", va="center", color=INK)
    return True


def _spans_decades(value: np.ndarray) -> bool:
    """Whether a logarithmic axis would show more than a linear one, and has room for its labels."""
    return value.min() > 0 and value.max() > 10 * value.min()


def _dress(axes: Axes, bodies: Sequence, name: str, log: bool) -> None:
    for body, color in zip(bodies, COLORS, strict=True):
        body.set_facecolor(color)
        body.set_alpha(0.7)
    axes.set_xticks([1, 2], LABELS)
    axes.set(ylabel=name, yscale="log" if log else "linear")


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
