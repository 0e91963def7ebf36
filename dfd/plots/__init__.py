"""Plots: arrays in, matplotlib Figure out. Never pyplot, so nothing is global and no display is needed."""

from dfd.plots.clusters import cluster_color, cluster_map
from dfd.plots.comparison import (
    Band,
    beside_shortcuts,
    det_lines,
    precision_recall_lines,
    risk_coverage_lines,
    robustness_bands,
    roc_lines,
)
from dfd.plots.curves import confusion, curves, det, precision_recall, reliability, risk_coverage, roc
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
from dfd.plots.explanations import band_curves, feature_tiles, overlay, removal_curves, stream_bars
from dfd.plots.figure import Figure, shortened
from dfd.plots.palette import COLORS, INK, PALE
from dfd.plots.pictures import image_grid

__all__ = [
    "COLORS",
    "INK",
    "MOST_BARS",
    "PALE",
    "Band",
    "Figure",
    "band_curves",
    "beside_shortcuts",
    "boxes",
    "class_bars",
    "cluster_color",
    "cluster_map",
    "confusion",
    "curves",
    "det",
    "det_lines",
    "feature_tiles",
    "histograms",
    "image_grid",
    "mean_spectra",
    "overlay",
    "precision_recall",
    "precision_recall_lines",
    "quantization_tables",
    "reliability",
    "removal_curves",
    "risk_coverage",
    "risk_coverage_lines",
    "robustness_bands",
    "roc",
    "roc_lines",
    "score_bars",
    "shares",
    "shortened",
    "stream_bars",
    "violins",
]
