"""Plots: arrays in, matplotlib Figure out. Never pyplot, so nothing is global and no display is needed."""

from dfd.plots.curves import confusion, curves, precision_recall, reliability, roc
from dfd.plots.datasets import (
    MOST_BARS,
    boxes,
    class_bars,
    histograms,
    mean_spectra,
    quantization_tables,
    score_bars,
    shares,
    violins,
)
from dfd.plots.figure import Figure, shortened
from dfd.plots.palette import COLORS, INK, PALE
from dfd.plots.pictures import image_grid

__all__ = [
    "COLORS",
    "INK",
    "MOST_BARS",
    "PALE",
    "Figure",
    "boxes",
    "class_bars",
    "confusion",
    "curves",
    "histograms",
    "image_grid",
    "mean_spectra",
    "precision_recall",
    "quantization_tables",
    "reliability",
    "roc",
    "score_bars",
    "shares",
    "shortened",
    "violins",
]
