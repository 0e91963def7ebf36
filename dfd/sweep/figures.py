"""A sweep's figures: arrays in, matplotlib Figure out, as in `dfd.plots`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from dfd.plots import COLORS, INK, MOST_BARS, PALE, Figure, shortened
from dfd.sweep.space import Choice, Range, Scalar


def short_names(names: Collection[str]) -> dict[str, str]:
    """The last parts of each dotted name, as few as tell it from the others: rgb.width of
    model.net.rgb.width.
    """

    def end(name: str, count: int) -> str:
        return ".".join(name.split(".")[-count:])

    def alone(name: str, count: int) -> bool:
        return [end(other, count) for other in names].count(end(name, count)) == 1

    return {
        name: next((end(name, count) for count in range(1, 9) if alone(name, count)), name) for name in names
    }


def history(value: np.ndarray, state: Sequence[str], metric: str, maximize: bool) -> Figure:
    """Each trial's best value (M,), nan where it has none, in the order of their beginning, and the best so
    far.
    """
    figure, axes = _new(7.6, 4.0)
    number, state = np.arange(len(value)), np.array(state)  # ty: ignore[invalid-assignment]
    shown = np.isfinite(value)
    looks = {"COMPLETE": ("o", INK), "PRUNED": ("v", PALE), "RUNNING": ("o", "white")}
    for name, (marker, color) in looks.items():
        if not (at := shown & (state == name)).any():
            continue
        axes.plot(
            number[at], value[at], marker, color=color, markeredgecolor=INK, markersize=5, label=name.lower()
        )
    failed = number[state == "FAIL"]
    if len(failed):
        edge = axes.get_xaxis_transform()
        axes.plot(
            failed, np.zeros(len(failed)), "x", color=COLORS[1], transform=edge, clip_on=False, label="failed"
        )
    complete = np.where(state == "COMPLETE", value, -np.inf if maximize else np.inf)
    best = (np.maximum if maximize else np.minimum).accumulate(complete)
    if np.isfinite(best).any():
        axes.step(
            number,
            np.where(np.isfinite(best), best, np.nan),
            where="post",
            color=COLORS[0],
            label="best so far",
        )
    axes.set(xlabel="Trial", ylabel=shortened(metric, 40))
    axes.xaxis.get_major_locator().set_params(integer=True)  # ty: ignore[unknown-argument]
    axes.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    return figure


def importance_bars(importance: Mapping[str, float]) -> Figure:
    """The share of each parameter in what a metric hangs on, the largest above, MOST_BARS at most."""
    names, short = sorted(importance, key=importance.get)[-MOST_BARS:], short_names(importance)
    figure, axes = _new(7.6, 1.0 + 0.34 * len(names))
    axes.barh(range(len(names)), [importance[name] for name in names], color=INK)
    axes.set_yticks(range(len(names)), [shortened(short[name], 40) for name in names])
    for place, name in enumerate(names):
        axes.annotate(
            f"{importance[name]:.2f}",
            (importance[name], place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set(xlabel="Share", xlim=(0, 1.08))
    return figure


def parallel_coordinates(
    space: Mapping[str, Choice | Range],
    params: Sequence[Mapping[str, Scalar]],
    value: np.ndarray,
    metric: str,
    maximize: bool,
) -> Figure:
    """A line a trial, through its parameters and its value (M,), all finite; dark is good, and the best one
    is drawn thick.
    """
    figure, axes = _new(max(7.6, 1.7 * (len(space) + 1)), 4.6)
    columns = [_column(domain, [each[name] for each in params]) for name, domain in space.items()]
    low, high = float(value.min()), float(value.max())
    height = (value - low) / (high - low or 1)
    lines = np.column_stack([*(column for column, _ in columns), height])
    good = height if maximize else 1 - height
    scale = Normalize(low, high)
    colors = "cividis_r" if maximize else "cividis"
    paint = ScalarMappable(scale, colors)
    for at in np.argsort(good):
        best = at == good.argmax()
        axes.plot(
            lines[at],
            color=COLORS[1] if best else paint.to_rgba(value[at]),
            linewidth=2.6 if best else 1,
            alpha=0.9,
        )
    ticks = [*(ticks for _, ticks in columns), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]]
    for place, marks in enumerate(ticks):
        axes.axvline(place, color=INK, linewidth=1)
        for at, text in marks:
            axes.annotate(
                text, (place, at), (4, 0), textcoords="offset points", va="center", fontsize=8, bbox=_UNDER
            )
    axes.set_xticks(
        range(len(ticks)),
        [shortened(name, 18) for name in (*short_names(space).values(), metric)],
        fontsize=9,
    )
    axes.set(yticks=[], xlim=(-0.1, len(ticks) - 0.6), ylim=(-0.06, 1.06))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


_UNDER = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def _column(domain: Choice | Range, values: Sequence[Scalar]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Where values (M,) lie on an axis from 0 to 1, and what stands beside it."""
    if isinstance(domain, Choice):
        numbers = all(isinstance(value, (int, float)) for value in domain.values)
        ordered = sorted(domain.values) if numbers else domain.values
        places = np.linspace(0, 1, len(ordered)) if len(ordered) > 1 else np.array([0.5])
        known = dict(zip(ordered, places, strict=True))
        return np.array([known[value] for value in values]), [
            (known[value], shortened(str(value), 18)) for value in ordered
        ]
    turn = np.log if domain.log else np.asarray
    low, high = turn(domain.low), turn(domain.high)
    middle = np.exp((low + high) / 2) if domain.log else (low + high) / 2
    marks = [(0.0, f"{domain.low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{domain.high:.3g}")]
    return (turn(np.array(values, float)) - low) / (high - low), marks


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
