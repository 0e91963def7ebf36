"""Grids of images with captions and heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfd.plots.figure import Figure, shortened


def image_grid(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    maps: Sequence[np.ndarray | None] | None = None,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """Images in rows, each under its caption; one that has a heat map is shown grey with the map over it.

    Args:
        images: each (H, W, 3), float in [0, 1] or uint8.
        captions: one an image.
        maps: one an image, (H, W) or None: positive values (for fake) are red, negative ones (for real) blue.
            The strongest 1% of a map is opaque, so maps are not comparable with each other.
        columns: images in a row.
        title: above them.
    """
    maps = [None] * len(images) if maps is None else maps
    rows = -(-len(images) // columns)
    captions = ["\n".join(shortened(line, 30) for line in caption.splitlines()) for caption in captions]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    figure = Figure(figsize=(1.9 * columns, (1.9 + 0.2 * lines) * rows + 0.5), layout="constrained")
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
