"""Figures of a data set, real beside fake: counts, histograms, boxes, spectra, quantization tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dfd.batch import LABELS
from dfd.plots.figure import Figure, shortened
from dfd.plots.palette import COLORS, INK, PALE

MOST_BARS = 30  # of a figure: more could not be read, and a picture has 65,535 rows of pixels at most


def shares(counts: Mapping[str, int], title: str = "") -> Figure:
    """Pie of counts, with their numbers; real and fake in their colours."""
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
    """Horizontal bars: how many real and fake images each name has.

    Of more than MOST_BARS names, those at the end share one bar.
    """
    if len(counts) > MOST_BARS:
        kept = dict(list(counts.items())[: MOST_BARS - 1])
        left = [count for name, count in counts.items() if name not in kept]
        counts = {**kept, f"{len(left)} others": (sum(c[0] for c in left), sum(c[1] for c in left))}
    figure = Figure(figsize=(7, 1.2 + 0.34 * len(counts)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    names, left = list(counts), np.zeros(len(counts))
    for kind, color in enumerate(COLORS):
        width = np.array([counts[name][kind] for name in names])
        axes.barh(range(len(names)), width, left=left, color=color, edgecolor="white", label=LABELS[kind])
        left = left + width
    # by numbers: names that are alike at their ends would share a bar
    axes.set_yticks(range(len(names)), [shortened(name, 40) for name in names])
    for place, name in enumerate(names):
        axes.annotate(
            " + ".join(map(str, counts[name])),
            (left[place], place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_xlabel("Images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no half of one
    axes.spines[["top", "right"]].set_visible(False)
    # below: beside the title there is no room where names are long
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    return figure


def histograms(
    values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "", log: Sequence[str] = ()
) -> Figure:
    """Histograms of each quantity (M,) in reals and in fakes, as shares of the class.

    Those named in `log` have a log axis where they span decades.
    """
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
                axes.hist(
                    mine,
                    edges,
                    weights=np.full(len(mine), 1 / len(mine)),
                    color=color,
                    alpha=0.6,
                    label=LABELS[kind],
                )
        axes.set(xlabel=name, ylabel="Share of the class", xscale="log" if scaled else "linear")
    if drawn := [axes for axes in places if axes.has_data()]:
        drawn[0].legend(frameon=False)
    return figure


def boxes(
    values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "", log: Sequence[str] = ()
) -> Figure:
    """Box plots of each quantity (M,) in reals and in fakes; whiskers reach 1.5 times the box.

    Those named in `log` have a log axis where they span decades.
    """
    figure, places = _row_of_axes(values, title)
    for axes, (name, value) in zip(places, values.items(), strict=True):
        if _constant(axes, name, value):
            continue
        parts = [value[label == kind] for kind in (0, 1)]
        drawn = axes.boxplot(
            parts, widths=0.6, patch_artist=True, flierprops={"markersize": 3, "markeredgecolor": PALE}
        )
        _dress(axes, drawn["boxes"], name, name in log and _spans_decades(value))
        for line in drawn["medians"]:
            line.set_color(INK)
    return figure


def violins(values: Mapping[str, np.ndarray], label: np.ndarray, title: str = "") -> Figure:
    """Violin plots of each quantity (M,) in reals and in fakes, with the median."""
    figure, places = _row_of_axes(values, title)
    for axes, (name, value) in zip(places, values.items(), strict=True):
        parts = [value[label == kind] for kind in (0, 1)]
        if min(map(len, parts)) < 2:
            _say(axes, "it takes two images\nof each class")
            continue
        drawn = axes.violinplot(parts, widths=0.8, showmedians=True, showextrema=False)
        _dress(axes, drawn["bodies"], name, False)
        drawn["cmedians"].set_color(INK)
    return figure


def mean_spectra(spectra: np.ndarray, counted: Sequence[int]) -> Figure:
    """Mean log spectra of reals and of fakes, and fake minus real.

    Args:
        spectra: (2, N, N // 2 + 1), frequency 0 in row N // 2.
        counted: images of each class.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle("Mean spectra of the central squares, log amplitude", fontsize=11)
    real, fake, change = figure.subplots(1, 3)
    bounds = [0, 0.5, -0.5, 0.5]  # cycles a pixel
    top = float(np.quantile(spectra, 0.995))
    for axes, spectrum, name, count in zip((real, fake), spectra, LABELS, counted, strict=True):
        axes.set_title(f"{name}, {count} {'image' if count == 1 else 'images'}", fontsize=10)
        if count:
            axes.imshow(
                spectrum, extent=bounds, cmap="magma", vmin=0, vmax=top, origin="lower", aspect="auto"
            )
        else:
            _say(axes, f"no {name} image")
    for axes in (real, fake, change):
        axes.set(xlabel="cycles a pixel, across", ylabel="cycles a pixel, down")
    change.set_title("fake minus real", fontsize=10)
    if not min(counted):
        _say(change, "undefined:\nit takes reals and fakes")
        return figure
    difference = spectra[1] - spectra[0]
    most = max(float(np.quantile(np.abs(difference), 0.995)), 1e-6)
    shown = change.imshow(
        difference, extent=bounds, cmap="RdBu_r", vmin=-most, vmax=most, origin="lower", aspect="auto"
    )
    figure.colorbar(shown, ax=change)
    return figure


def quantization_tables(tables: Mapping[str, Sequence[int]], title: str = "") -> Figure:
    """Quantization tables as 8 x 8 grids, of 64 steps each, row by row: dark is coarse."""
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
            axes.text(
                at, row, step, ha="center", va="center", fontsize=7, color="white" if step > 70 else INK
            )
        axes.set_title(shortened(name, 80), fontsize=8)
    return figure


def score_bars(scores: Mapping[str, float], title: str = "", chance: float = 0.5) -> Figure:
    """Bars of AUROCs, each from `chance` on; nan draws nothing."""
    figure = Figure(figsize=(7, 1.2 + 0.3 * max(1, len(scores))), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    value = np.nan_to_num(np.array(list(scores.values()), float), nan=chance)
    axes.barh(list(scores), value - chance, left=chance, color=INK)
    for place, score in enumerate(value):
        axes.annotate(
            f"{score:.2f}",
            (score, place),
            (4 if score >= chance else -26, 0),
            textcoords="offset points",
            va="center",
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


def _say(axes: Axes, text: str) -> None:
    """Why there is nothing to draw, in its place."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK, transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


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
