"""Figures of explanations: maps over pictures, removal curves, frequencies, streams, channels of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dfd.plots.figure import Figure
from dfd.plots.palette import COLORS, INK, PALE
from dfd.plots.pictures import image_grid

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey picture with a heat map over it: (H, W, 3) uint8.

    Args:
        image: (H, W, 3) uint8.
        heat: (H, W): positive values (for fake) are red, negative ones blue. The strongest 1% is opaque, so
            maps are not comparable with each other.
    """
    from matplotlib import colormaps

    strength = np.clip(heat / max(np.quantile(np.abs(heat), 0.99), 1e-12), -1, 1)
    grey = (0.3 + 0.7 * image.mean(axis=2, keepdims=True) / 255).repeat(3, axis=2)
    colors = colormaps["RdBu_r"]((strength + 1) / 2)[..., :3]
    opacity = 0.85 * np.abs(strength)[..., None]
    return (255 * (colors * opacity + grey * (1 - opacity))).round().astype(np.uint8)


def removal_curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], random: np.ndarray, title: str = ""
) -> Figure:
    """Deletion beside insertion: the logit over the share of the picture that is gone, or there.

    Args:
        curves: deletion and insertion (K,) of each map, by its method's name.
        random: (R, K) deletion in random orders, drawn as a band.
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    share = np.linspace(0, 100, random.shape[1])
    panes = figure.subplots(1, 2, sharey=True)
    words = (("Deletion: lower is better", "% of the places black", random),
             ("Insertion: higher is better", "% of the places there", random[:, ::-1]))  # fmt: skip
    for which, (axes, (name, label, orders)) in enumerate(zip(panes, words, strict=True)):
        low, middle, high = np.quantile(orders, [0.05, 0.5, 0.95], axis=0)
        axes.fill_between(share, low, high, color=PALE, alpha=0.5, linewidth=0, label="random orders, 90%")
        axes.plot(share, middle, color=INK, linestyle="--", linewidth=1)
        for (method, both), color in zip(curves.items(), LINES, strict=False):
            axes.plot(share, both[which], color=color, linewidth=1.8, label=method)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set(xlabel=label)
        axes.spines[["top", "right"]].set_visible(False)
    panes[0].set_ylabel("logit; higher speaks for fake")
    figure.legend(
        *panes[1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    return figure


def band_curves(
    edges: np.ndarray, falls: np.ndarray, bands: np.ndarray | None = None, spectrum: np.ndarray | None = None
) -> Figure:
    """Which frequencies move the logit, as a curve and, where there are shares, as a spectrum.

    Args:
        edges: (K + 1,) of the bands, in cycles a pixel.
        falls: (K,) how far the logit falls without a band.
        bands: (K,) shares of the logit by integrated gradients.
        spectrum: (H, W) shares of each frequency, 0 in the middle.
    """
    figure = Figure(figsize=(8.4 if spectrum is not None else 5, 3.6), layout="constrained")
    panes = figure.subplots(1, 2 if spectrum is not None else 1, squeeze=False)[0]
    axes, middle = panes[-1], (edges[1:] + edges[:-1]) / 2
    axes.axhline(0, color=PALE, linewidth=1)
    if bands is not None:
        colors = [COLORS[int(value > 0)] for value in bands]
        axes.bar(
            middle,
            bands,
            np.diff(edges) * 0.85,
            color=colors,
            alpha=0.6,
            label="share (integrated gradients)",
        )
    axes.plot(middle, falls, "o-", color=INK, markersize=4, linewidth=1.4, label="fall without the band")
    axes.set(xlabel="frequency, cycles a pixel", ylabel="logit; above 0 speaks for fake")
    axes.set_title("Bands", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    if spectrum is not None:
        # single frequencies are noise to the eye; blocks of them are not
        shares = _pooled(spectrum)
        most = max(float(np.quantile(np.abs(shares), 0.995)), 1e-12)
        extent = (-0.5, 0.5, 0.5, -0.5)
        panes[0].imshow(shares, cmap="RdBu_r", vmin=-most, vmax=most, extent=extent, interpolation="nearest")
        panes[0].set(xlabel="cycles a pixel, across", ylabel="cycles a pixel, down")
        panes[0].set_title("Spectrum: red for fake, blue against", loc="left", fontsize=10)
    return figure


def _pooled(spectrum: np.ndarray, most: int = 48) -> np.ndarray:
    """Sums over squares, so that at most about `most` of them are left a side."""
    step = max(1, round(min(spectrum.shape) / most))
    height, width = (side // step * step for side in spectrum.shape)
    return spectrum[:height, :width].reshape(height // step, step, width // step, step).sum((1, 3))


def stream_bars(replaced: Mapping[str, float], shares: Mapping[str, float]) -> Figure:
    """Bars of how each stream moves the logit: when its features are replaced, and its share."""
    figure = Figure(figsize=(5, 0.9 + 0.7 * len(replaced)), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(replaced))
    for offset, values, words, alpha in (
        (-0.18, replaced, "fall when replaced", 0.9),
        (0.18, shares, "share (integrated gradients)", 0.45),
    ):
        numbers = list(values.values())
        colors = [COLORS[int(value > 0)] for value in numbers]
        axes.barh(at + offset, numbers, 0.32, color=colors, alpha=alpha, label=words)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(at, list(replaced))
    axes.set(xlabel="logit; right of 0 speaks for fake")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def feature_tiles(maps: np.ndarray, captions: Sequence[str], title: str = "", columns: int = 8) -> Figure:
    """Filters or activations as small pictures, each on its own scale from dark to bright.

    Args:
        maps: (K, h, w), or (K, h, w, 3) for those that read colours.
        captions: K of them.
    """
    low = maps.min(axis=tuple(range(1, maps.ndim)), keepdims=True)
    high = maps.max(axis=tuple(range(1, maps.ndim)), keepdims=True)
    scaled = (maps - low) / np.maximum(high - low, 1e-12)
    images = scaled if maps.ndim == 4 else scaled[..., None].repeat(3, axis=3)
    return image_grid(list(images), captions, columns=min(columns, len(maps)), title=title)
