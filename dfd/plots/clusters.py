"""Map of clusters: pictures at their places in two dimensions, framed in the colour of their cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dfd.plots.figure import Figure, shortened
from dfd.plots.palette import COLORS, INK, PALE

# none of them the blue of reals or the vermilion of fakes
CLUSTERS = (
    "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B4FA3", "#8C6D31", "#111111", "#B8A800", "#00A6A6",
    "#E7298A", "#66A61E", "#A6761D", "#6A6A6A", "#9ECAE1", "#C7A0D8", "#4D4D9F", "#2F4F2F", "#D9A5A5",
    "#9ACD32", "#5B2C6F",
)  # fmt: skip


def cluster_color(number: int) -> str:
    """Of a cluster, counted from 0; after twenty they come again."""
    return CLUSTERS[number % len(CLUSTERS)]


def cluster_map(
    places: np.ndarray,
    cluster: np.ndarray,
    label: np.ndarray,
    pictures: dict[int, np.ndarray],
    side: float,
    names: Sequence[str],
    title: str = "",
) -> Figure:
    """
    Args:
        places: (M, 2) in [0, 1].
        cluster: (M,) int from 0.
        label: (M,) REAL or FAKE: the colour of the mark in a picture's corner.
        pictures: by their line: those that are drawn, each (h, w, 3) uint8; the others are dots.
        side: of a drawn picture, as a share of the map.
        names: of the clusters, for the legend.
    """
    figure = Figure(figsize=(10, 10.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    colors = np.array([cluster_color(each) for each in range(int(cluster.max(initial=0)) + 1)])
    axes.scatter(*places.T, s=16, c=colors[cluster], linewidths=0, alpha=0.75, zorder=1)
    for at, picture in pictures.items():
        left, low = places[at] - side / 2
        axes.imshow(picture, extent=(left, left + side, low, low + side), zorder=2, interpolation="bilinear")
        frame = {"facecolor": "none", "edgecolor": colors[cluster[at]], "linewidth": 2.2, "zorder": 3}
        axes.add_patch(Rectangle((left, low), side, side, **frame))
        corner = places[at] + side * 0.36
        axes.plot(*corner, "o", color=COLORS[label[at]], markersize=6, markeredgecolor="white", zorder=4)
    axes.set(xlim=(-side, 1 + side), ylim=(-side, 1 + side), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_color(PALE)
    marks = [
        Line2D([], [], marker="s", linestyle="", markerfacecolor="none", markeredgewidth=2.2, markersize=9,
               color=colors[each], label=shortened(names[each], 40))
        for each in range(len(colors))
    ]  # fmt: skip
    marks += [
        Line2D([], [], marker="o", linestyle="", color=color, label=name)
        for name, color in zip(("real", "fake"), COLORS, strict=True)
    ]
    figure.legend(handles=marks, loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)
    return figure
