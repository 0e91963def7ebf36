"""The figure that all plots draw on: names of strangers stay words, whatever signs and scripts they have."""

from __future__ import annotations

import warnings

from matplotlib import figure, rc_context
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter


class Figure(figure.Figure):
    """matplotlib's, but a text is never mathematics: a source may be called "$^$".

    Letters that no font here has are drawn as boxes, without a warning for each: a page names in words what
    its figures show.
    """

    def draw(self, renderer: RendererBase) -> None:
        for axis in (axis for axes in self.findobj(figure.Axes) for axis in (axes.xaxis, axes.yaxis)):
            if isinstance(axis.get_major_formatter(), LogFormatter):  # its powers of ten are mathematics
                axis.set_major_formatter(_power)
                axis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
        for text in self.findobj(Text):
            text.set_parse_math(False)
        # ticks are made while they are drawn
        with rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            super().draw(renderer)


def _power(value: float, position: int) -> str:
    """Of a logarithmic axis: .01, 100, 10k, 1M."""
    for sign, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def shortened(text: str, most: int) -> str:
    """The end of a long name, which tells most."""
    return text if len(text) <= most else f"…{text[1 - most :]}"
