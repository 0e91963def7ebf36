"""Clip curve: P(fake) of each face of a video over time, with the band in which there is no verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfd.plots.clusters import cluster_color
from dfd.plots.figure import Figure
from dfd.plots.palette import INK, PALE


def clip_curve(
    faces: Mapping[str, tuple[Sequence[float], Sequence[float | None]]], band: tuple[float, float]
) -> Figure:
    """
    Args:
        faces: of each, seconds (M,) and P(fake) (M,); None at moments without one, where the curve breaks.
        band: P(fake) from where to where the verdict is "inconclusive".
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.axhspan(*band, color=PALE, alpha=0.5, label="inconclusive")
    for number, (name, (seconds, prob)) in enumerate(faces.items()):
        shown = [float("nan") if each is None else each for each in prob]
        axes.plot(
            seconds, shown, color=cluster_color(number), marker="o", markersize=3, linewidth=1.5, label=name
        )
    axes.set(ylim=(-0.02, 1.02), xlabel="Seconds", ylabel="P(fake)")
    axes.tick_params(colors=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
